//! `status.conditions`, shared by all kinds.

use serde_json::{Value, json};

use crate::{host, object};

/// One condition.
pub(crate) fn get<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// Whether a condition is there and `True`.
pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    get(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Whether a condition is there, `False`, and so for this reason.
pub(crate) fn is_false_because(object: &Value, kind: &str, reason: &str) -> bool {
    get(object, kind).is_some_and(|condition| condition["status"] == "False" && condition["reason"] == reason)
}

/// Sets a condition; one that says so already keeps its transition time. Empty texts are left out.
pub(crate) fn set(object: &mut Value, kind: &str, status: bool, reason: &str, message: &str) {
    let status = if status { "True" } else { "False" };
    let now = host::timestamp();
    let mut condition = json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": now});
    for (field, text) in [("reason", reason), ("message", message)] {
        if !text.is_empty() {
            condition[field] = Value::from(text);
        }
    }
    if let Some(existing) = get(object, kind)
        && existing["status"] == status
    {
        condition["lastTransitionTime"] = existing["lastTransitionTime"].clone();
    }
    replace(object, condition);
}

/// Puts a condition in the place of the one of its type, or at the end.
pub(crate) fn replace(object: &mut Value, condition: Value) {
    let mut all = all(object);
    match all.iter_mut().find(|existing| existing["type"] == condition["type"]) {
        Some(existing) => *existing = condition,
        None => all.push(condition),
    }
    object::status_mut(object).insert("conditions".to_owned(), Value::Array(all));
}

/// Takes a condition away.
pub(crate) fn clear(object: &mut Value, kind: &str) {
    if get(object, kind).is_some() {
        let mut all = all(object);
        all.retain(|condition| condition["type"] != kind);
        object::status_mut(object).insert("conditions".to_owned(), Value::Array(all));
    }
}

fn all(object: &Value) -> Vec<Value> {
    object["status"]["conditions"].as_array().cloned().unwrap_or_default()
}
