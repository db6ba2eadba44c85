//! What the API server and its webhooks check before an object is stored. Pure functions over JSON.
//!
//! - this file: rules every kind shares (names, labels, lists of metadata)
//! - [`machine`]: the VirtualMachine schema as far as it is built in, and KubeVirt's webhook
//! - [`admission`]: KubeVirt's webhooks that look at other objects too
//!
//! A schema given by a definition takes the place of the built-in one; the webhooks stay.

pub(crate) mod admission;
pub(crate) mod machine;

use serde_json::Value;

use crate::object;
use crate::resources::{NAMESPACES, ResourceDef, VIRTUAL_MACHINES};
use crate::schema::Schemas;
use crate::status::{ApiError, Cause};
use crate::store::Store;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
    used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Takes out fields the schema does not know and returns their paths.
pub(crate) fn prune(schemas: &Schemas, def: &ResourceDef, object: &mut Value) -> Vec<String> {
    match schemas.get(def) {
        Some(schema) => schema.prune(object),
        None if *def == VIRTUAL_MACHINES => machine::prune(object),
        None => Vec::new(),
    }
}

/// Checks an object that is about to be stored.
pub(crate) fn validate(schemas: &Schemas, def: &ResourceDef, object: &Value) -> Result<(), ApiError> {
    let name = object::name(object);
    let mut causes = metadata(def, object);
    match schemas.get(def) {
        Some(schema) => causes.extend(schema.check(object)),
        None if *def == VIRTUAL_MACHINES => causes.extend(machine::schema(object)),
        None => {}
    }
    let has_schema = schemas.get(def).is_some();
    if !has_schema && !object["status"].is_null() && !object["status"].is_object() {
        causes.push(Cause::invalid(
            "status",
            &object["status"],
            "status in body must be of type object",
        ));
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(def, name, &causes))
    }
}

/// Asks the webhooks about a new object, or about a new state of `live`.
pub(crate) fn admit(store: &Store, def: &ResourceDef, live: Option<&Value>, object: &Value) -> Result<(), ApiError> {
    if *def == VIRTUAL_MACHINES {
        let causes = machine::webhook(object);
        if !causes.is_empty() {
            return Err(ApiError::webhook(def, object::name(object), machine::WEBHOOK, &causes));
        }
    }
    admission::admit(store, def, live, object)
}

fn metadata(def: &ResourceDef, object: &Value) -> Vec<Cause> {
    let metadata = &object["metadata"];
    let mut causes = Vec::new();
    match metadata["name"].as_str() {
        None | Some("") => causes.push(Cause {
            reason: "FieldValueRequired",
            message: "Required value: name or generateName is required".to_owned(),
            field: "metadata.name".to_owned(),
        }),
        Some(name) => {
            let (valid, why) = if *def == NAMESPACES {
                (name.len() <= 63 && is_label(name), LABEL)
            } else {
                (name.len() <= 253 && name.split('.').all(is_label), SUBDOMAIN)
            };
            if !valid {
                causes.push(Cause::invalid("metadata.name", &metadata["name"], why));
            }
        }
    }
    for section in ["labels", "annotations"] {
        causes.extend(string_map(section, &metadata[section]));
    }
    for section in ["finalizers", "ownerReferences"] {
        let list = &metadata[section];
        if !list.is_null() && !list.is_array() {
            causes.push(Cause::invalid(
                format!("metadata.{section}"),
                list,
                "must be of type array",
            ));
        }
    }
    causes
}

fn string_map(section: &str, map: &Value) -> Vec<Cause> {
    let field = format!("metadata.{section}");
    match map {
        Value::Null => Vec::new(),
        Value::Object(entries) => entries
            .values()
            .filter_map(|value| match value.as_str() {
                None => Some(Cause::invalid(field.as_str(), value, "must be of type string")),
                Some(text) if section == "labels" && !is_label_value(text) => {
                    Some(Cause::invalid(field.as_str(), value, LABEL_VALUE))
                }
                Some(_) => None,
            })
            .collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            vec![Cause::invalid(field, map, "must be of type object")]
        }
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_label_value(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && edge(text.chars().next())
        && edge(text.chars().last())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::SECRETS;

    #[test]
    fn names_and_labels_follow_rfc_1123() {
        let good = json!({"metadata": {"name": "a-1.b", "labels": {"x": "A_b.c"}}});
        assert!(validate(&Schemas::default(), &SECRETS, &good).is_ok());
        let bad = json!({"metadata": {"name": "Bad_Name", "labels": {"x": "-"}}});
        let error = validate(&Schemas::default(), &SECRETS, &bad).unwrap_err();
        assert_eq!(error.code, 422);
        let causes = error.to_status()["details"]["causes"].clone();
        assert_eq!(causes[0]["field"], "metadata.name");
        assert_eq!(causes[1]["field"], "metadata.labels");
    }
}
