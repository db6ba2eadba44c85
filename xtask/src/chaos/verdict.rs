//! What was accepted, compared with what became of it: in the rows, and on the clusters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::people::{Operation, Outcome};
use super::stage::Stage;

/// Most entries of a list that are printed; the document has all.
const SHOWN: usize = 20;

const TICKETS: &str = "SELECT id::text, coalesce(reason, ''), request_type, status, coalesce(error_code, ''), \
     coalesce(vm_id::text, '') FROM approval_tickets ORDER BY created_at, id";
const ROWS: &str = "SELECT id::text, name, status FROM vms";
/// What must be there once, with the query that names what is there more often.
const ONCE: [(&str, &str); 5] = [
    (
        "tickets of one reason",
        "SELECT reason FROM approval_tickets GROUP BY reason HAVING count(*) > 1",
    ),
    (
        "audit rows of one action of a ticket",
        "SELECT concat_ws(' ', ticket_id, action) FROM audit_logs WHERE ticket_id IS NOT NULL \
         GROUP BY ticket_id, action HAVING count(*) > 1",
    ),
    (
        "transitions of a ticket to one status",
        "SELECT concat_ws(' ', ticket_id, to_status) FROM ticket_transitions GROUP BY ticket_id, to_status \
         HAVING count(*) > 1",
    ),
    (
        "facts of one work event",
        "SELECT concat_ws(' ', causation_id, event_type) FROM domain_events WHERE causation_id IS NOT NULL \
         GROUP BY causation_id, event_type HAVING count(*) > 1",
    ),
    (
        "revisions of one ticket",
        "SELECT ticket_id::text FROM vm_revisions WHERE ticket_id IS NOT NULL GROUP BY ticket_id HAVING count(*) > 1",
    ),
];

/// One request, as the database has it.
#[derive(Clone, Debug)]
struct Ticket {
    id: String,
    reason: String,
    kind: String,
    status: String,
    error: String,
    vm: String,
}

impl Ticket {
    fn is(&self, kind: &str, status: &str) -> bool {
        self.kind == kind && self.status == status
    }

    fn is_open(&self) -> bool {
        !["COMPLETED", "FAILED", "REJECTED", "CANCELLED"].contains(&self.status.as_str())
    }

    fn is_power(&self) -> bool {
        ["START_VM", "STOP_VM", "RESTART_VM"].contains(&self.kind.as_str())
    }
}

/// Everything there is at the end.
#[derive(Clone, Debug, Default)]
struct Found {
    /// Oldest first.
    tickets: Vec<Ticket>,
    /// Name and status by the id of the machine.
    rows: BTreeMap<String, (String, String)>,
    /// Name and id of each object.
    objects: Vec<(String, String)>,
    repeated: Vec<String>,
}

/// Whether everything has come to its end as it should.
pub(super) async fn is_quiet(stage: &Stage, operations: &[Operation]) -> anyhow::Result<bool> {
    let found = find(stage).await?;
    Ok(lost(&found, operations).is_empty())
}

/// The account of all operations.
pub(super) async fn compare(stage: &Stage, operations: Vec<Operation>) -> anyhow::Result<Report> {
    let found = find(stage).await?;
    Ok(account(&found, &operations))
}

async fn find(stage: &Stage) -> anyhow::Result<Found> {
    let mut session = stage.connect().await?;
    let tickets: Vec<(String, String, String, String, String, String)> =
        sqlx::query_as(TICKETS).fetch_all(&mut session).await?;
    let tickets = tickets.into_iter().map(|(id, reason, kind, status, error, vm)| Ticket {
        id,
        reason,
        kind,
        status,
        error,
        vm,
    });
    let rows: Vec<(String, String, String)> = sqlx::query_as(ROWS).fetch_all(&mut session).await?;
    let said = stage.order("objects").await?;
    let objects = said.iter().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [_cluster, name, id] = words.as_slice() else {
            return None;
        };
        Some(((*name).to_owned(), (*id).to_owned()))
    });
    Ok(Found {
        tickets: tickets.collect(),
        rows: rows
            .into_iter()
            .map(|(id, name, status)| (id, (name, status)))
            .collect(),
        objects: objects.collect(),
        repeated: repeated(&mut session).await?,
    })
}

async fn repeated(session: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    let mut repeated = Vec::new();
    for (what, sql) in ONCE {
        let found: Vec<Option<String>> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *session).await?;
        repeated.extend(found.into_iter().flatten().map(|which| format!("{what}: {which}")));
    }
    Ok(repeated)
}

fn account(found: &Found, operations: &[Operation]) -> Report {
    let mut report = Report {
        attempted: operations.len(),
        calls: operations.iter().map(|operation| operation.attempts).sum(),
        lost: lost(found, operations),
        doubled: doubled(found, operations),
        ..Report::default()
    };
    for operation in operations {
        *report.kinds.entry(operation.kind.name()).or_default() += 1;
        match &operation.outcome {
            Outcome::Accepted => report.accepted += 1,
            Outcome::Refused(code) => *report.refused.entry(code.clone()).or_default() += 1,
            Outcome::Unanswered => report.unanswered += 1,
        }
    }
    for ticket in &found.tickets {
        match ticket.status.as_str() {
            "COMPLETED" => report.completed += 1,
            "FAILED" | "REJECTED" | "CANCELLED" => {
                let why = format!("{} {}", ticket.kind, ticket.error);
                *report.failed.entry(why).or_default() += 1;
            }
            _ => {}
        }
    }
    report
}

