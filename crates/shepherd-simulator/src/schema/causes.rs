//! What a validator finds, in the words of the API server.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::LocationSegment;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use crate::status::Cause;

/// Everything wrong with an object.
pub(super) fn of(validator: &Validator, object: &Value) -> Vec<Cause> {
    validator
        .iter_errors(object)
        .map(|error| cause(&error, object))
        .collect()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what the API server has no words of its own for is a failed schema"
)]
fn cause(error: &ValidationError<'_>, object: &Value) -> Cause {
    let at = field_path(error, object);
    let value: &Value = error.instance();
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            Cause::required(if at.is_empty() {
                name.to_owned()
            } else {
                format!("{at}.{name}")
            })
        }
        ValidationErrorKind::Type { kind } => {
            let found = type_of(value);
            let wanted = wanted_type(kind);
            finding(
                "FieldValueTypeInvalid",
                at.clone(),
                format!("Invalid value: {found:?}: {at} in body must be of type {wanted}: {found:?}"),
            )
        }
        ValidationErrorKind::Enum { options } => {
            let allowed: Vec<String> = options
                .as_array()
                .into_iter()
                .flatten()
                .filter(|option| !option.is_null())
                .map(Value::to_string)
                .collect();
            let message = format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
            finding("FieldValueNotSupported", at, message)
        }
        ValidationErrorKind::MaxLength { limit } => {
            let message = format!("Too long: may not be more than {limit} bytes");
            finding("FieldValueTooLong", at, message)
        }
        ValidationErrorKind::MaxItems { limit } => {
            let count = value.as_array().map_or(0, Vec::len);
            let message = format!("Too many: {count}: must have at most {limit} items");
            finding("FieldValueTooMany", at, message)
        }
        kind => {
            let why = rule(kind);
            Cause::invalid(at.clone(), value, &format!("{at} in body {why}"))
        }
    }
}

fn finding(reason: &'static str, field: String, message: String) -> Cause {
    Cause { reason, message, field }
}

/// How the value breaks its rule, for rules whose messages are all built alike.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what the API server has no words of its own for is a failed schema"
)]
fn rule(kind: &ValidationErrorKind) -> String {
    match kind {
        ValidationErrorKind::Pattern { pattern } => format!("should match '{pattern}'"),
        ValidationErrorKind::Minimum { limit } => format!("should be greater than or equal to {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("should be less than or equal to {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("should be greater than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("should be less than {limit}"),
        ValidationErrorKind::MinLength { limit } => format!("should be at least {limit} chars long"),
        ValidationErrorKind::MinItems { limit } => format!("should have at least {limit} items"),
        ValidationErrorKind::MinProperties { limit } => format!("should have at least {limit} properties"),
        ValidationErrorKind::MaxProperties { limit } => format!("should have at most {limit} properties"),
        ValidationErrorKind::Format { format } => format!("must be of type {format}"),
        ValidationErrorKind::AnyOf { .. } => "must validate at least one schema (anyOf)".to_owned(),
        ValidationErrorKind::OneOfNotValid { .. } => {
            "must validate one and only one schema (oneOf). Found none valid".to_owned()
        }
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            "must validate one and only one schema (oneOf). Found 2 valid alternatives".to_owned()
        }
        ValidationErrorKind::Not { .. } => "must not validate the schema (not)".to_owned(),
        other => format!("fails {}", other.keyword()),
    }
}

/// `spec.template.spec.volumes[0].name`: indexes only where the object has a list.
fn field_path(error: &ValidationError<'_>, object: &Value) -> String {
    let mut path = String::new();
    let mut value = object;
    for segment in error.instance_path().segments() {
        let (key, index) = match &segment {
            LocationSegment::Property(name) => (name.to_string(), None),
            LocationSegment::Index(index) => (index.to_string(), Some(*index)),
        };
        match (value, index) {
            (Value::Array(items), Some(index)) => {
                path.push_str(&format!("[{index}]"));
                value = items.get(index).unwrap_or(&Value::Null);
            }
            _ => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&key);
                value = &value[key.as_str()];
            }
        }
    }
    path
}

fn wanted_type(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(only) => only.to_string(),
        TypeKind::Multiple(several) => {
            let names = several.into_iter().map(|kind| kind.to_string());
            let names: Vec<String> = names.filter(|name| name != "null").collect();
            names.join(",")
        }
    }
}

fn type_of(value: &Value) -> &'static str {
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
