//! Sequences played at the real thing, next to the model.

mod sight;

use std::collections::BTreeMap;
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use super::commands::{self, Action, Command, Confirm, Disk, Pick, Size, Verdict, Who};
use super::reference::{Expected, Model, Request, disk_of, namespace};
use super::rules::Refusal;
use crate::client::{Caller, Reply, send};
use crate::server::PATIENCE;
use crate::world::{BOTH, User, World, text};
use sight::Queue;

/// An id that nothing has.
const NOTHING: &str = "01983f0e-0000-7000-8000-000000000000";
/// Equal looks in a row that count as rest where states come and go.
const LOOKS_AT_REST: u32 = 4;

/// An installation with all the people.
pub struct Stage<'a> {
    world: &'a World,
    callers: BTreeMap<Who, Caller>,
    ids: BTreeMap<Who, String>,
    queue: Queue<'a>,
    played: u32,
}

impl<'a> Stage<'a> {
    /// Lets the people in who are not in every world.
    pub async fn build(world: &'a World) -> Self {
        let mut callers = BTreeMap::new();
        let mut ids = BTreeMap::new();
        for (who, user) in [
            (Who::Alice, User::Alice),
            (Who::Mallory, User::Mallory),
            (Who::Bob, User::Bob),
            (Who::Admin, User::Admin),
        ] {
            callers.insert(who, world.as_(user));
            ids.insert(who, world.id(user).to_owned());
        }
        let guests: [(Who, &str, &str, &[&str]); 4] = [
            (Who::Colin, "colin", "role-approver", BOTH),
            (Who::Vera, "vera", "role-operator", BOTH),
            (Who::Tess, "tess", "role-operator", &["test"]),
            (Who::Dora, "dora", "role-approver", &["test"]),
        ];
        for (who, name, role, environments) in guests {
            let person = world.enrol(name, role, environments).await;
            callers.insert(who, world.caller(&person));
            ids.insert(who, person.id);
        }
        let role = json!({
            "role_id": "role-system-admin", "scope_type": "system", "scope_id": world.system,
            "allowed_environments": BOTH,
        });
        world.bind(&ids[&Who::Colin], role).await;
        for (who, role) in [(Who::Vera, "viewer"), (Who::Tess, "member")] {
            let path = format!("/systems/{}/members", world.system);
            let member = json!({"user_id": ids[&who], "role": role});
            callers[&Who::Alice].post(&path, &member).await.ok(201);
        }
        Self {
            world,
            callers,
            ids,
            queue: Queue::new(world).await,
            played: 0,
        }
    }

    /// Plays a sequence in a Service of its own; otherwise tells where product and model part, and what led there.
    pub async fn play(&mut self, commands: &[Command]) -> Result<(), String> {
        self.played += 1;
        let name = format!("m{}", self.played);
        let path = format!("/systems/{}/services", self.world.system);
        let service = self.callers[&Who::Alice].post(&path, &json!({"name": name})).await;
        let service = text(&service.ok(201)["id"]);
        self.queue.forget_wrong_names().await;
        self.queue.hold().await;
        let mut scene = Scene {
            stage: &*self,
            model: Model::new(&name),
            name,
            service,
            sent: Vec::new(),
        };
        let outcome = scene.play(commands).await;
        self.queue.release().await;
        outcome
    }
}

/// A submission that has a key.
struct Sent {
    request: Request,
    key: String,
    reason: String,
    /// The ticket, once it was accepted.
    ticket: Option<String>,
}

/// A sequence that is being played.
struct Scene<'a> {
    stage: &'a Stage<'a>,
    model: Model,
    name: String,
    service: String,
    sent: Vec<Sent>,
}

