//! Which values of a machine's document look like secrets.

use serde_json::Value;

use crate::redaction::{REDACTED, is_secret_key, redact_text};

/// Keys of what says where something is, of which only the leaves can be secret.
const CONTAINERS: [&str; 5] = [
    "cloudInitConfigDrive",
    "cloudInitNoCloud",
    "networkDataSecretRef",
    "secret",
    "secretRef",
];
/// Keys whose text is the name of a Secret.
const NAMES: [&str; 2] = ["secretName", "secretRef"];
/// Keys of guest data that redaction does not know, because nothing else has them.
const GUEST_DATA: [&str; 2] = ["networkData", "networkDataBase64"];

/// The document with `[REDACTED]` in the place of every value that looks like a secret.
pub fn mask(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, inner)| {
                    if is_secret(key, inner) {
                        (key.clone(), Value::from(REDACTED))
                    } else {
                        (key.clone(), mask(inner))
                    }
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(mask).collect()),
        Value::String(text) => Value::String(redact_text(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Whether the value under a key is a secret as a whole.
pub(super) fn is_secret(key: &str, value: &Value) -> bool {
    let is_container = CONTAINERS.contains(&key) && value.is_object();
    let is_name = NAMES.contains(&key) && value.is_string();
    !value.is_null() && !is_container && !is_name && (GUEST_DATA.contains(&key) || is_secret_key(key))
}
