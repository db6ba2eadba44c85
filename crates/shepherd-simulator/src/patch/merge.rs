//! JSON merge patch (RFC 7386): objects merge, `null` removes, everything else replaces.

use serde_json::Value;

use crate::object::as_map;

/// Applies `patch` to `target`.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    let target = as_map(target);
    for (key, change) in fields {
        if change.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merges_removes_and_replaces() {
        let mut target = json!({"a": {"b": 1, "c": 2}, "list": [1, 2], "gone": true});
        merge(
            &mut target,
            &json!({"a": {"b": 3}, "list": [9], "gone": null, "new": {"x": {"y": null}}}),
        );
        assert_eq!(target, json!({"a": {"b": 3, "c": 2}, "list": [9], "new": {"x": {}}}));
    }
}
