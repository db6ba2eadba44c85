//! Field ownership: the leaves of an object, sets of them, and the `managedFields` they are stored in.
//!
//! A field is one leaf of the document, or one item of a list that [`Shapes`] does not call atomic.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::shapes::{ListShape, Shapes};
use crate::resources::ResourceDef;

/// One step of a path to a field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A field of an object.
    Field(String),
    /// The item of a map-like list with these keys, as canonical JSON.
    Key(String),
    /// The element of a set-like list, as canonical JSON.
    Element(String),
}

/// The way from the root to a field.
pub(crate) type Path = Vec<Step>;

/// A set of fields.
pub(crate) type FieldSet = BTreeSet<Path>;

/// `parent.child`, or `child` at the root.
pub(crate) fn join(parent: &str, child: &str) -> String {
    if parent.is_empty() {
        child.to_owned()
    } else {
        format!("{parent}.{child}")
    }
}

/// The identity of an item in a map-like list.
pub(crate) fn item_key(item: &Value, keys: &[String]) -> String {
    let identity: BTreeMap<&str, &Value> = keys
        .iter()
        .map(|key| (key.as_str(), &item[key.as_str()]))
        .filter(|(_, value)| !value.is_null())
        .collect();
    json!(identity).to_string()
}

/// Every field of an object with its value; items of map-like lists are fields without a value of their own.
pub(crate) fn leaves<'a>(object: &'a Value, shapes: &Shapes) -> BTreeMap<Path, Option<&'a Value>> {
    let mut found = BTreeMap::new();
    collect(object, shapes, "", &mut Vec::new(), &mut found);
    found.retain(|path, _| !is_system_field(path));
    found
}

fn collect<'a>(
    value: &'a Value,
    shapes: &Shapes,
    dotted: &str,
    path: &mut Path,
    found: &mut BTreeMap<Path, Option<&'a Value>>,
) {
    match value {
        Value::Object(map) if !map.is_empty() && !shapes.is_atomic_map(dotted) => {
            for (key, child) in map {
                path.push(Step::Field(key.clone()));
                collect(child, shapes, &join(dotted, key), path, found);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() && shapes.list(dotted) != ListShape::Atomic => {
            for item in items {
                path.push(step_into(item, shapes.list(dotted)));
                found.insert(path.clone(), None);
                if let (ListShape::Map(_), Value::Object(map)) = (shapes.list(dotted), item) {
                    for (key, child) in map {
                        path.push(Step::Field(key.clone()));
                        collect(child, shapes, &join(dotted, key), path, found);
                        path.pop();
                    }
                }
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            found.insert(path.clone(), Some(value));
        }
    }
}

fn step_into(item: &Value, shape: ListShape<'_>) -> Step {
    match shape {
        ListShape::Map(keys) => Step::Key(item_key(item, keys)),
        ListShape::Set | ListShape::Atomic => Step::Element(item.to_string()),
    }
}

/// Fields the API server owns itself.
fn is_system_field(path: &[Step]) -> bool {
    const METADATA: [&str; 10] = [
        "name",
        "namespace",
        "generateName",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "managedFields",
    ];
    match path {
        [Step::Field(root)] => root == "apiVersion" || root == "kind" || root == "metadata",
        [Step::Field(root), Step::Field(field), ..] => root == "metadata" && METADATA.contains(&field.as_str()),
        _ => path.is_empty(),
    }
}

/// Takes the field at `path` out of a document, and the maps that become empty by it.
pub(crate) fn remove_field(value: &mut Value, path: &[Step]) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    match (first, value) {
        (Step::Field(name), Value::Object(map)) => {
            if rest.is_empty() {
                map.remove(name);
            } else if let Some(child) = map.get_mut(name) {
                remove_field(child, rest);
                let emptied = match child {
                    Value::Object(map) => map.is_empty(),
                    Value::Array(items) => items.is_empty(),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
                };
                if emptied {
                    map.remove(name);
                }
            }
        }
        (Step::Key(key), Value::Array(items)) => {
            let at = items.iter().position(|item| is_item(item, key));
            match at {
                Some(at) if rest.is_empty() => {
                    items.remove(at);
                }
                Some(at) => remove_field(&mut items[at], rest),
                None => {}
            }
        }
        (Step::Element(element), Value::Array(items)) => items.retain(|item| !is_element(item, element)),
        (Step::Field(_) | Step::Key(_) | Step::Element(_), _) => {}
    }
}

fn is_element(item: &Value, element: &str) -> bool {
    serde_json::from_str::<Value>(element).is_ok_and(|wanted| wanted == *item)
}

fn is_item(item: &Value, key: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(key)
        .is_ok_and(|identity| identity.iter().all(|(name, value)| item[name.as_str()] == *value))
}

/// One entry of `managedFields`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Manager {
    /// Who.
    pub name: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// The subresource written through, empty for the object itself.
    pub subresource: String,
    /// Version the fields were written in.
    pub api_version: String,
    /// When the set last changed.
    pub time: String,
    /// The owned fields.
    pub fields: FieldSet,
}

impl Manager {
    /// Whether two entries stand for the same writer.
    pub fn same_as(&self, name: &str, operation: &str, subresource: &str) -> bool {
        self.name == name && self.operation == operation && self.subresource == subresource
    }

    /// The manager the way conflict messages name it.
    pub fn describe(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == "Update" {
            text.push_str(&format!(" using {} at {}", self.api_version, self.time));
        }
        text
    }
}

/// Reads `metadata.managedFields`.
pub(crate) fn managers_of(object: &Value) -> Vec<Manager> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            let mut fields = FieldSet::new();
            read_fields(&entry["fieldsV1"], &mut Vec::new(), &mut fields);
            Manager {
                name: text(entry, "manager"),
                operation: text(entry, "operation"),
                subresource: text(entry, "subresource"),
                api_version: text(entry, "apiVersion"),
                time: text(entry, "time"),
                fields,
            }
        })
        .collect()
}

