//! Reading and changing the parts of a Kubernetes object that every kind shares.
//!
//! Objects are JSON values, because the simulator must keep fields it knows nothing about.

use serde_json::{Map, Value, json};

/// The finalizer foreground deletion puts on an object until its dependents are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer orphaning deletion puts on an object until its dependents have let go of it.
pub(crate) const ORPHAN: &str = "orphan";

/// `metadata.name`, empty when absent.
pub(crate) fn name(object: &Value) -> &str {
    meta(object, "name")
}

/// `metadata.namespace`, empty for cluster-scoped objects.
pub(crate) fn namespace(object: &Value) -> &str {
    meta(object, "namespace")
}

/// `metadata.uid`, empty when absent.
pub(crate) fn uid(object: &Value) -> &str {
    meta(object, "uid")
}

/// `metadata.resourceVersion`, empty when absent.
pub(crate) fn resource_version(object: &Value) -> &str {
    meta(object, "resourceVersion")
}

fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// Whether deletion was asked for.
pub(crate) fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// The finalizers, in order.
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    strings(&object["metadata"]["finalizers"])
}

/// Whether one finalizer is present.
pub(crate) fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    finalizers(object).contains(&finalizer)
}

/// Adds a finalizer unless it is there already.
pub(crate) fn add_finalizer(object: &mut Value, finalizer: &str) {
    if !has_finalizer(object, finalizer) {
        let mut all: Vec<Value> = finalizers(object).into_iter().map(Value::from).collect();
        all.push(Value::from(finalizer));
        metadata_mut(object).insert("finalizers".to_owned(), Value::Array(all));
    }
}

/// Removes a finalizer; an empty list is dropped.
pub(crate) fn remove_finalizer(object: &mut Value, finalizer: &str) {
    let rest: Vec<Value> = finalizers(object)
        .into_iter()
        .filter(|entry| *entry != finalizer)
        .map(Value::from)
        .collect();
    let metadata = metadata_mut(object);
    if rest.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), Value::Array(rest));
    }
}

/// The uids of all owners.
pub(crate) fn owner_uids(object: &Value) -> Vec<&str> {
    object["metadata"]["ownerReferences"]
        .as_array()
        .map(|owners| owners.iter().filter_map(|owner| owner["uid"].as_str()).collect())
        .unwrap_or_default()
}

/// The controlling owner reference the cluster's own controllers write.
pub(crate) fn controller_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// `metadata` as a map, created when absent or of the wrong type.
pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    section_mut(object, "metadata")
}

/// `status` as a map, created when absent or of the wrong type.
pub(crate) fn status_mut(object: &mut Value) -> &mut Map<String, Value> {
    section_mut(object, "status")
}

fn section_mut<'a>(object: &'a mut Value, section: &str) -> &'a mut Map<String, Value> {
    let root = as_map(object);
    as_map(root.entry(section.to_owned()).or_insert(Value::Null))
}

/// The value as a map; anything else is replaced by an empty one first.
pub(crate) fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            unreachable!("the value was just made a map")
        }
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map(|items| items.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finalizers_come_and_go() {
        let mut object = json!({"metadata": {"name": "a"}});
        add_finalizer(&mut object, FOREGROUND);
        add_finalizer(&mut object, FOREGROUND);
        assert_eq!(finalizers(&object), [FOREGROUND]);
        remove_finalizer(&mut object, FOREGROUND);
        assert_eq!(object, json!({"metadata": {"name": "a"}}));
    }
}