/// What was accepted and has no end, or an end without the effect.
fn lost(found: &Found, operations: &[Operation]) -> Vec<String> {
    let mut lost = Vec::new();
    let known: BTreeSet<&str> = found.tickets.iter().map(|ticket| ticket.id.as_str()).collect();
    for operation in operations {
        for ticket in operation
            .tickets
            .iter()
            .filter(|ticket| !known.contains(ticket.as_str()))
        {
            lost.push(format!("{}: its ticket {ticket} is not there", operation.id));
        }
    }
    for ticket in found.tickets.iter().filter(|ticket| ticket.is_open()) {
        lost.push(format!("{}: {} is still {}", ticket.reason, ticket.kind, ticket.status));
    }
    let mut by_machine: BTreeMap<&str, Vec<&Ticket>> = BTreeMap::new();
    for ticket in found.tickets.iter().filter(|ticket| !ticket.vm.is_empty()) {
        by_machine.entry(&ticket.vm).or_default().push(ticket);
    }
    for (vm, tickets) in &by_machine {
        lost.extend(machine_differs(found, vm, tickets).map(|how| format!("machine {vm}: {how}")));
    }
    for (name, id) in &found.objects {
        if !found.rows.contains_key(id) {
            lost.push(format!("the object {name} has no row"));
        }
    }
    lost
}

/// How a machine differs from what its tickets say.
fn machine_differs(found: &Found, vm: &str, tickets: &[&Ticket]) -> Option<String> {
    let row = found.rows.get(vm);
    let has_object = found.objects.iter().any(|(_, id)| id == vm);
    if tickets.iter().any(|ticket| ticket.is("DELETE_VM", "COMPLETED")) {
        return (row.is_some() || has_object).then(|| "it was deleted and is still there".to_owned());
    }
    let was_made = tickets.iter().any(|ticket| ticket.is("CREATE_VM", "COMPLETED"));
    let is_unsure = tickets
        .iter()
        .any(|ticket| ticket.is("DELETE_VM", "FAILED") || ticket.is("CREATE_VM", "FAILED"));
    if !was_made || is_unsure {
        return None;
    }
    let Some((name, status)) = row else {
        return Some("it was made and has no row".to_owned());
    };
    if !has_object {
        return Some(format!("{name} was made and is on no cluster"));
    }
    let expected = match tickets.iter().rev().find(|ticket| ticket.is_power()) {
        // What a failed operation left undone is anybody's guess.
        Some(last) if last.status != "COMPLETED" => return None,
        Some(last) if last.kind == "STOP_VM" => "STOPPED",
        Some(_) | None => "RUNNING",
    };
    (status != expected).then(|| format!("{name} is {status} instead of {expected}"))
}

/// What is there more than once.
fn doubled(found: &Found, operations: &[Operation]) -> Vec<String> {
    let mut doubled = found.repeated.clone();
    for operation in operations.iter().filter(|operation| operation.tickets.len() > 1) {
        doubled.push(format!("{}: it has the tickets {:?}", operation.id, operation.tickets));
    }
    let mut seen = BTreeSet::new();
    for (name, id) in &found.objects {
        if !seen.insert(name) || !seen.insert(id) {
            doubled.push(format!("the object {name} of machine {id} is there twice"));
        }
    }
    doubled
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    seed: u64,
    seconds: u64,
    quiet_after: Duration,
    troubles: BTreeMap<&'static str, u32>,
    replicas: BTreeMap<&'static str, u32>,
    attempted: usize,
    calls: u32,
    kinds: BTreeMap<&'static str, u32>,
    accepted: u32,
    completed: u32,
    failed: BTreeMap<String, u32>,
    refused: BTreeMap<String, u32>,
    unanswered: u32,
    lost: Vec<String>,
    doubled: Vec<String>,
    /// Outcomes of the tests that take long.
    tests: BTreeMap<String, String>,
}

impl Report {
    pub(super) fn set_tests(&mut self, tests: BTreeMap<String, String>) {
        self.tests = tests;
    }

    pub(super) fn set_run(
        &mut self,
        seed: u64,
        duration: Duration,
        quiet_after: Duration,
        troubles: BTreeMap<&'static str, u32>,
        replicas: BTreeMap<&'static str, u32>,
    ) {
        self.seed = seed;
        self.seconds = duration.as_secs();
        self.quiet_after = quiet_after;
        self.troubles = troubles;
        self.replicas = replicas;
    }

    /// Whether nothing was lost or doubled, there was something to lose, and no test failed.
    pub(super) fn is_clean(&self) -> bool {
        // One that this machine does not allow is named in the report.
        let tests_passed = self.tests.values().all(|outcome| outcome != "FAILED");
        self.lost.is_empty() && self.doubled.is_empty() && self.completed > 0 && tests_passed
    }