/// The value of `metadata.managedFields`; managers without fields are left out.
pub(crate) fn to_managed_fields(managers: &[Manager]) -> Value {
    let entries = managers
        .iter()
        .filter(|manager| !manager.fields.is_empty())
        .map(|manager| {
            let mut entry = json!({
                "manager": manager.name,
                "operation": manager.operation,
                "apiVersion": manager.api_version,
                "time": manager.time,
                "fieldsType": "FieldsV1",
                "fieldsV1": write_fields(&manager.fields),
            });
            if !manager.subresource.is_empty() {
                entry["subresource"] = Value::from(manager.subresource.as_str());
            }
            entry
        });
    Value::Array(entries.collect())
}

fn read_fields(node: &Value, path: &mut Path, fields: &mut FieldSet) {
    let Some(children) = node.as_object() else { return };
    if children.is_empty() && !path.is_empty() {
        fields.insert(path.clone());
    }
    for (label, child) in children {
        let step = match label.split_once(':') {
            Some(("f", name)) => Step::Field(name.to_owned()),
            Some(("k", key)) => Step::Key(key.to_owned()),
            Some(("v", element)) => Step::Element(element.to_owned()),
            _ => {
                if label == "." && !path.is_empty() {
                    fields.insert(path.clone());
                }
                continue;
            }
        };
        path.push(step);
        read_fields(child, path, fields);
        path.pop();
    }
}

fn write_fields(fields: &FieldSet) -> Value {
    let mut root = Map::new();
    for path in fields {
        let mut node = &mut root;
        for step in path {
            let label = match step {
                Step::Field(name) => format!("f:{name}"),
                Step::Key(key) => format!("k:{key}"),
                Step::Element(element) => format!("v:{element}"),
            };
            node = crate::object::as_map(node.entry(label).or_insert(Value::Null));
        }
        // A path that others go through is marked, as an item of a map-like list is; a leaf stays empty.
        let is_passed_through = fields
            .range(path.clone()..)
            .nth(1)
            .is_some_and(|next| next.starts_with(path));
        if is_passed_through {
            node.insert(".".to_owned(), json!({}));
        }
    }
    Value::Object(root)
}

