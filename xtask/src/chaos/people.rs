//! Users at work: each makes machines, switches and changes them, and deletes most of them again. Every call carries a
//! name of its own, as its reason and, where it creates something, as its idempotency key, and is sent again until
//! there is an answer that means something.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::dice::Dice;
use super::stage::{NAMESPACE, Stage, User};

/// How long a user asks for the same thing.
const ASK_LIMIT: Duration = Duration::from_secs(90);
/// How long a user waits for what was accepted before doing something else.
const WAIT_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(250);
/// Pause before a call is sent again, and between two operations, in milliseconds.
const AGAIN: (usize, usize) = (100, 600);
const REST: (usize, usize) = (0, 400);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Stop,
    Start,
    Restart,
    Modify,
    Delete,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Modify => "modify",
            Self::Delete => "delete",
        }
    }
}

/// What a user was told at last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 202, or the ticket was found after answers that got lost.
    Accepted,
    /// A refusal with this code.
    Refused(String),
    /// Nothing that means anything.
    Unanswered,
}

/// One operation, and what its user knows of it.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// The reason that its ticket carries.
    pub(super) id: String,
    pub(super) kind: Kind,
    /// Calls that were sent for it.
    pub(super) attempts: u32,
    /// Every ticket that an answer named; more than one is one too many.
    pub(super) tickets: BTreeSet<String>,
    pub(super) outcome: Outcome,
}

/// What one answer means.
enum Answer {
    Accepted(String),
    Refused(String),
    /// Not now, or nobody knows.
    Again,
}

/// Lets all users work until a moment; answers what they asked for.
pub(super) async fn work_all(stage: &Stage, seed: u64, until: Instant) -> Vec<Operation> {
    let workers = stage.users.iter().zip(1..).map(|(user, number)| {
        let worker = Worker {
            stage,
            user,
            dice: Dice::new(seed.wrapping_add(number)),
            until,
            done: Vec::new(),
        };
        worker.work()
    });
    join_all(workers).await.into_iter().flatten().collect()
}

struct Worker<'a> {
    stage: &'a Stage,
    user: &'a User,
    dice: Dice,
    until: Instant,
    done: Vec<Operation>,
}

