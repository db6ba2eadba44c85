//! Which fields of a machine a form shows for a template, and within which bounds they may be set.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::prohibited;
use super::reader::{Node, Object};
use crate::catalog::overrides::{Segment, SpecPath};
use crate::problem::Problem;

/// Most entries of a list of fields.
const MAX_FIELDS: usize = 64;
/// Most options of a field.
const MAX_OPTIONS: usize = 64;
/// Most characters of a value.
const MAX_TEXT: usize = 1024;
/// What a field may say.
const KEYS: [&str; 8] = [
    "path", "visible", "editable", "required", "default", "min", "max", "options",
];

/// One entry of `quick_fields` or `advanced_fields`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldRule {
    /// Dotted path below `spec` of a VirtualMachine in its canonical spelling, unique in its list.
    pub path: String,
    /// Shown at all. Default true.
    #[serde(default = "yes")]
    pub visible: bool,
    /// May be changed. Default true.
    #[serde(default = "yes")]
    pub editable: bool,
    /// Must have a value. Default false.
    #[serde(default)]
    pub required: bool,
    /// What it is when nobody sets it: a string, a number or a boolean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Smallest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// Largest number, not below `min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
    /// The only values it may have; none means any. All of one type and within the bounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Value>,
}

fn yes() -> bool {
    true
}

impl FieldRule {
    /// Parses a list of fields; paths of violations begin with the index of the entry.
    ///
    /// # Errors
    /// TEMPLATE_SPEC_VIOLATION with the path and a hint.
    pub fn parse_list(value: &Value) -> Result<Vec<Self>, Problem> {
        Self::parse_named_list("", value)
    }

    /// Parses a list of fields; paths of violations begin with the name of the list, for example `quick_fields`.
    ///
    /// # Errors
    /// TEMPLATE_SPEC_VIOLATION with the path and a hint.
    pub fn parse_named_list(name: &str, value: &Value) -> Result<Vec<Self>, Problem> {
        prohibited::check(name, value)?;
        let mut rules: Vec<Self> = Vec::new();
        for entry in Node::new(name, value).entries(MAX_FIELDS)? {
            let object = entry.object(&KEYS)?;
            let rule = read(&object)?;
            if rules.iter().any(|other| other.path == rule.path) {
                return Err(object
                    .required("path")?
                    .refused("is the path of another entry: keep one of them"));
            }
            rules.push(rule);
        }
        Ok(rules)
    }
}

fn read(object: &Object<'_>) -> Result<FieldRule, Problem> {
    let flag = |key: &str, default: bool| object.optional(key).map_or(Ok(default), |node| node.flag());
    let rule = FieldRule {
        path: field_path(&object.required("path")?)?,
        visible: flag("visible", true)?,
        editable: flag("editable", true)?,
        required: flag("required", false)?,
        default: None,
        min: bound(object, "min")?,
        max: bound(object, "max")?,
        options: Vec::new(),
    };
    if let (Some(min), Some(max), Some(node)) = (&rule.min, &rule.max, object.optional("max"))
        && compared(max, min) == Ordering::Less
    {
        return Err(node.refused("must not be below min"));
    }
    let options = options(object, &rule)?;
    let rule = FieldRule { options, ..rule };
    let default = match object.optional("default") {
        Some(node) => Some(default_value(&node, &rule)?),
        None => None,
    };
    if rule.required && default.is_none() && !(rule.visible && rule.editable) {
        return Err(object.refused("is required and nobody can set it: add a default, or make it visible and editable"));
    }
    Ok(FieldRule { default, ..rule })
}

fn bound(object: &Object<'_>, key: &str) -> Result<Option<Number>, Problem> {
    let Some(node) = object.optional(key) else {
        return Ok(None);
    };
    match node.value().as_number() {
        Some(number) => Ok(Some(number.clone())),
        None => Err(node.refused("must be a number")),
    }
}

fn options(object: &Object<'_>, rule: &FieldRule) -> Result<Vec<Value>, Problem> {
    let mut options: Vec<Value> = Vec::new();
    let Some(node) = object.optional("options") else {
        return Ok(options);
    };
    for entry in node.entries(MAX_OPTIONS)? {
        let value = scalar(&entry, rule)?;
        if options.first().is_some_and(|first| !same_type(first, &value)) {
            return Err(entry.refused("must be of the same type as the first option"));
        }
        if options.contains(&value) {
            return Err(entry.refused("is there already: remove it"));
        }
        options.push(value);
    }
    Ok(options)
}

fn default_value(node: &Node<'_>, rule: &FieldRule) -> Result<Value, Problem> {
    let value = scalar(node, rule)?;
    if rule.options.is_empty() || rule.options.contains(&value) {
        Ok(value)
    } else {
        Err(node.refused("must be one of the options"))
    }
}

/// A string, a number or a boolean; a number within the bounds of the field, and nothing else when it has bounds.
fn scalar(node: &Node<'_>, rule: &FieldRule) -> Result<Value, Problem> {
    match node.value() {
        Value::Number(number) => {
            let below = rule
                .min
                .as_ref()
                .is_some_and(|min| compared(number, min) == Ordering::Less);
            let above = rule
                .max
                .as_ref()
                .is_some_and(|max| compared(number, max) == Ordering::Greater);
            if below || above {
                return Err(node.refused("must be within min and max"));
            }
        }
        Value::String(_) | Value::Bool(_) if rule.min.is_some() || rule.max.is_some() => {
            return Err(node.refused("must be a number, because the field has bounds"));
        }
        Value::String(_) => {
            node.line(MAX_TEXT)?;
        }
        Value::Bool(_) => {}
        Value::Null | Value::Array(_) | Value::Object(_) => {
            return Err(node.refused("must be a string, a number or a boolean"));
        }
    }
    Ok(node.value().clone())
}

fn same_type(one: &Value, other: &Value) -> bool {
    (one.is_string() && other.is_string())
        || (one.is_number() && other.is_number())
        || (one.is_boolean() && other.is_boolean())
}

/// Whole numbers exactly, others as far as a double goes; JSON has no number that is not comparable.
fn compared(one: &Number, other: &Number) -> Ordering {
    let whole = |number: &Number| number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    if let (Some(one), Some(other)) = (whole(one), whole(other)) {
        return one.cmp(&other);
    }
    let double = |number: &Number| number.as_f64().unwrap_or_default();
    double(one).partial_cmp(&double(other)).unwrap_or(Ordering::Equal)
}

/// The path in its canonical spelling, so that two spellings of one path are found to be equal.
fn field_path(node: &Node<'_>) -> Result<String, Problem> {
    let grammar = "must be a dotted path below spec, such as spec.template.spec.domain.cpu.cores";
    let path = SpecPath::parse(node.line(SpecPath::MAX_BYTES)?).map_err(|error| {
        // What the parser says is about the text alone; together with an example it can be acted on.
        node.refused(&format!("{grammar}: {error}"))
    })?;
    match path.segments() {
        [Segment::Key(first), _, ..] if first == "spec" => Ok(path.to_string()),
        _ => Err(node.refused(grammar)),
    }
}
