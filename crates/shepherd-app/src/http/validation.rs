//! Request bodies are validated against the very document that is served.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::{Map, Value, json};
use shepherd_domain::problem::{FieldCode, FieldError, Problem};

/// Where the document keeps its schemas.
const SCHEMAS: &str = "#/components/schemas/";

/// One validator per schema that a request body is described by.
pub(super) struct Validators(HashMap<String, Validator>);

impl Validators {
    pub(super) fn of(document: &Value) -> anyhow::Result<Self> {
        let empty = Map::new();
        let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
        let schemas = schemas.unwrap_or(&empty);
        let mut validators = HashMap::new();
        for name in bodies(document) {
            let schema =
                json!({"$ref": format!("{SCHEMAS}{name}"), "components": {"schemas": reachable(schemas, &name)}});
            let validator = jsonschema::draft202012::options()
                .should_validate_formats(true)
                .build(&schema)?;
            validators.insert(name, validator);
        }
        Ok(Self(validators))
    }

    /// Checks a body against a schema.
    ///
    /// # Errors
    /// INVALID_REQUEST_FIELD for the first unknown key; else VALIDATION_FAILED with all field errors at once.
    pub(super) fn check(&self, schema: &str, body: &Value) -> Result<(), Problem> {
        let Some(validator) = self.0.get(schema) else {
            return Ok(());
        };
        let mut fields: Vec<FieldError> = Vec::new();
        for error in validator.iter_errors(body) {
            collect(&error, &mut fields)?;
        }
        fields.dedup_by(|a, b| a.field == b.field);
        if fields.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(fields))
        }
    }
}

/// Adds what is wrong to the fields; an unknown key comes before all others.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "one kind of finding comes first, all others are collected"
)]
fn collect(error: &ValidationError<'_>, fields: &mut Vec<FieldError>) -> Result<(), Problem> {
    let path = field_path(error.instance_path().as_str());
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let name = unexpected.first().map(String::as_str).unwrap_or_default();
            return Err(Problem::unknown_field(join(&path, name)));
        }
        ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context } => {
            match meant(error, context) {
                Some(errors) => errors.iter().try_for_each(|error| collect(error, fields))?,
                None => fields.push(field_error(path, error.kind())),
            }
        }
        kind => fields.push(field_error(path, kind)),
    }
    Ok(())
}

/// What the one alternative says whose type is that of the value: of an object that may be null, what is wrong inside.
fn meant<'a, 'b>(
    whole: &ValidationError<'_>,
    alternatives: &'a [Vec<ValidationError<'b>>],
) -> Option<&'a [ValidationError<'b>]> {
    let is_of_another_type = |errors: &[ValidationError<'_>]| {
        errors.iter().any(|error| {
            matches!(error.kind(), ValidationErrorKind::Type { .. }) && error.instance_path() == whole.instance_path()
        })
    };
    let mut meant = alternatives.iter().filter(|errors| !is_of_another_type(errors));
    let first = meant.next()?;
    meant.next().is_none().then_some(first)
}

/// The names of the schemas of all request bodies.
fn bodies(document: &Value) -> BTreeSet<String> {
    let paths = document.get("paths").and_then(Value::as_object);
    let operations = paths
        .into_iter()
        .flatten()
        .filter_map(|(_, path)| path.as_object())
        .flatten();
    let contents = operations.filter_map(|(_, operation)| operation.pointer("/requestBody/content")?.as_object());
    let mut names = BTreeSet::new();
    for (_, media) in contents.flatten() {
        references(media, &mut names);
    }
    names
}

/// A schema and whatever it refers to. Each validator keeps a copy of what it was made of, so none is given more.
fn reachable<'a>(schemas: &'a Map<String, Value>, name: &str) -> BTreeMap<&'a str, &'a Value> {
    let mut found = BTreeMap::new();
    let mut wanted = BTreeSet::from([name.to_owned()]);
    while let Some(next) = wanted.pop_first() {
        if let Some((name, schema)) = schemas.get_key_value(&next)
            && found.insert(name.as_str(), schema).is_none()
        {
            references(schema, &mut wanted);
        }
    }
    found
}

/// Adds the names of the schemas that a value refers to.
fn references(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            let name = map
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|to| to.strip_prefix(SCHEMAS));
            names.extend(name.map(str::to_owned));
            map.values().for_each(|inner| references(inner, names));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what has no code of its own is a matter of form"
)]
fn field_error(path: String, kind: &ValidationErrorKind) -> FieldError {
    match kind {
        ValidationErrorKind::Required { property } => {
            FieldError::new(join(&path, property.as_str().unwrap_or_default()), FieldCode::Required)
        }
        ValidationErrorKind::MaxLength { limit } => {
            FieldError::new(path, FieldCode::TooLong).with("max_length", *limit)
        }
        ValidationErrorKind::MaxItems { limit } => FieldError::new(path, FieldCode::TooLong).with("max_items", *limit),
        ValidationErrorKind::MinLength { limit } | ValidationErrorKind::MinItems { limit } => FieldError::new(
            path,
            if *limit == 1 {
                FieldCode::Required
            } else {
                FieldCode::TooShort
            },
        ),
        ValidationErrorKind::Minimum { limit } => {
            FieldError::new(path, FieldCode::OutOfRange).with("min", limit.clone())
        }
        ValidationErrorKind::Maximum { limit } => {
            FieldError::new(path, FieldCode::OutOfRange).with("max", limit.clone())
        }
        ValidationErrorKind::Enum { options } => {
            FieldError::new(path, FieldCode::UnknownValue).with("allowed", (**options).clone())
        }
        ValidationErrorKind::Type {
            kind: TypeKind::Single(expected),
        } => FieldError::new(path, FieldCode::InvalidFormat).with("expected", expected.to_string()),
        _ => FieldError::new(path, FieldCode::InvalidFormat),
    }
}

/// `/items/3/vm_id` becomes `items[3].vm_id`.
fn field_path(pointer: &str) -> String {
    pointer.split('/').skip(1).fold(String::new(), |path, part| {
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.bytes().all(|b| b.is_ascii_digit()) {
            format!("{path}[{part}]")
        } else {
            join(&path, &part)
        }
    })
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
