//! Pruning and defaulting: what an API server does to a custom resource before it looks at its values.

use serde_json::{Map, Value};

/// Fields every object has, whatever its schema says.
const ROOT_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Takes out fields the schema does not know and returns their paths.
pub(super) fn prune(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    walk(schema, object, "", true, &mut unknown);
    unknown
}

fn walk(schema: &Value, value: &mut Value, at: &str, is_root: bool, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => walk_map(schema, map, at, is_root, unknown),
        Value::Array(items) if schema["items"].is_object() => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(&schema["items"], item, &format!("{at}[{index}]"), false, unknown);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
    }
}

fn walk_map(schema: &Value, map: &mut Map<String, Value>, at: &str, is_root: bool, unknown: &mut Vec<String>) {
    let keeps_all = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let has_identity = is_root || schema["x-kubernetes-embedded-resource"] == true;
    let path_of = |key: &str| {
        if at.is_empty() {
            key.to_owned()
        } else {
            format!("{at}.{key}")
        }
    };
    map.retain(|key, child| {
        if has_identity && ROOT_FIELDS.contains(&key.as_str()) {
            return true;
        }
        match child_schema(schema, key) {
            Some(child_schema) => {
                walk(child_schema, child, &path_of(key), false, unknown);
                true
            }
            None if keeps_all || schema["additionalProperties"] == true => true,
            None => {
                unknown.push(path_of(key));
                false
            }
        }
    });
}

fn child_schema<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let properties = schema["properties"].as_object();
    properties
        .and_then(|properties| properties.get(key))
        .or_else(|| Some(&schema["additionalProperties"]).filter(|schema| schema.is_object()))
}

/// Fills in what is absent and has a default, inside of what is there.
pub(super) fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, property) in schema["properties"].as_object().into_iter().flatten() {
                let Some(default) = property.get("default") else {
                    continue;
                };
                // A null that may not be there counts as absent when there is a default.
                let is_absent = map
                    .get(key)
                    .is_none_or(|found| found.is_null() && property["nullable"] != true);
                if is_absent {
                    map.insert(key.clone(), default.clone());
                }
            }
            for (key, child) in map {
                if let Some(child_schema) = child_schema(schema, key) {
                    self::default(child_schema, child);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                self::default(&schema["items"], item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