/// Records what a write other than apply changed: the writer owns what it added or modified, and whoever
/// owned a modified or removed field before no longer does.
pub(crate) fn track_update(
    live: Option<&Value>,
    written: &Value,
    writer: (&str, &str),
    def: &ResourceDef,
    shapes: &Shapes,
    time: &str,
) -> Value {
    let (name, subresource) = writer;
    let nothing = Value::Null;
    let before = leaves(live.unwrap_or(&nothing), shapes);
    let after = leaves(written, shapes);
    let touched: FieldSet = after
        .iter()
        .filter(|(path, value)| before.get(*path) != Some(*value))
        .map(|(path, _)| path.clone())
        .collect();
    let mut managers = managers_of(live.unwrap_or(&nothing));
    for manager in &mut managers {
        let own = manager.same_as(name, "Update", subresource);
        manager
            .fields
            .retain(|path| after.contains_key(path) && (own || !touched.contains(path)));
    }
    if !touched.is_empty() {
        match managers
            .iter_mut()
            .find(|manager| manager.same_as(name, "Update", subresource))
        {
            Some(manager) => {
                manager.fields.extend(touched);
                manager.time = time.to_owned();
            }
            None => managers.push(Manager {
                name: name.to_owned(),
                operation: "Update".to_owned(),
                subresource: subresource.to_owned(),
                api_version: def.api_version(),
                time: time.to_owned(),
                fields: touched,
            }),
        }
    }
    to_managed_fields(&managers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::CONFIG_MAPS;

    #[test]
    fn managed_fields_survive_a_round_trip() {
        let object = json!({
            "metadata": {
                "name": "web", "labels": {"a.b/c": "1"}, "finalizers": ["x/y"],
                "ownerReferences": [{"uid": "u1", "name": "owner"}],
            },
            "spec": {"running": true, "template": {"spec": {"networks": [{"name": "default"}]}}},
        });
        let fields: FieldSet = leaves(&object, &Shapes::default()).into_keys().collect();
        let manager = Manager {
            name: "me".to_owned(),
            operation: "Apply".to_owned(),
            subresource: String::new(),
            api_version: "kubevirt.io/v1".to_owned(),
            time: "2024-01-01T00:00:00Z".to_owned(),
            fields: fields.clone(),
        };
        let written = json!({"metadata": {"managedFields": to_managed_fields(std::slice::from_ref(&manager))}});
        let v1 = &written["metadata"]["managedFields"][0]["fieldsV1"];
        assert_eq!(
            v1["f:spec"]["f:template"]["f:spec"]["f:networks"],
            json!({}),
            "KubeVirt's lists are atomic"
        );
        assert_eq!(
            v1["f:metadata"]["f:ownerReferences"]["k:{\"uid\":\"u1\"}"]["."],
            json!({})
        );
        assert_eq!(v1["f:metadata"]["f:finalizers"]["v:\"x/y\""], json!({}));
        assert_eq!(v1["f:metadata"]["f:labels"]["f:a.b/c"], json!({}));
        assert_eq!(managers_of(&written), [manager]);
        assert_eq!(managers_of(&written)[0].fields, fields);
    }

    #[test]
    fn a_plain_update_takes_over_what_it_changes() {
        let live = json!({"spec": {"a": 1, "b": 2}});
        let shapes = Shapes::default();
        let fields = track_update(None, &live, ("first", ""), &CONFIG_MAPS, &shapes, "t1");
        let live = json!({"metadata": {"managedFields": fields}, "spec": {"a": 1, "b": 2}});
        let fields = track_update(
            Some(&live),
            &json!({"spec": {"a": 9, "b": 2}}),
            ("second", ""),
            &CONFIG_MAPS,
            &shapes,
            "t2",
        );
        assert_eq!(fields[0]["fieldsV1"], json!({"f:spec": {"f:b": {}}}));
        assert_eq!(fields[1]["manager"], "second");
        assert_eq!(fields[1]["fieldsV1"], json!({"f:spec": {"f:a": {}}}));
    }

    #[test]
    fn removing_the_last_field_removes_its_map() {
        let mut object = json!({"metadata": {"name": "a", "labels": {"x": "1"}}});
        let path = ["metadata", "labels", "x"].map(|step| Step::Field(step.to_owned()));
        remove_field(&mut object, &path);
        assert_eq!(object, json!({"metadata": {"name": "a"}}));
    }
}
