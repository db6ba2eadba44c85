//! Server-side apply: merge what a manager sends, refuse what others own, drop what it no longer sends.

use serde_json::{Map, Value};

use super::ownership::{
    FieldSet, Manager, Path, Step, item_key, join, leaves, managers_of, remove_field, to_managed_fields,
};
use super::shapes::{ListShape, Shapes};
use crate::object;

/// One apply request.
#[derive(Debug)]
pub(crate) struct Apply<'a> {
    /// The object as it is, `None` when it has to be created.
    pub live: Option<&'a Value>,
    /// What the manager wants, all of it.
    pub wanted: &'a Value,
    /// The manager's name.
    pub manager: &'a str,
    /// The subresource applied through, empty for the object itself.
    pub subresource: &'a str,
    /// Whether to take over fields owned by others.
    pub force: bool,
    /// `apiVersion` of the object.
    pub api_version: &'a str,
    /// Time for a changed entry.
    pub time: &'a str,
    /// How the lists and maps of the kind merge.
    pub shapes: &'a Shapes,
}

/// A field somebody else owns and the request would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldConflict {
    /// The owner, as messages name it.
    pub owner: String,
    /// The field, written `.spec.running`.
    pub field: String,
}

/// The object after the apply, with its `managedFields`; or the conflicts, sorted by owner and field.
pub(crate) fn apply(request: &Apply<'_>) -> Result<Value, Vec<FieldConflict>> {
    let wanted = without_nulls(request.wanted);
    let nothing = Value::Object(Map::new());
    let live = request.live.unwrap_or(&nothing);
    let mut managers = managers_of(live);

    let mut merged = live.clone();
    merge(&mut merged, &wanted, request.shapes, "");
    let conflicts = find_conflicts(live, &merged, &wanted, &managers, request);
    if !conflicts.is_empty() && !request.force {
        return Err(conflicts.into_iter().map(|(conflict, _)| conflict).collect());
    }
    for manager in managers.iter_mut().filter(|manager| !is_self(manager, request)) {
        manager
            .fields
            .retain(|path| !conflicts.iter().any(|(_, lost)| lost == path));
    }

    let fields: FieldSet = leaves(&wanted, request.shapes).into_keys().collect();
    let before = managers
        .iter()
        .find(|manager| is_self(manager, request))
        .map(|manager| manager.fields.clone());
    drop_disowned(&mut merged, before.as_ref(), &fields, &managers, request);
    if before.as_ref() != Some(&fields) {
        managers.retain(|manager| !is_self(manager, request));
        managers.push(Manager {
            name: request.manager.to_owned(),
            operation: "Apply".to_owned(),
            subresource: request.subresource.to_owned(),
            api_version: request.api_version.to_owned(),
            time: request.time.to_owned(),
            fields,
        });
    }
    let present: FieldSet = leaves(&merged, request.shapes).into_keys().collect();
    for manager in managers.iter_mut().filter(|manager| !is_self(manager, request)) {
        manager.fields.retain(|path| present.contains(path));
    }
    object::metadata_mut(&mut merged).insert("managedFields".to_owned(), to_managed_fields(&managers));
    Ok(merged)
}

/// The message of the 409 the API server sends for these conflicts.
pub(crate) fn conflict_message(conflicts: &[FieldConflict]) -> String {
    match conflicts {
        [only] => format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            only.owner, only.field
        ),
        several => {
            let mut message = format!("Apply failed with {} conflicts: ", several.len());
            let mut owner = "";
            for conflict in several {
                if conflict.owner != owner {
                    if !owner.is_empty() {
                        message.push('\n');
                    }
                    owner = &conflict.owner;
                    message.push_str(&format!("conflicts with {owner}:"));
                }
                message.push_str(&format!("\n- {}", conflict.field));
            }
            message
        }
    }
}

fn is_self(manager: &Manager, request: &Apply<'_>) -> bool {
    manager.same_as(request.manager, "Apply", request.subresource)
}

fn find_conflicts(
    live: &Value,
    merged: &Value,
    wanted: &Value,
    managers: &[Manager],
    request: &Apply<'_>,
) -> Vec<(FieldConflict, Path)> {
    let (before, after) = (leaves(live, request.shapes), leaves(merged, request.shapes));
    let mut conflicts = Vec::new();
    for path in leaves(wanted, request.shapes).into_keys() {
        if before.get(&path) == after.get(&path) {
            continue;
        }
        for owner in managers
            .iter()
            .filter(|manager| !is_self(manager, request) && manager.fields.contains(&path))
        {
            let conflict = FieldConflict {
                owner: owner.describe(),
                field: dotted(&path),
            };
            conflicts.push((conflict, path.clone()));
        }
    }
    conflicts.sort_by(|(left, _), (right, _)| (&left.owner, &left.field).cmp(&(&right.owner, &right.field)));
    conflicts
}

/// Removes what the manager owned alone and no longer sends.
fn drop_disowned(
    merged: &mut Value,
    before: Option<&FieldSet>,
    now: &FieldSet,
    managers: &[Manager],
    request: &Apply<'_>,
) {
    let Some(before) = before else { return };
    for path in before.difference(now) {
        let owned_elsewhere = managers
            .iter()
            .any(|manager| !is_self(manager, request) && manager.fields.contains(path));
        // An emptied map may have become a map with fields: then the path is a way, no longer a leaf.
        let became_a_way = now.iter().any(|kept| kept.len() > path.len() && kept.starts_with(path));
        if !owned_elsewhere && !became_a_way {
            remove_field(merged, path);
        }
    }
}

