//! Putting a value into a document.

use serde_json::{Map, Value};

use super::Segment;

/// Puts the value to where the segments lead from here.
///
/// Each container is taken out of its place and put back, so that nothing needs to be assumed about what it was.
pub(super) fn put(at: &mut Value, segments: &[Segment], value: &Value) {
    let Some((segment, rest)) = segments.split_first() else {
        return settle(at, value);
    };
    match segment {
        Segment::Key(key) => {
            let mut object = take_object(at);
            put(object.entry(key.as_str()).or_insert(Value::Null), rest, value);
            *at = Value::Object(object);
        }
        Segment::Index(index) => {
            let mut list = take_list(at);
            if list.len() <= *index {
                list.resize(index + 1, Value::Null);
            }
            if let Some(entry) = list.get_mut(*index) {
                put(entry, rest, value);
            }
            *at = Value::Array(list);
        }
        Segment::Named(name) => {
            let mut list = take_list(at);
            let place = list.iter().position(|entry| is_named(entry, name));
            let place = place.unwrap_or_else(|| {
                list.push(named(name));
                list.len() - 1
            });
            if let Some(entry) = list.get_mut(place) {
                put(entry, rest, value);
            }
            *at = Value::Array(list);
        }
    }
}

/// An empty object says that there is one, not that there is nothing in it.
fn settle(at: &mut Value, value: &Value) {
    let asks_for_an_object = value.as_object().is_some_and(Map::is_empty);
    if !(asks_for_an_object && at.is_object()) {
        *at = value.clone();
    }
}

fn take_object(at: &mut Value) -> Map<String, Value> {
    match at.take() {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn take_list(at: &mut Value) -> Vec<Value> {
    match at.take() {
        Value::Array(list) => list,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Vec::new(),
    }
}

fn is_named(entry: &Value, name: &str) -> bool {
    entry.get("name").and_then(Value::as_str) == Some(name)
}

fn named(name: &str) -> Value {
    Value::Object(Map::from_iter([("name".to_owned(), Value::from(name))]))
}
