//! JSON patch (RFC 6902): a list of operations on JSON pointers.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Operation {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Value },
}

/// Why a patch could not be applied.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatchError {
    /// The document is no list of operations.
    #[error("{0}")]
    Malformed(String),
    /// A path leads nowhere or a test failed.
    #[error("the server rejected our request due to an error in our request: {0}")]
    Rejected(String),
}

/// Applies all operations, or none.
pub(crate) fn apply(target: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations: Vec<Operation> =
        Deserialize::deserialize(patch).map_err(|error: serde_json::Error| PatchError::Malformed(error.to_string()))?;
    let mut result = target.clone();
    for operation in operations {
        run(&mut result, operation)?;
    }
    Ok(result)
}

fn run(document: &mut Value, operation: Operation) -> Result<(), PatchError> {
    match operation {
        Operation::Add { path, value } => add(document, &path, value),
        Operation::Remove { path } => remove(document, &path).map(drop),
        Operation::Replace { path, value } => {
            let slot = document.pointer_mut(&path).ok_or_else(|| missing("replace", &path))?;
            *slot = value;
            Ok(())
        }
        Operation::Move { from, path } => {
            let value = remove(document, &from)?;
            add(document, &path, value)
        }
        Operation::Copy { from, path } => {
            let value = document.pointer(&from).cloned().ok_or_else(|| missing("copy", &from))?;
            add(document, &path, value)
        }
        Operation::Test { path, value } => match document.pointer(&path) {
            Some(found) if *found == value => Ok(()),
            _ => Err(PatchError::Rejected(format!("testing value {path} failed"))),
        },
    }
}

fn missing(operation: &str, path: &str) -> PatchError {
    PatchError::Rejected(format!(
        "{operation} operation does not apply: doc is missing path: {path}"
    ))
}

/// The pointer of the parent and the unescaped last step.
fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let (parent, last) = split(path).ok_or_else(|| missing("add", path))?;
    match document.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.insert(last, value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            let at = if last == "-" {
                items.len()
            } else {
                last.parse().map_err(|_| missing("add", path))?
            };
            if at > items.len() {
                return Err(missing("add", path));
            }
            items.insert(at, value);
            Ok(())
        }
        _ => Err(missing("add", path)),
    }
}

fn remove(document: &mut Value, path: &str) -> Result<Value, PatchError> {
    let (parent, last) = split(path).ok_or_else(|| missing("remove", path))?;
    let removed = match document.pointer_mut(parent) {
        Some(Value::Object(map)) => map.remove(&last),
        Some(Value::Array(items)) => match last.parse::<usize>() {
            Ok(at) if at < items.len() => Some(items.remove(at)),
            _ => None,
        },
        _ => None,
    };
    removed.ok_or_else(|| missing("remove", path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_run_in_order() {
        let patch = json!([
            {"op": "test", "path": "/a/0", "value": 1},
            {"op": "add", "path": "/a/-", "value": 3},
            {"op": "remove", "path": "/a/0"},
            {"op": "copy", "from": "/a", "path": "/x~1y"},
            {"op": "move", "from": "/b", "path": "/c"},
            {"op": "replace", "path": "/c", "value": false},
        ]);
        let result = apply(&json!({"a": [1, 2], "b": true}), &patch).unwrap();
        assert_eq!(result, json!({"a": [2, 3], "x/y": [2, 3], "c": false}));
    }

    #[test]
    fn a_failed_test_rejects_the_patch() {
        let patch = json!([{"op": "test", "path": "/a", "value": 2}]);
        assert!(matches!(apply(&json!({"a": 1}), &patch), Err(PatchError::Rejected(_))));
        assert!(matches!(
            apply(&json!({"a": 1}), &json!({})),
            Err(PatchError::Malformed(_))
        ));
    }
}