/// Merges `wanted` into `target` by the shape of each list and map.
fn merge(target: &mut Value, wanted: &Value, shapes: &Shapes, dotted: &str) {
    match (&mut *target, wanted) {
        (Value::Object(into), Value::Object(from)) if !shapes.is_atomic_map(dotted) => {
            for (key, value) in from {
                match into.get_mut(key) {
                    Some(existing) => merge(existing, value, shapes, &join(dotted, key)),
                    None => {
                        into.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(into), Value::Array(from)) if shapes.list(dotted) != ListShape::Atomic => {
            for item in from {
                let existing = match shapes.list(dotted) {
                    ListShape::Map(keys) => {
                        let key = item_key(item, keys);
                        into.iter_mut().find(|candidate| item_key(candidate, keys) == key)
                    }
                    ListShape::Set | ListShape::Atomic => into.iter_mut().find(|candidate| **candidate == *item),
                };
                match existing {
                    Some(existing) => merge(existing, item, shapes, dotted),
                    None => into.push(item.clone()),
                }
            }
        }
        _ => *target = wanted.clone(),
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, child)| !child.is_null())
                .map(|(key, child)| (key.clone(), without_nulls(child)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn dotted(path: &[Step]) -> String {
    path.iter()
        .map(|step| match step {
            Step::Field(name) => format!(".{name}"),
            Step::Key(key) => format!(
                "[{}]",
                key.trim_matches(|c| c == '{' || c == '}').replacen("\":", "\"=", 1)
            ),
            Step::Element(element) => format!("[={element}]"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(live: Option<&Value>, wanted: Value, manager: &str, force: bool) -> Result<Value, Vec<FieldConflict>> {
        apply(&Apply {
            live,
            wanted: &wanted,
            manager,
            subresource: "",
            force,
            api_version: "kubevirt.io/v1",
            time: "2024-01-01T00:00:00Z",
            shapes: &Shapes::default(),
        })
    }

    #[test]
    fn applying_twice_changes_nothing() {
        let wanted = json!({"metadata": {"name": "web", "labels": {"a": "1"}}, "spec": {"running": true}});
        let first = run(None, wanted.clone(), "me", false).unwrap();
        let second = run(Some(&first), wanted, "me", false).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn fields_no_longer_sent_are_removed_unless_shared() {
        let base = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"x": 1}});
        let live = run(None, base, "me", false).unwrap();
        let live = run(Some(&live), json!({"metadata": {"labels": {"b": "2"}}}), "other", false).unwrap();
        let live = run(Some(&live), json!({"spec": {"x": 1}}), "me", false).unwrap();
        assert_eq!(live["metadata"]["labels"], json!({"b": "2"}));
    }

    #[test]
    fn changing_a_foreign_field_is_a_conflict_until_forced() {
        let live = run(None, json!({"spec": {"runStrategy": "Always"}}), "owner", false).unwrap();
        let wanted = json!({"spec": {"runStrategy": "Halted"}});
        let conflicts = run(Some(&live), wanted.clone(), "thief", false).unwrap_err();
        assert_eq!(
            conflicts,
            [FieldConflict {
                owner: "\"owner\"".to_owned(),
                field: ".spec.runStrategy".to_owned()
            }]
        );
        assert_eq!(
            conflict_message(&conflicts),
            "Apply failed with 1 conflict: conflict with \"owner\": .spec.runStrategy"
        );

        let taken = run(Some(&live), wanted, "thief", true).unwrap();
        assert_eq!(taken["spec"]["runStrategy"], "Halted");
        let names: Vec<String> = managers_of(&taken).into_iter().map(|manager| manager.name).collect();
        assert_eq!(names, ["thief"], "a manager without fields is forgotten");
    }

    #[test]
    fn the_same_value_is_shared_without_conflict() {
        let live = run(None, json!({"spec": {"x": 1}}), "one", false).unwrap();
        let live = run(Some(&live), json!({"spec": {"x": 1}}), "two", false).unwrap();
        assert_eq!(managers_of(&live).len(), 2);
    }

    #[test]
    fn kubevirt_lists_are_replaced_as_a_whole() {
        let disks = |names: &[&str]| {
            let disks: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            json!({"spec": {"template": {"spec": {"domain": {"devices": {"disks": disks}}}}}})
        };
        let live = run(None, disks(&["root", "data"]), "me", false).unwrap();
        let live = run(Some(&live), disks(&["root"]), "me", false).unwrap();
        assert_eq!(
            live["spec"]["template"]["spec"]["domain"]["devices"]["disks"],
            json!([{"name": "root"}])
        );
    }

    #[test]
    fn several_conflicts_are_listed_by_owner() {
        let live = run(None, json!({"spec": {"a": 1, "b": 1}}), "owner", false).unwrap();
        let conflicts = run(Some(&live), json!({"spec": {"a": 2, "b": 2}}), "thief", false).unwrap_err();
        assert_eq!(
            conflict_message(&conflicts),
            "Apply failed with 2 conflicts: conflicts with \"owner\":\n- .spec.a\n- .spec.b"
        );
    }
}
