//! Everything that a run leaves, in words that two runs can share: ids, times and the name of the stage are not told
//! apart, and neither is how often something was tried.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::stage::Stage;
use crate::in_process::InProcess;

/// What differs between any two runs.
const VOLATILE: [&str; 24] = [
    "attempt",
    "attempt_count",
    "created_at",
    "creationTimestamp",
    "decided_at",
    "expires_at",
    "generation",
    "hash",
    "last_attempt_at",
    "managedFields",
    "next_attempt_at",
    "node_name",
    "password",
    "performed_at",
    "processed_at",
    "resourceVersion",
    "retain_until",
    "row_version",
    "spec_sha256",
    "spec_snapshot",
    "source_node",
    "target_node",
    "unavailable_since",
    "updated_at",
];
/// What is looked at on the cluster.
const KINDS: [&str; 7] = [
    "PersistentVolumeClaim",
    "Secret",
    "VirtualMachine",
    "VirtualMachineClone",
    "VirtualMachineInstanceMigration",
    "VirtualMachineRestore",
    "VirtualMachineSnapshot",
];
const UUID: usize = 36;

/// What was found, by where it was found; sorted, since rows of one moment have no order.
pub type Record = BTreeMap<&'static str, Vec<String>>;

/// What a run has left.
pub async fn of(world: &InProcess, stage: &Stage) -> Record {
    stage.settle(world).await;
    let (ticket, event, name) = (stage.asked.ticket_id, stage.asked.event_id, &stage.name);
    let machines = format!("SELECT id FROM vms WHERE namespace = '{name}'");
    let events = format!(
        "SELECT id FROM domain_events WHERE id = '{event}' OR causation_id = '{event}' \
         OR causation_id IN (SELECT cancel_event_id FROM vm_migrations WHERE ticket_id = '{ticket}') \
         OR id IN (SELECT cancel_event_id FROM vm_migrations WHERE ticket_id = '{ticket}')"
    );
    let queries = [
        (
            "ticket",
            format!("SELECT * FROM approval_tickets WHERE id = '{ticket}'"),
        ),
        (
            "history",
            format!("SELECT * FROM ticket_transitions WHERE ticket_id = '{ticket}'"),
        ),
        ("events", format!("SELECT * FROM domain_events WHERE id IN ({events})")),
        (
            "audit",
            // Where a row stands in the whole log is not this run's to say.
            format!(
                "SELECT (jsonb_populate_record(a, '{{\"seq\": 0}}')).* FROM audit_logs a WHERE a.ticket_id = '{ticket}'"
            ),
        ),
        (
            "notifications",
            format!(
                "SELECT * FROM notifications WHERE resource_id = '{ticket}' \
                 OR params ->> 'ticket_number' = (SELECT number FROM approval_tickets WHERE id = '{ticket}')"
            ),
        ),
        ("machines", format!("SELECT * FROM vms WHERE namespace = '{name}'")),
        (
            "revisions",
            format!("SELECT * FROM vm_revisions WHERE ticket_id = '{ticket}'"),
        ),
        (
            "snapshots",
            format!("SELECT * FROM vm_snapshots WHERE vm_id IN ({machines})"),
        ),
        (
            "clones",
            format!("SELECT * FROM vm_clones WHERE ticket_id = '{ticket}'"),
        ),
        (
            "migrations",
            format!("SELECT * FROM vm_migrations WHERE ticket_id = '{ticket}'"),
        ),
        (
            "credentials",
            format!("SELECT vm_id, hash IS NULL AS used FROM vm_initial_credentials WHERE vm_id IN ({machines})"),
        ),
    ];
    let mut record = Record::new();
    for (place, query) in queries {
        record.insert(place, told(world.rows(&query).await, name));
    }
    record.insert("objects", told(objects(world, name), name));
    record.insert("requests", requests(world, name));
    record
}

/// Where two runs differ.
pub fn differences<'a>(expected: &'a Record, found: &'a Record) -> impl Iterator<Item = String> + 'a {
    expected.iter().filter_map(|(place, expected)| {
        let found = &found[place];
        (found != expected).then(|| {
            let lost: Vec<_> = expected.iter().filter(|row| !found.contains(row)).collect();
            let new: Vec<_> = found.iter().filter(|row| !expected.contains(row)).collect();
            let counts = (expected.len(), found.len());
            format!("{place} {counts:?}\n  without {lost:#?}\n  but with {new:#?}")
        })
    })
}

fn told(mut values: Vec<Value>, stage: &str) -> Vec<String> {
    values.iter_mut().for_each(strip);
    let mut told: Vec<String> = values.iter().map(|value| plain(&value.to_string(), stage)).collect();
    told.sort();
    told
}

/// The objects of the namespace: what they are to be, not how far they are.
fn objects(world: &InProcess, namespace: &str) -> Vec<Value> {
    let cluster = world.simulator.cluster();
    let listed = KINDS.iter().flat_map(|kind| cluster.list(kind, namespace));
    listed
        .map(|object| {
            let metadata = &object["metadata"];
            // What a guest is given is random.
            let keys: Option<Vec<&String>> = object["data"].as_object().map(|data| data.keys().collect());
            json!({
                "kind": object["kind"], "name": metadata["name"], "labels": metadata["labels"],
                "annotations": metadata["annotations"], "spec": object["spec"], "keys": keys,
            })
        })
        .collect()
}

/// What was made on the cluster, and what a machine was told to do. Repeating anything else changes nothing; a restart
/// is left out, since whether it is repeated shows only in the instance that follows.
fn requests(world: &InProcess, namespace: &str) -> Vec<String> {
    let within = format!("/namespaces/{namespace}/");
    let mut told: Vec<String> = world
        .simulator
        .cluster()
        .requests()
        .into_iter()
        .filter(|request| request.path.contains(&within) && !request.query.contains("dryRun"))
        .filter(|request| {
            let action = ["/start", "/stop"].iter().any(|action| request.path.ends_with(action));
            request.status == 201 || (action && (200..300).contains(&request.status))
        })
        .map(|request| plain(&format!("{} {}", request.method, request.path), namespace))
        .collect();
    told.sort();
    told
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !VOLATILE.contains(&key.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The text without ids, ticket numbers, times and the name of the stage.
fn plain(text: &str, stage: &str) -> String {
    let text = text.replace(stage, "<stage>");
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        if let Some((known, length)) = known(rest) {
            plain.push_str(known);
            rest = &rest[length..];
        } else {
            plain.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    plain
}

/// What the text begins with, and how long that is.
fn known(text: &str) -> Option<(&'static str, usize)> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if text.starts_with("TKT-") {
        return Some(("<ticket>", 4 + digits(4)));
    }
    if bytes.len() >= UUID && bytes[..UUID].iter().enumerate().all(|(at, byte)| is_of_uuid(at, *byte)) {
        return Some(("<id>", UUID));
    }
    // 2026-01-31T..., to the end of what a time consists of.
    let is_time = bytes.len() > 10 && bytes[10] == b'T' && bytes[4] == b'-' && bytes[7] == b'-' && digits(0) == 4;
    if is_time {
        let end = bytes.iter().position(|byte| !b"0123456789-:.TZ+".contains(byte));
        return Some(("<time>", end.unwrap_or(bytes.len())));
    }
    None
}

fn is_of_uuid(at: usize, byte: u8) -> bool {
    match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    }
}
