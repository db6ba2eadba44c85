//! Comparing two documents.
//!
//! Both are walked side by side. A value that exists on one side only is one change, however much is in it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::secrets::{is_secret, mask};
use super::{Change, ChangeOp};
use crate::redaction::REDACTED;

/// The differences, by path. There are none exactly when the documents are equal.
pub fn diff(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(String::new(), old, new, &mut changes);
    changes.sort_by(|a, b| a.path.cmp(&b.path).then_with(|| a.op.cmp(&b.op)));
    changes
}

fn compare(path: String, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => objects(&path, old, new, changes),
        (Value::Array(old), Value::Array(new)) => match (names(old), names(new)) {
            (Some(before), Some(after)) if in_same_order(&before, &after) => {
                by_name(&path, (old, &before), (new, &after), changes);
            }
            _ => by_index(&path, old, new, changes),
        },
        (old, new) if old != new => changes.push(change(path, Some(mask(old)), Some(mask(new)))),
        _ => {}
    }
}

fn objects(path: &str, old: &Map<String, Value>, new: &Map<String, Value>, changes: &mut Vec<Change>) {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let at = child(path, key);
        match (old.get(key), new.get(key)) {
            (Some(before), Some(after)) if is_secret(key, before) || is_secret(key, after) => {
                if before != after {
                    changes.push(change(at, Some(hidden(before)), Some(hidden(after))));
                }
            }
            (Some(before), Some(after)) => compare(at, before, after, changes),
            (before, after) => {
                let shown = |value: &Value| {
                    if is_secret(key, value) {
                        hidden(value)
                    } else {
                        mask(value)
                    }
                };
                changes.push(change(at, before.map(shown), after.map(shown)));
            }
        }
    }
}

/// A list and the names of its entries.
type Named<'a> = (&'a [Value], &'a [&'a str]);

fn by_name(path: &str, old: Named<'_>, new: Named<'_>, changes: &mut Vec<Change>) {
    let all: BTreeSet<&str> = old.1.iter().chain(new.1).copied().collect();
    for name in all {
        entry(
            format!("{path}[name={name}]"),
            named(old, name),
            named(new, name),
            changes,
        );
    }
}

fn named<'a>((items, names): Named<'a>, wanted: &str) -> Option<&'a Value> {
    items.get(names.iter().position(|name| *name == wanted)?)
}

fn by_index(path: &str, old: &[Value], new: &[Value], changes: &mut Vec<Change>) {
    for index in 0..old.len().max(new.len()) {
        entry(format!("{path}[{index}]"), old.get(index), new.get(index), changes);
    }
}

fn entry(at: String, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    match (old, new) {
        (Some(before), Some(after)) => compare(at, before, after, changes),
        (before, after) => changes.push(change(at, before.map(mask), after.map(mask))),
    }
}

fn change(path: String, old: Option<Value>, new: Option<Value>) -> Change {
    let op = match (&old, &new) {
        (None, _) => ChangeOp::Add,
        (Some(_), None) => ChangeOp::Remove,
        (Some(_), Some(_)) => ChangeOp::Replace,
    };
    Change { path, op, old, new }
}

/// A secret as it is shown; that there was none is none.
fn hidden(value: &Value) -> Value {
    if value.is_null() {
        Value::Null
    } else {
        Value::from(REDACTED)
    }
}

/// The names of a list's entries, when each is an object with a name of its own.
fn names(items: &[Value]) -> Option<Vec<&str>> {
    let mut seen = BTreeSet::new();
    items
        .iter()
        .map(|item| item.get("name")?.as_str().filter(|name| seen.insert(*name)))
        .collect()
}

/// Whether what both lists have stands in the same order. Otherwise its order is the difference, which names would
/// hide.
fn in_same_order(old: &[&str], new: &[&str]) -> bool {
    let common = |of: &[&str], other: &[&str]| -> Vec<String> {
        let kept = of.iter().filter(|name| other.contains(name));
        kept.map(|name| (*name).to_owned()).collect()
    };
    common(old, new) == common(new, old)
}

fn child(path: &str, key: &str) -> String {
    let is_plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    if !is_plain {
        return format!("{path}[{}]", Value::from(key));
    }
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
