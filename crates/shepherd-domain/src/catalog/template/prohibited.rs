//! What a template may not say at any depth: hardware, identity, power and variables.
//!
//! The allow-list would refuse most of it anyway. This list exists for its hints, and so that a key of the allow-list
//! can never become one of these by mistake. It is reviewed with every minor version of KubeVirt.

use serde_json::Value;

use super::reader::{child, squashed, violation};
use crate::problem::Problem;

/// Nothing that a template may say is nested deeper than this.
const MAX_DEPTH: usize = 16;

const HARDWARE: &str =
    "hardware belongs to the instance size: remove it here and set it in the size or in its spec_overrides";
const POWER: &str = "the platform starts and stops machines: remove it";
const IDENTITY: &str = "names and labels are given by the platform: remove it";
const VARIABLE: &str = "templates have no variables: write the value itself instead of {{ }}";
const TOO_DEEP: &str = "is nested too deep for anything a template may say: remove it";

/// Keys without case and separators, and why they are prohibited.
const KEYS: [(&str, &str); 13] = [
    ("cpu", HARDWARE),
    ("memory", HARDWARE),
    ("resources", HARDWARE),
    ("domain", HARDWARE),
    ("requires", HARDWARE),
    ("requiredfeatures", HARDWARE),
    ("requiredhardware", HARDWARE),
    ("dedicatedcpu", HARDWARE),
    ("hugepagessize", HARDWARE),
    ("running", POWER),
    ("runstrategy", POWER),
    ("metadata", IDENTITY),
    ("labels", IDENTITY),
];

/// Looks for prohibited keys and template delimiters, whatever their nesting or spelling.
///
/// # Errors
/// TEMPLATE_SPEC_VIOLATION at the first one.
pub(super) fn check(path: &str, value: &Value) -> Result<(), Problem> {
    walk(path, value, MAX_DEPTH)
}

fn walk(path: &str, value: &Value, depth: usize) -> Result<(), Problem> {
    match value {
        Value::Object(_) | Value::Array(_) if depth == 0 => Err(violation(path, TOO_DEEP)),
        Value::Object(map) => map.iter().try_for_each(|(key, inner)| {
            let path = child(path, key);
            match objection(key) {
                Some(hint) => Err(violation(&path, hint)),
                None => walk(&path, inner, depth - 1),
            }
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, inner)| walk(&format!("{path}[{index}]"), inner, depth - 1)),
        Value::String(text) if text.contains("{{") => Err(violation(path, VARIABLE)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Why a key is prohibited, if it is. A dotted key is looked at part by part.
fn objection(key: &str) -> Option<&'static str> {
    if key.contains("{{") {
        return Some(VARIABLE);
    }
    key.split(['.', '/', '[', ']']).find_map(|part| {
        let part = squashed(part);
        if part.starts_with("requires") {
            return Some(HARDWARE);
        }
        KEYS.iter().find(|(name, _)| *name == part).map(|(_, hint)| *hint)
    })
}
