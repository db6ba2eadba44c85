//! Schemas as JSON: definitions are read leniently, and what is written can be read again.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::SchemaError;
use super::node::{Kind, Node};

/// Deeper levels are left open. Real definitions have about twenty.
const MAX_DEPTH: usize = 64;
/// Most parts of a schema; real definitions have about a thousand.
const MAX_NODES: usize = 50_000;
/// Most characters of a description.
const MAX_DESCRIPTION: usize = 200;

/// Reads a schema. Keywords that are not known, or that do not say what they should, are ignored.
pub(super) fn read(schema: &Value) -> Result<Node, SchemaError> {
    Reader { left: MAX_NODES }.node(schema, 0)
}

struct Reader {
    left: usize,
}

impl Reader {
    fn node(&mut self, schema: &Value, depth: usize) -> Result<Node, SchemaError> {
        self.left = self.left.checked_sub(1).ok_or(SchemaError::TooLarge)?;
        if depth >= MAX_DEPTH {
            return Ok(Node::any());
        }
        let (kind, null_type) = type_of(schema);
        let kind = match kind {
            Some("object") => self.object(schema, depth)?,
            Some("array") => Kind::Array(Box::new(self.node(&schema["items"], depth + 1)?)),
            Some("string") => Kind::String(options(&schema["enum"])),
            Some("integer") => Kind::Integer,
            Some("number") => Kind::Number,
            Some("boolean") => Kind::Boolean,
            Some(_) => Kind::Any,
            None if is_int_or_string(schema) => Kind::IntOrString,
            // A definition may leave the type of an object to its properties.
            None if schema["properties"].is_object() => self.object(schema, depth)?,
            None => Kind::Any,
        };
        Ok(Node {
            kind,
            description: schema["description"].as_str().and_then(shorten),
            nullable: null_type || schema["nullable"] == true,
        })
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Result<Kind, SchemaError> {
        let mut properties = BTreeMap::new();
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            properties.insert(key.clone(), self.node(inner, depth + 1)?);
        }
        let additional = match &schema["additionalProperties"] {
            Value::Bool(true) => Some(Node::any()),
            inner @ Value::Object(_) => Some(self.node(inner, depth + 1)?),
            // A definition that says nothing prunes whatever it does not name.
            Value::Null | Value::Bool(false) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        };
        let additional = if schema["x-kubernetes-preserve-unknown-fields"] == true {
            Some(Node::any())
        } else {
            additional
        };
        Ok(Kind::Object {
            properties,
            additional: additional.map(Box::new),
        })
    }
}

/// The type a schema names, and whether it also names null.
fn type_of(schema: &Value) -> (Option<&str>, bool) {
    if schema["x-kubernetes-int-or-string"] == true {
        return (None, false);
    }
    let named: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let null = named.contains(&"null");
    let mut others = named.into_iter().filter(|name| *name != "null");
    match (others.next(), others.next()) {
        (Some(name), None) => (Some(name), null),
        // Of several types none is the one.
        (Some(_), Some(_)) => (Some("any"), null),
        (None, _) => (None, null),
    }
}

fn is_int_or_string(schema: &Value) -> bool {
    let either = |choices: &Vec<Value>| {
        let has = |name: &str| choices.iter().any(|choice| choice["type"] == name);
        choices.len() == 2 && has("integer") && has("string")
    };
    schema["x-kubernetes-int-or-string"] == true || schema["anyOf"].as_array().is_some_and(either)
}

fn options(values: &Value) -> Vec<String> {
    let texts = values.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// On one line, cut where it gets long.
fn shorten(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= MAX_DESCRIPTION {
        return (!line.is_empty()).then_some(line);
    }
    let mut cut: String = line.chars().take(MAX_DESCRIPTION - 1).collect();
    cut.push('…');
    Some(cut)
}

/// Writes a schema.
pub(super) fn write(node: &Node) -> Value {
    let mut schema = match &node.kind {
        Kind::Object { properties, additional } => object(properties, additional.as_deref()),
        Kind::Array(items) => entries(json!({"type": "array", "items": write(items)})),
        Kind::String(options) if options.is_empty() => typed("string"),
        Kind::String(options) => entries(json!({"type": "string", "enum": options})),
        Kind::Integer => typed("integer"),
        Kind::Number => typed("number"),
        Kind::Boolean => typed("boolean"),
        Kind::IntOrString => entries(json!({"anyOf": [{"type": "integer"}, {"type": "string"}]})),
        Kind::Any => Map::new(),
    };
    if let Some(description) = &node.description {
        schema.insert("description".to_owned(), Value::from(description.as_str()));
    }
    if node.nullable {
        schema.insert("nullable".to_owned(), Value::from(true));
    }
    Value::Object(schema)
}

fn object(properties: &BTreeMap<String, Node>, additional: Option<&Node>) -> Map<String, Value> {
    let mut schema = typed("object");
    if !properties.is_empty() {
        let properties = properties.iter().map(|(key, node)| (key.clone(), write(node)));
        schema.insert("properties".to_owned(), Value::Object(properties.collect()));
    }
    let additional = additional.map_or(Value::from(false), write);
    schema.insert("additionalProperties".to_owned(), additional);
    schema
}

fn typed(name: &str) -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), Value::from(name))])
}

fn entries(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}
