//! Keys with dots: other ways to write an image source, which become the nested form before anything is read.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::reader::{child, violation};
use crate::problem::Problem;

/// Other ways to name the image source at the top of a spec; `source` holds what `image_source` may hold.
pub(super) const TOP_LEVEL: [&str; 4] = ["source", "image", "pvc_name", "pvc_namespace"];

/// The objects of which parts may be written as dotted keys.
const DOTTED: [&str; 2] = ["image_source", "source"];
/// No part of an image source lies deeper than `image_source.data_volume.url`.
const MAX_PARTS: usize = 3;

/// The spec with `image_source.image` and the like as nested objects. Paths stay what they were: the parts of a dotted
/// key are joined by dots again.
///
/// # Errors
/// TEMPLATE_SPEC_VIOLATION at a dotted key that contradicts another one.
pub(super) fn undotted<'a>(path: &str, spec: &'a Value) -> Result<Cow<'a, Value>, Problem> {
    let Some(map) = spec.as_object().filter(|map| map.keys().any(|key| is_dotted(key))) else {
        return Ok(Cow::Borrowed(spec));
    };
    let (dotted, plain): (Vec<_>, Vec<_>) = map.iter().partition(|(key, _)| is_dotted(key));
    let mut nested: Map<String, Value> = plain
        .into_iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for (key, value) in dotted {
        let parts: Vec<&str> = key.splitn(MAX_PARTS, '.').collect();
        if !put(&mut nested, &parts, value) {
            let hint = "says again what another key says: keep one of them";
            return Err(violation(&child(path, key), hint));
        }
    }
    Ok(Cow::Owned(Value::Object(nested)))
}

fn is_dotted(key: &str) -> bool {
    let mut parts = key.split('.');
    parts
        .next()
        .is_some_and(|first| DOTTED.contains(&first) && first != key)
        && parts.all(|part| !part.is_empty())
}

/// Puts a value where the parts lead; false when something is there already.
fn put(into: &mut Map<String, Value>, parts: &[&str], value: &Value) -> bool {
    let Some((first, rest)) = parts.split_first() else {
        return false;
    };
    let slot = into.entry(*first).or_insert(Value::Null);
    if rest.is_empty() {
        let free = slot.is_null();
        *slot = value.clone();
        return free;
    }
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().is_some_and(|inner| put(inner, rest, value))
}
