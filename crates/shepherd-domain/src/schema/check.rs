//! Walking a schema: by path, and beside a value.

use serde_json::Value;

use super::node::{Kind, Node};
use super::{SchemaFinding, VmSchema};
use crate::catalog::{Segment, SpecPath};

/// Nobody meant a name of more bytes, and comparing it would take its time.
const LONGEST_NAME: usize = 128;

/// What stands at a path.
pub(super) fn find<'a>(root: &'a Node, path: &SpecPath) -> Option<&'a Node> {
    path.segments().iter().try_fold(root, step)
}

/// One step down; `None` when the schema knows of nothing there.
fn step<'a>(node: &'a Node, segment: &Segment) -> Option<&'a Node> {
    match segment {
        Segment::Key(key) => value_of(node, key),
        Segment::Index(_) | Segment::Named(_) => entry_of(node),
    }
}

/// What a key holds.
fn value_of<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    match &node.kind {
        Kind::Any => Some(node),
        Kind::Object { properties, additional } => properties.get(key).or(additional.as_deref()),
        Kind::Array(_) | Kind::String(_) | Kind::Integer | Kind::Number | Kind::Boolean | Kind::IntOrString => None,
    }
}

/// What an entry of a list is.
fn entry_of(node: &Node) -> Option<&Node> {
    match &node.kind {
        Kind::Any => Some(node),
        Kind::Array(items) => Some(items),
        Kind::Object { .. } | Kind::String(_) | Kind::Integer | Kind::Number | Kind::Boolean | Kind::IntOrString => {
            None
        }
    }
}

/// Whether a value may stand at a path.
pub(super) fn value_at(root: &Node, path: &SpecPath, value: &Value) -> Result<(), SchemaFinding> {
    let Some(node) = find(root, path) else {
        return Err(SchemaFinding {
            path: path.to_string(),
            reason: "unknown path".to_owned(),
            suggestion: corrected(root, path),
        });
    };
    let mut findings = Findings {
        all: Vec::new(),
        most: 1,
    };
    findings.collect(node, &path.to_string(), value);
    findings.all.pop().map_or(Ok(()), Err)
}

/// What is wrong below `spec` of a machine.
pub(super) fn document(root: &Node, machine: &Value) -> Vec<SchemaFinding> {
    let mut findings = Findings {
        all: Vec::new(),
        most: VmSchema::MAX_FINDINGS,
    };
    if let Some(spec) = root.property("spec") {
        findings.collect(spec, "spec", &machine["spec"]);
    }
    findings.all
}

struct Findings {
    all: Vec<SchemaFinding>,
    most: usize,
}

impl Findings {
    fn push(&mut self, path: &str, reason: String, suggestion: Option<String>) {
        if self.all.len() < self.most {
            self.all.push(SchemaFinding {
                path: path.to_owned(),
                reason,
                suggestion,
            });
        }
    }

    /// Goes no deeper than the schema does, which has an end.
    fn collect(&mut self, node: &Node, path: &str, value: &Value) {
        if self.all.len() >= self.most || (node.nullable && value.is_null()) {
            return;
        }
        match (&node.kind, value) {
            (Kind::Any, _) => {}
            (Kind::Object { properties, .. }, Value::Object(entries)) => {
                for (key, inner) in entries {
                    match value_of(node, key) {
                        Some(known) => self.collect(known, &below(path, key), inner),
                        None => {
                            let near = nearest(key, properties.keys()).map(|near| below(path, near));
                            self.push(&below(path, key), "unknown path".to_owned(), near);
                        }
                    }
                }
            }
            (Kind::Array(items), Value::Array(entries)) => {
                for (index, inner) in entries.iter().enumerate() {
                    self.collect(items, &format!("{path}[{index}]"), inner);
                }
            }
            (Kind::String(options), Value::String(text)) => {
                if !options.is_empty() && !options.contains(text) {
                    self.push(path, format!("not one of {}", options.join(", ")), None);
                }
            }
            (Kind::Boolean, Value::Bool(_)) | (Kind::Number, Value::Number(_)) => {}
            (Kind::IntOrString, Value::String(_)) => {}
            (Kind::Integer | Kind::IntOrString, Value::Number(number)) if !number.is_f64() => {}
            (expected, found) => {
                let reason = format!("expected {}, found {}", expected.name(), type_name(found));
                self.push(path, reason, None);
            }
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The path with every unknown key replaced by the nearest one that is known there; what cannot be mended is left
/// off. `None` when nothing is near.
pub(super) fn corrected(root: &Node, path: &SpecPath) -> Option<String> {
    let (mut node, mut text, mut changed) = (root, String::new(), false);
    for segment in path.segments() {
        let mended = match step(node, segment) {
            Some(next) => Some((next, segment.clone())),
            None => mend(node, segment),
        };
        let Some((next, used)) = mended else {
            break;
        };
        changed |= used != *segment;
        append(&mut text, &used);
        node = next;
    }
    changed.then_some(text)
}

fn mend<'a>(node: &'a Node, segment: &Segment) -> Option<(&'a Node, Segment)> {
    let Segment::Key(key) = segment else {
        return None;
    };
    let Kind::Object { properties, .. } = &node.kind else {
        return None;
    };
    let near = nearest(key, properties.keys())?;
    Some((properties.get(near)?, Segment::Key(near.to_owned())))
}

fn append(text: &mut String, segment: &Segment) {
    let written = segment.to_string();
    if !text.is_empty() && !written.starts_with('[') {
        text.push('.');
    }
    text.push_str(&written);
}

fn below(path: &str, key: &str) -> String {
    let mut text = path.to_owned();
    append(&mut text, &Segment::Key(key.to_owned()));
    text
}

/// The name with the fewest typing errors, if at most a third of its letters are wrong.
fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    if wanted.len() > LONGEST_NAME {
        return None;
    }
    let wanted = wanted.to_lowercase();
    let distances = known.map(|name| {
        (
            strsim::damerau_levenshtein(&wanted, &name.to_lowercase()),
            name.as_str(),
        )
    });
    let near = distances.filter(|(distance, name)| *distance <= (name.chars().count() / 3).max(1));
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}
