//! The configuration reference of the book names exactly the keys that there are, with their defaults, whether a change
//! of the file takes effect while the process runs, and how long what lasts may last.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::durations::BOUNDS;
use super::{Config, keys};

const REFERENCE: &str = "../../docs/book/src/operator/configuration.md";

/// How the reference writes a default.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

fn flatten(prefix: &str, value: &Value, keys: &mut BTreeMap<String, String>) {
    let Value::Object(members) = value else {
        keys.insert(prefix.to_owned(), shown(value));
        return;
    };
    for (name, member) in members {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        flatten(&key, member, keys);
    }
}

/// What the reference says about a key.
struct Row {
    default: String,
    hot: bool,
    meaning: String,
}

/// The rows of the tables: a key in its first cell, its default in the second, in the third an `H` or nothing, its
/// meaning in the last.
fn documented(text: &str) -> BTreeMap<String, Row> {
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let key = cells.next()?.strip_suffix('`')?;
        let default = cells.next()?.trim_matches('`').to_owned();
        let hot = cells.next()? == "H";
        let meaning = cells.next()?.to_owned();
        Some((key.to_owned(), Row { default, hot, meaning }))
    });
    rows.collect()
}

#[test]
fn the_reference_says_what_there_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(REFERENCE);
    let documented = documented(&std::fs::read_to_string(path).unwrap());
    let mut known = BTreeMap::new();
    flatten("", &serde_json::to_value(Config::default()).unwrap(), &mut known);
    let mut differences = Vec::new();
    for (key, default) in &known {
        match documented.get(key) {
            None => differences.push(format!("{key} ({default}) is not in the reference")),
            Some(row) if row.default != *default => {
                differences.push(format!("{key} is {default} and not {}", row.default));
            }
            Some(row) if keys::find(key).is_some_and(|known| known.hot != row.hot) => {
                differences.push(format!("{key} is marked H where it should not be, or the reverse"));
            }
            Some(_) => {}
        }
    }
    for bounds in BOUNDS {
        let range = format!(", {}", bounds.range());
        let said = documented.get(bounds.key);
        if said.is_some_and(|row| !row.meaning.ends_with(&range)) {
            differences.push(format!("{} may be {}", bounds.key, bounds.range()));
        }
    }
    let unknown = documented.keys().filter(|key| !known.contains_key(*key));
    differences.extend(unknown.map(|key| format!("{key} does not exist")));
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}