    pub(super) fn document(&self) -> Value {
        json!({
            "seed": self.seed,
            "disturbed_s": self.seconds,
            "quiet_after_s": self.quiet_after.as_secs_f64(),
            "troubles": self.troubles,
            "replicas": self.replicas,
            "operations": {
                "attempted": self.attempted, "by_kind": self.kinds, "calls": self.calls, "accepted": self.accepted,
                "completed": self.completed, "failed": self.failed, "refused": self.refused,
                "unanswered": self.unanswered, "lost": self.lost.len(), "doubled": self.doubled.len(),
            },
            "lost": self.lost,
            "doubled": self.doubled,
            "tests": self.tests,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<34}{:>8}", "operations attempted", self.attempted)?;
        counts(f, &self.kinds)?;
        writeln!(f, "{:<34}{:>8}", "calls sent for them", self.calls)?;
        writeln!(f, "{:<34}{:>8}", "accepted", self.accepted)?;
        writeln!(f, "{:<34}{:>8}", "completed", self.completed)?;
        writeln!(f, "{:<34}{:>8}", "failed", self.failed.values().sum::<u32>())?;
        counts(f, &self.failed)?;
        writeln!(f, "{:<34}{:>8}", "refused", self.refused.values().sum::<u32>())?;
        counts(f, &self.refused)?;
        writeln!(f, "{:<34}{:>8}", "without an answer", self.unanswered)?;
        writeln!(f, "{:<34}{:>8}", "troubles", self.troubles.values().sum::<u32>())?;
        counts(f, &self.troubles)?;
        counts(f, &self.replicas)?;
        writeln!(f, "{:<34}{:>7.1}s", "quiet after", self.quiet_after.as_secs_f64())?;
        for (test, outcome) in &self.tests {
            writeln!(f, "{test}: {outcome}")?;
        }
        for (what, which) in [("lost", &self.lost), ("doubled", &self.doubled)] {
            writeln!(f, "{what:<34}{:>8}", which.len())?;
            for one in which.iter().take(SHOWN) {
                writeln!(f, "  {one}")?;
            }
        }
        Ok(())
    }
}

fn counts<K: fmt::Display>(f: &mut fmt::Formatter<'_>, counts: &BTreeMap<K, u32>) -> fmt::Result {
    for (what, count) in counts {
        let what = what.to_string();
        writeln!(f, "  {what:<40}{count:>8}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::people::Kind;

    fn ticket(id: &str, kind: &str, status: &str) -> Ticket {
        Ticket {
            id: id.to_owned(),
            reason: format!("reason of {id}"),
            kind: kind.to_owned(),
            status: status.to_owned(),
            error: String::new(),
            vm: "m".to_owned(),
        }
    }

    fn made(status: &str) -> Found {
        Found {
            tickets: vec![ticket("1", "CREATE_VM", "COMPLETED")],
            rows: BTreeMap::from([("m".to_owned(), ("name".to_owned(), status.to_owned()))]),
            objects: vec![("name".to_owned(), "m".to_owned())],
            repeated: Vec::new(),
        }
    }

    #[test]
    fn what_is_as_it_should_be_is_not_lost() {
        assert_eq!(lost(&made("RUNNING"), &[]), Vec::<String>::new());
        let mut stopped = made("STOPPED");
        stopped.tickets.push(ticket("2", "STOP_VM", "COMPLETED"));
        assert_eq!(lost(&stopped, &[]), Vec::<String>::new());
    }

    #[test]
    fn an_end_without_its_effect_is_lost() {
        assert_eq!(lost(&made("STOPPED"), &[]).len(), 1, "nobody stopped it");
        let mut without_object = made("RUNNING");
        without_object.objects.clear();
        assert_eq!(lost(&without_object, &[]).len(), 1);
        let mut still_there = made("RUNNING");
        still_there.tickets.push(ticket("2", "DELETE_VM", "COMPLETED"));
        assert_eq!(lost(&still_there, &[]).len(), 1);
        let mut open = made("RUNNING");
        open.tickets.push(ticket("2", "STOP_VM", "EXECUTING"));
        assert_eq!(lost(&open, &[]).len(), 1);
    }

    #[test]
    fn a_ticket_that_is_not_there_is_lost_and_a_second_one_doubled() {
        let operation = Operation {
            id: "user-1-00001".to_owned(),
            kind: Kind::Create,
            attempts: 2,
            tickets: BTreeSet::from(["1".to_owned(), "gone".to_owned()]),
            outcome: Outcome::Accepted,
        };
        let found = made("RUNNING");
        assert_eq!(lost(&found, std::slice::from_ref(&operation)).len(), 1);
        assert_eq!(doubled(&found, std::slice::from_ref(&operation)).len(), 1);
        assert!(!account(&found, &[operation]).is_clean());
        let mut twice = made("RUNNING");
        twice.objects.push(("name".to_owned(), "m".to_owned()));
        assert_eq!(doubled(&twice, &[]).len(), 1);
    }
}