impl Scene<'_> {
    async fn play(&mut self, commands: &[Command]) -> Result<(), String> {
        let mut story = Vec::new();
        let steps = commands::prologue().into_iter().chain(commands.iter().cloned());
        for command in steps.chain([Command::Settle]) {
            let said = self.step(&command).await;
            story.push(format!("{command:?}"));
            said.map_err(|difference| format!("{difference}\nat the end of\n  {}", story.join("\n  ")))?;
        }
        Ok(())
    }

    async fn step(&mut self, command: &Command) -> Result<(), String> {
        match *command {
            Command::Settle => return self.settle().await,
            Command::Again { submission, other } => self.again(submission, other).await?,
            Command::Create { by, prod, size } => self.submit(Request::Create { by, prod, size }).await?,
            Command::Power { by, vm, action } => {
                let vm = self.model.pick_machine(vm);
                self.submit(Request::Power { by, vm, action }).await?;
            }
            Command::Modify { by, vm, disk } => {
                let request = self.modification(by, vm, disk);
                self.ask(request).await?;
            }
            Command::Delete { by, vm, confirm } => {
                let vm = self.model.pick_machine(vm);
                self.ask(Request::Delete { by, vm, confirm }).await?;
            }
            Command::Decide { by, ticket, verdict } => self.decide(by, ticket, verdict).await?,
        }
        let found = differences(&self.expected(), &self.look().await);
        if found.is_empty() { Ok(()) } else { Err(found) }
    }

    fn modification(&self, by: Who, vm: Pick, disk: Disk) -> Request {
        let vm = self.model.pick_machine(vm);
        let (now, largest) = vm.map_or(disk_of(Size::Small), |vm| {
            let machine = &self.model.machines[vm];
            (machine.disk_gb, disk_of(machine.size).1)
        });
        let disk_gb = match disk {
            Disk::Larger => now + 5,
            Disk::Smaller => now - 1,
            Disk::BeyondItsSize => largest + 1,
        };
        Request::Modify { by, vm, disk_gb }
    }

    /// A new submission with a key of its own.
    async fn submit(&mut self, request: Request) -> Result<(), String> {
        let at = self.sent.len();
        self.sent.push(Sent {
            request,
            key: format!("{}-{at}", self.name),
            reason: "a place to work".to_owned(),
            ticket: None,
        });
        let reason = self.sent[at].reason.clone();
        self.send_keyed(at, reason).await
    }

    /// An earlier submission once more: what was accepted is replayed, what was refused is judged again.
    async fn again(&mut self, pick: Pick, other: bool) -> Result<(), String> {
        let Some(back) = usize::from(pick).checked_rem(self.sent.len()) else {
            return Ok(());
        };
        let at = self.sent.len() - 1 - back;
        let Sent { request, key, .. } = &self.sent[at];
        let mut reason = self.sent[at].reason.clone();
        if other {
            reason.push_str(" again");
        }
        let Some(ticket) = &self.sent[at].ticket else {
            return self.send_keyed(at, reason).await;
        };
        let reply = self.send(*request, key, &reason).await;
        if other {
            judged(Err(self.model.reused(*request)), 202, &reply)?;
            return Ok(());
        }
        judged(Ok(()), 202, &reply)?;
        if reply.header("idempotency-replayed") == "true" && reply.body["ticket_id"] == json!(ticket) {
            Ok(())
        } else {
            Err(format!("{ticket} should have been replayed: {}", reply.text))
        }
    }

    async fn send_keyed(&mut self, at: usize, reason: String) -> Result<(), String> {
        let request = self.sent[at].request;
        let reply = self.send(request, &self.sent[at].key, &reason).await;
        if judged(self.model.judge(request), 202, &reply)? {
            let ticket = self.accept(request, &reply)?;
            self.sent[at].ticket = Some(ticket);
            self.sent[at].reason = reason;
        }
        Ok(())
    }

    /// A submission without a key.
    async fn ask(&mut self, request: Request) -> Result<(), String> {
        let reply = self.send(request, "", "").await;
        if judged(self.model.judge(request), 202, &reply)? {
            self.accept(request, &reply)?;
        }
        if let Request::Delete { by, .. } = request
            && reply.code() == "CONFIRMATION_NAME_MISMATCH"
        {
            *self.model.wrong_names.entry(by).or_default() += 1;
        }
        Ok(())
    }

    fn accept(&mut self, request: Request, reply: &Reply) -> Result<String, String> {
        let id = text(&reply.body["ticket_id"]);
        self.model.submit(request, id.clone());
        let by_policy = self.model.tickets.last().is_some_and(|ticket| ticket.by_policy);
        let expected = if by_policy {
            ["PROCESSING", "AUTO_APPROVED"]
        } else {
            ["PENDING_APPROVAL", "APPROVAL_REQUIRED"]
        };
        let said = [&reply.body["status"], &reply.body["message_code"]];
        if said == expected {
            Ok(id)
        } else {
            Err(format!("expected {expected:?}, the product said {}", reply.text))
        }
    }

    async fn decide(&mut self, by: Who, pick: Pick, verdict: Verdict) -> Result<(), String> {
        let ticket = self.model.pick_ticket(pick);
        let request = Request::Decide { by, ticket, verdict };
        let reply = self.send(request, "", "").await;
        if judged(self.model.judge(request), 204, &reply)?
            && let Some(ticket) = ticket
        {
            let vm = self.stage.world.vm_of(&self.model.tickets[ticket].id).await;
            self.model.decide(ticket, verdict, &vm);
        }
        Ok(())
    }

    async fn send(&self, request: Request, key: &str, reason: &str) -> Reply {
        match request {
            Request::Create { by, prod, size } => {
                let mut body = self.stage.world.vm_body(namespace(prod));
                let size = match size {
                    Size::Small => "small",
                    Size::Medium => "medium",
                };
                body["service_id"] = json!(self.service);
                body["instance_size_id"] = json!(self.stage.world.size(size));
                body["reason"] = json!(reason);
                self.keyed(by, "/vms", key, &body).await
            }
            Request::Power { by, vm, action } => {
                let action = match action {
                    Action::Start => "start",
                    Action::Stop => "stop",
                    Action::Restart => "restart",
                };
                let path = format!("/vms/{}/{action}", self.vm_id(vm));
                self.keyed(by, &path, key, &json!({"reason": reason})).await
            }
            Request::Modify { by, vm, disk_gb } => {
                let path = format!("/vms/{}", self.vm_id(vm));
                let body = json!({"disk_gb": disk_gb, "reason": "room"});
                send(self.stage.callers[&by].request(Method::PATCH, &path).json(&body)).await
            }
            Request::Delete { by, vm, confirm } => self.stage.callers[&by].delete(&self.deletion(vm, confirm)).await,
            Request::Decide { by, ticket, verdict } => {
                let (verdict, body) = match verdict {
                    Verdict::Approve => ("approve", json!({})),
                    Verdict::Reject => ("reject", json!({"reason": "not now"})),
                    Verdict::Cancel => ("cancel", json!({})),
                };
                let ticket = ticket.map_or(NOTHING, |ticket| self.model.tickets[ticket].id.as_str());
                let path = format!("/approvals/{ticket}/{verdict}");
                self.stage.callers[&by].post(&path, &body).await
            }
        }
    }

    async fn keyed(&self, by: Who, path: &str, key: &str, body: &Value) -> Reply {
        let request = self.stage.callers[&by].request(Method::POST, path);
        send(request.header("idempotency-key", key).json(body)).await
    }

    fn deletion(&self, vm: Option<usize>, confirm: Confirm) -> String {
        let name = vm.map_or("nothing", |vm| self.model.machines[vm].name.as_str());
        let id = self.vm_id(vm);
        match confirm {
            Confirm::Name => format!("/vms/{id}?confirm_name={name}"),
            Confirm::Flag => format!("/vms/{id}?confirm=true"),
            Confirm::Missing => format!("/vms/{id}"),
            Confirm::WrongName => format!("/vms/{id}?confirm_name={name}-not"),
        }
    }

    fn vm_id(&self, vm: Option<usize>) -> &str {
        vm.map_or(NOTHING, |vm| self.model.machines[vm].id.as_str())
    }

    /// Lets the jobs run and waits until the product is where the model is.
    async fn settle(&mut self) -> Result<(), String> {
        self.stage.queue.release().await;
        let replaced = self.model.settle();
        let expected = self.expected();
        let needed = if replaced { LOOKS_AT_REST } else { 1 };
        let deadline = Instant::now() + PATIENCE;
        let mut equal = 0;
        while equal < needed {
            let found = differences(&expected, &self.look().await);
            equal = if found.is_empty() { equal + 1 } else { 0 };
            if equal == 0 && Instant::now() > deadline {
                return Err(found);
            }
            if equal < needed {
                sight::pause().await;
            }
        }
        self.stage.queue.hold().await;
        Ok(())
    }

    fn expected(&self) -> Expected {
        self.model.expected(&self.stage.ids)
    }

    async fn look(&self) -> BTreeMap<String, String> {
        sight::look(self.stage.world, &self.service, &self.name).await
    }
}

/// Whether the request was accepted; an error when it was answered otherwise than the model says.
fn judged(verdict: Result<(), Refusal>, success: u16, reply: &Reply) -> Result<bool, String> {
    match verdict {
        Ok(()) if reply.status == success => Ok(true),
        Err(refusal)
            if refusal
                .iter()
                .any(|(status, code)| (*status, *code) == (reply.status, reply.code())) =>
        {
            Ok(false)
        }
        Ok(()) => Err(format!("expected {success}, got {}: {}", reply.status, reply.text)),
        Err(refusal) => Err(format!("expected {refusal:?}, got {}: {}", reply.status, reply.text)),
    }
}

/// What differs, a line each; empty when nothing does.
fn differences(expected: &Expected, found: &BTreeMap<String, String>) -> String {
    let mut lines = Vec::new();
    for (key, allowed) in expected {
        let there = found.get(key);
        if !there.is_some_and(|there| allowed.contains(there)) {
            lines.push(format!("{key}: expected {allowed:?}, found {there:?}"));
        }
    }
    let unexpected = found.iter().filter(|(key, _)| !expected.contains_key(*key));
    lines.extend(unexpected.map(|(key, there)| format!("{key}: expected nothing, found {there:?}")));
    lines.join("\n")
}
