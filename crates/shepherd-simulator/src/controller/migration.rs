//! Live migrations: Pending, Scheduling, Running, Succeeded; the instance ends up on another node.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Context;
use super::capacity::find_node;
use crate::resources::{INSTANCES, MIGRATIONS};
use crate::{host, object};

/// Moves a migration on by one phase.
pub(crate) fn advance(context: &mut Context<'_>, migration: &Value) {
    let namespace = object::namespace(migration);
    let name = migration["spec"]["vmiName"].as_str().unwrap_or_default();
    let phase = migration["status"]["phase"].as_str().unwrap_or_default();
    if object::is_deleting(migration) || matches!(phase, "Succeeded" | "Failed") {
        return;
    }
    let instance = context.store.get(&INSTANCES, namespace, name);
    let Some(instance) = instance.filter(|instance| instance["status"]["phase"] == "Running") else {
        return write(context, migration, "Failed");
    };
    if context.store.is_frozen(&instance) {
        return;
    }
    let key = format!("{phase}/{}", object::uid(migration));
    if !phase.is_empty() && !context.timers.passed(key, context.timing.start / 3) {
        return;
    }
    match phase {
        "" => write(context, migration, "Pending"),
        "Pending" => write(context, migration, "Scheduling"),
        "Scheduling" => begin(context, migration, &instance),
        _ => finish(context, migration, &instance),
    }
}

fn write(context: &mut Context<'_>, migration: &Value, phase: &str) {
    let mut next = migration.clone();
    object::status_mut(&mut next).insert("phase".to_owned(), Value::from(phase));
    context.store.put(&MIGRATIONS, next);
}

/// Starts the move when another node has room; until then the migration stays in Scheduling.
fn begin(context: &mut Context<'_>, migration: &Value, instance: &Arc<Value>) {
    let source = instance["status"]["nodeName"].as_str().unwrap_or_default();
    let Ok(node) = find_node(context.store, instance, source) else {
        return;
    };
    let mut moving = Value::clone(instance);
    let state = json!({
        "migrationUid": object::uid(migration),
        "startTimestamp": host::timestamp(),
        "sourceNode": source,
        "targetNode": node,
        "mode": "PreCopy",
    });
    object::status_mut(&mut moving).insert("migrationState".to_owned(), state.clone());
    context.store.put(&INSTANCES, moving);
    let mut next = migration.clone();
    let status = object::status_mut(&mut next);
    status.insert("phase".to_owned(), Value::from("Running"));
    status.insert("migrationState".to_owned(), state);
    context.store.put(&MIGRATIONS, next);
}

fn finish(context: &mut Context<'_>, migration: &Value, instance: &Arc<Value>) {
    let mut state = migration["status"]["migrationState"].clone();
    let details = object::as_map(&mut state);
    details.insert("completed".to_owned(), Value::from(true));
    details.insert("endTimestamp".to_owned(), Value::from(host::timestamp()));
    let mut moved = Value::clone(instance);
    let status = object::status_mut(&mut moved);
    status.insert("nodeName".to_owned(), state["targetNode"].clone());
    status.insert("migrationState".to_owned(), state.clone());
    context.store.put(&INSTANCES, moved);
    let mut next = migration.clone();
    let status = object::status_mut(&mut next);
    status.insert("phase".to_owned(), Value::from("Succeeded"));
    status.insert("migrationState".to_owned(), state);
    context.store.put(&MIGRATIONS, next);
}