impl Worker<'_> {
    async fn work(mut self) -> Vec<Operation> {
        while self.may_go_on() {
            if let Some(vm) = self.carried_out(Kind::Create, "").await {
                self.live(&vm).await;
            }
            self.rest().await;
        }
        self.done
    }

    fn may_go_on(&self) -> bool {
        Instant::now() < self.until
    }

    async fn rest(&mut self) {
        let pause = self.dice.between(REST.0, REST.1);
        tokio::time::sleep(pause).await;
    }

    /// The life of a machine: it is switched and changed, and mostly deleted.
    async fn live(&mut self, vm: &str) {
        let mut runs = true;
        for _ in 0..1 + self.dice.below(5) {
            if !self.is(vm, if runs { "RUNNING" } else { "STOPPED" }).await {
                return;
            }
            let kind = if runs {
                self.dice.one_of([Kind::Stop, Kind::Stop, Kind::Restart, Kind::Modify])
            } else {
                Kind::Start
            };
            if self.carried_out(kind, vm).await.is_none() {
                return;
            }
            runs = match kind {
                Kind::Stop => false,
                Kind::Create | Kind::Start | Kind::Restart | Kind::Modify | Kind::Delete => true,
            };
            self.rest().await;
        }
        if self.may_go_on() && self.dice.below(4) != 0 {
            self.carried_out(Kind::Delete, vm).await;
        }
    }

    /// Whether the machine gets to a status in time.
    async fn is(&self, vm: &str, status: &str) -> bool {
        let asked = Instant::now();
        while asked.elapsed() < WAIT_LIMIT && self.may_go_on() {
            let found = self.one("SELECT status FROM vms WHERE id::text = $1", vm).await;
            if found.is_some_and(|found| found == status) {
                return true;
            }
            tokio::time::sleep(POLL).await;
        }
        false
    }

    /// Asks for something and waits for its end; answers the machine when it was carried out.
    async fn carried_out(&mut self, kind: Kind, vm: &str) -> Option<String> {
        let number = self.done.len() + 1;
        let mut operation = Operation {
            id: format!("{}-{number:05}", self.user.name),
            kind,
            attempts: 0,
            tickets: BTreeSet::new(),
            outcome: Outcome::Unanswered,
        };
        self.ask(&mut operation, vm).await;
        let ticket = operation.tickets.first().cloned();
        self.done.push(operation);
        let ticket = ticket?;
        let asked = Instant::now();
        while asked.elapsed() < WAIT_LIMIT && self.may_go_on() {
            let sql = "SELECT status || ' ' || coalesce(vm_id::text, '') FROM approval_tickets WHERE id::text = $1";
            if let Some(found) = self.one(sql, &ticket).await {
                match found.split_once(' ') {
                    Some(("COMPLETED", vm)) => return Some(vm.to_owned()),
                    Some(("FAILED" | "REJECTED" | "CANCELLED", _)) => return None,
                    Some(_) | None => {}
                }
            }
            tokio::time::sleep(POLL).await;
        }
        None
    }

    async fn ask(&mut self, operation: &mut Operation, vm: &str) {
        let asked = Instant::now();
        let mut is_known = true;
        while asked.elapsed() < ASK_LIMIT {
            operation.attempts += 1;
            match self.send(operation, vm).await {
                Answer::Accepted(ticket) => {
                    operation.tickets.insert(ticket);
                    operation.outcome = Outcome::Accepted;
                    self.ask_once_more(operation, vm).await;
                    return;
                }
                Answer::Refused(code) => {
                    operation.outcome = Outcome::Refused(code);
                    break;
                }
                Answer::Again => is_known = false,
            }
            let pause = self.dice.between(AGAIN.0, AGAIN.1);
            tokio::time::sleep(pause).await;
        }
        if !is_known {
            self.look_for_ticket(operation).await;
        }
    }

    /// Some users do not believe what they are told: the same key has to name the same ticket.
    async fn ask_once_more(&mut self, operation: &mut Operation, vm: &str) {
        let has_key = matches!(operation.kind, Kind::Create | Kind::Stop | Kind::Start | Kind::Restart);
        if has_key && self.dice.below(3) == 0 {
            operation.attempts += 1;
            if let Answer::Accepted(ticket) = self.send(operation, vm).await {
                operation.tickets.insert(ticket);
            }
        }
    }

    /// An answer that got lost may have been an acceptance.
    async fn look_for_ticket(&self, operation: &mut Operation) {
        let sql = "SELECT id::text FROM approval_tickets WHERE reason = $1 ORDER BY created_at LIMIT 1";
        if let Some(ticket) = self.one(sql, &operation.id).await {
            operation.tickets.insert(ticket);
            operation.outcome = Outcome::Accepted;
        }
    }

    async fn send(&mut self, operation: &Operation, vm: &str) -> Answer {
        let (method, path, body) = self.call(operation, vm);
        let url = self.stage.url(self.dice.below(self.stage.ports.len()), &path);
        let mut request = self.stage.http.request(method, url).bearer_auth(&self.user.token);
        if let Some(body) = &body {
            request = request.header("idempotency-key", &operation.id).json(body);
        }
        let Ok(answer) = request.send().await else {
            return Answer::Again;
        };
        let status = answer.status();
        let Ok(body) = answer.json::<Value>().await else {
            return Answer::Again;
        };
        meaning(status, &body)
    }

    fn call(&self, operation: &Operation, vm: &str) -> (Method, String, Option<Value>) {
        let id = operation.id.as_str();
        match operation.kind {
            Kind::Create => {
                let body = json!({
                    "service_id": self.user.service, "template_id": self.user.template,
                    "instance_size_id": self.user.sizes[0], "namespace": NAMESPACE, "reason": id,
                });
                (Method::POST, "/vms".to_owned(), Some(body))
            }
            Kind::Stop | Kind::Start | Kind::Restart => {
                let path = format!("/vms/{vm}/{}", operation.kind.name());
                (Method::POST, path, Some(json!({"reason": id})))
            }
            Kind::Modify => {
                let body = json!({"instance_size_id": self.user.sizes[1], "reason": id});
                (Method::PATCH, format!("/vms/{vm}"), Some(body))
            }
            Kind::Delete => (Method::DELETE, format!("/vms/{vm}?confirm=true&reason={id}"), None),
        }
    }

    /// One text of the database; nothing as well while it is away.
    async fn one(&self, sql: &'static str, value: &str) -> Option<String> {
        let mut session = self.stage.connect().await.ok()?;
        let found = sqlx::query_scalar(sql).bind(value).fetch_optional(&mut session).await;
        found.ok().flatten()
    }
}

fn meaning(status: StatusCode, body: &Value) -> Answer {
    let code = body["code"].as_str().unwrap_or_default();
    match (status.as_u16(), body["ticket_id"].as_str()) {
        (202, Some(ticket)) => Answer::Accepted(ticket.to_owned()),
        (429 | 500.., _) => Answer::Again,
        _ if code == "IDEMPOTENCY_IN_PROGRESS" => Answer::Again,
        _ => Answer::Refused(code.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(status: u16, body: &Value) -> bool {
        let status = StatusCode::from_u16(status).unwrap();
        matches!(meaning(status, body), Answer::Again)
    }

    #[test]
    fn only_answers_that_mean_something_end_the_asking() {
        assert!(again(503, &json!({"code": "SERVICE_BUSY"})));
        assert!(again(429, &json!({"code": "RATE_LIMIT_EXCEEDED"})));
        assert!(again(409, &json!({"code": "IDEMPOTENCY_IN_PROGRESS"})));
        assert!(!again(409, &json!({"code": "INVALID_STATE_TRANSITION"})));
        assert!(!again(202, &json!({"ticket_id": "t"})));
    }
}
