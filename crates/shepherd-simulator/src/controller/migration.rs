//! Live migrations: from Pending to Succeeded, with the instance on another node; or to Failed.

use serde_json::{Value, json};

use super::Context;
use super::capacity::find_node;
use crate::resources::{INSTANCES, MIGRATIONS};
use crate::{host, object};

/// KubeVirt's label for the instance a migration moves.
pub(crate) const LABEL: &str = "kubevirt.io/vmi-name";
/// KubeVirt's finalizer on migrations: a deleted one is cancelled before it goes.
pub(crate) const FINALIZER: &str = "kubevirt.io/migrationJobFinalize";
/// The phases between the first and the last one, each with the next.
const NEXT: [(&str, &str); 4] = [
    ("Pending", "Scheduling"),
    ("Scheduled", "PreparingTarget"),
    ("PreparingTarget", "TargetReady"),
    ("TargetReady", "Running"),
];

/// Whether a migration moves this instance and has not ended.
pub(crate) fn is_under_way(migration: &Value, instance: &str) -> bool {
    let phase = migration["status"]["phase"].as_str().unwrap_or_default();
    migration["spec"]["vmiName"] == instance && !matches!(phase, "Succeeded" | "Failed")
}

/// Moves a migration on by one phase.
pub(crate) fn advance(context: &mut Context<'_>, migration: &Value) {
    let name = migration["spec"]["vmiName"].as_str().unwrap_or_default();
    let phase = migration["status"]["phase"].as_str().unwrap_or_default();
    let instance = context.store.get(&INSTANCES, object::namespace(migration), name);
    if object::is_deleting(migration) {
        if is_under_way(migration, name) {
            return end(context, migration, instance.as_deref(), End::Cancelled);
        }
        return context.let_go(&MIGRATIONS, migration, FINALIZER);
    }
    if !is_under_way(migration, name) {
        return;
    }
    let runs = |instance: &Value| instance["status"]["phase"] == "Running" && !object::is_deleting(instance);
    let Some(instance) = instance.as_deref().filter(|instance| runs(instance)) else {
        return end(context, migration, instance.as_deref(), End::Failed);
    };
    if context.store.is_frozen(instance) {
        return;
    }
    let key = format!("{phase}/{}", object::uid(migration));
    if !phase.is_empty() && !context.timers.passed(key, context.timing.start / 6) {
        return;
    }
    match phase {
        "" => write(context, migration, "Pending", None),
        "Scheduling" => schedule(context, migration, instance),
        "Running" => end(context, migration, Some(instance), End::Succeeded),
        _ => {
            if let Some((_, next)) = NEXT.iter().find(|(from, _)| *from == phase) {
                write(context, migration, next, None);
            }
        }
    }
}

fn write(context: &mut Context<'_>, migration: &Value, phase: &str, state: Option<Value>) {
    let mut next = migration.clone();
    let status = object::status_mut(&mut next);
    status.insert("phase".to_owned(), Value::from(phase));
    let transition = json!({"phase": phase, "phaseTransitionTimestamp": host::timestamp()});
    match status
        .get_mut("phaseTransitionTimestamps")
        .and_then(Value::as_array_mut)
    {
        Some(transitions) => transitions.push(transition),
        None => {
            status.insert("phaseTransitionTimestamps".to_owned(), json!([transition]));
        }
    }
    if let Some(state) = state {
        status.insert("migrationState".to_owned(), state);
    }
    context.store.put(&MIGRATIONS, next);
}

/// Finds another node with room; until there is one the migration stays in Scheduling.
fn schedule(context: &mut Context<'_>, migration: &Value, instance: &Value) {
    let source = instance["status"]["nodeName"].as_str().unwrap_or_default();
    let Ok(node) = find_node(context.store, instance, source) else {
        return;
    };
    let state = json!({
        "migrationUid": object::uid(migration),
        "startTimestamp": host::timestamp(),
        "sourceNode": source,
        "targetNode": node,
        "mode": "PreCopy",
    });
    let mut moving = instance.clone();
    object::status_mut(&mut moving).insert("migrationState".to_owned(), state.clone());
    context.store.put(&INSTANCES, moving);
    write(context, migration, "Scheduled", Some(state));
}

/// How a migration ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Succeeded,
    Failed,
    Cancelled,
}

/// Writes the end into the migration and, when the move had begun, into the instance.
fn end(context: &mut Context<'_>, migration: &Value, instance: Option<&Value>, how: End) {
    let phase = if how == End::Succeeded { "Succeeded" } else { "Failed" };
    if !migration["status"]["migrationState"].is_object() {
        return write(context, migration, phase, None);
    }
    let mut state = migration["status"]["migrationState"].clone();
    state["completed"] = Value::from(true);
    state["endTimestamp"] = Value::from(host::timestamp());
    if how != End::Succeeded {
        state["failed"] = Value::from(true);
    }
    if how == End::Cancelled {
        state["abortRequested"] = Value::from(true);
        state["abortStatus"] = Value::from("Succeeded");
    }
    let is_mine = |instance: &&Value| instance["status"]["migrationState"]["migrationUid"] == object::uid(migration);
    if let Some(instance) = instance.filter(is_mine) {
        let mut moved = instance.clone();
        let status = object::status_mut(&mut moved);
        if how == End::Succeeded {
            status.insert("nodeName".to_owned(), state["targetNode"].clone());
        }
        status.insert("migrationState".to_owned(), state.clone());
        context.store.put(&INSTANCES, moved);
    }
    write(context, migration, phase, Some(state));
}
