//! What an approver may put in the place of what was asked for (requests.md §6).

use serde_json::{Map, Value, json};

use crate::problem::{ErrorCode, FieldCode, FieldError, Problem, Warning, WarningCode};
use crate::revision::{Change, diff};
use crate::ticket::RequestType;

/// How many fields an approver may leave out before that is worth a warning.
const MANY_REMOVED: usize = 5;
// Ceilings far above any machine that exists, as for sizes.
const MAX_CORES: i64 = 1_024;
const MAX_MEMORY_MB: i64 = 33_554_432;
const MAX_DISK_GB: i64 = 1_048_576;
const MAX_VERSION: i64 = 2_147_483_647;

/// The field a replacement is given in.
const FIELD: &str = "modified_spec";

/// The fields of a spec.
struct Fields {
    /// May not be left out.
    required: &'static [&'static str],
    /// Must be what they were.
    immutable: &'static [&'static str],
    /// Whole numbers from 1, and the greatest of each.
    numbers: &'static [(&'static str, i64)],
}

const CREATE: Fields = Fields {
    required: &["service_id", "namespace", "template_id", "instance_size_id"],
    immutable: &["service_id", "namespace"],
    numbers: &[
        ("template_version", MAX_VERSION),
        ("disk_gb", MAX_DISK_GB),
        ("cpu_cores", MAX_CORES),
        ("memory_mb", MAX_MEMORY_MB),
        ("cpu_request", MAX_CORES),
        ("memory_request_mb", MAX_MEMORY_MB),
    ],
};

const MODIFY: Fields = Fields {
    required: &["vm_id", "service_id", "namespace", "instance_size_id"],
    immutable: &["vm_id", "service_id", "namespace"],
    numbers: &[
        ("disk_gb", MAX_DISK_GB),
        ("cpu_cores", MAX_CORES),
        ("memory_mb", MAX_MEMORY_MB),
        ("cpu_request", MAX_CORES),
        ("memory_request_mb", MAX_MEMORY_MB),
    ],
};

/// A spec that may take the place of another one. Whether what it refers to exists is for others to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// The spec. A field that was given as null is left out.
    pub spec: Value,
    /// What it changes, by field.
    pub changes: Vec<Change>,
    /// SPEC_FIELDS_REMOVED{fields} when five fields or more are left out.
    pub warnings: Vec<Warning>,
}

/// What [`replace`] refuses, apart.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The request itself is malformed: INVALID_REQUEST_FIELD, VALIDATION_FAILED.
    Malformed(Problem),
    /// It may not take the original's place: REQUIRED_FIELD_REMOVED, IMMUTABLE_FIELD.
    Inadmissible(Problem),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(problem) | Refusal::Inadmissible(problem) => problem,
        }
    }
}

/// Whether the spec of a request can be replaced at all.
///
/// # Errors
/// MODIFIED_SPEC_NOT_SUPPORTED{request_type}.
pub fn check_replaceable(request: RequestType) -> Result<(), Problem> {
    fields_of(request).map(drop)
}

/// Checks a whole replacement of a spec. Nothing of the original shines through what it leaves out.
///
/// # Errors
/// In this order: MODIFIED_SPEC_NOT_SUPPORTED; INVALID_REQUEST_FIELD for the first unknown key; VALIDATION_FAILED for
/// every value that is none; REQUIRED_FIELD_REMOVED{fields}; IMMUTABLE_FIELD{field, original, proposed}.
pub fn replace(request: RequestType, original: &Value, proposed: &Value) -> Result<Replacement, Refusal> {
    let fields = fields_of(request).map_err(Refusal::Malformed)?;
    let malformed = |code| Refusal::Malformed(Problem::invalid_field(FIELD, code));
    let proposed = proposed
        .as_object()
        .ok_or_else(|| malformed(FieldCode::InvalidFormat))?;
    let known = |key: &str| fields.required.contains(&key) || fields.numbers.iter().any(|(name, _)| *name == key);
    if let Some(key) = proposed.keys().find(|key| !known(key)) {
        return Err(Refusal::Malformed(Problem::unknown_field(format!("{FIELD}.{key}"))));
    }
    let spec: Map<String, Value> = proposed
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (key.clone(), canonical(key, value)))
        .collect();
    let errors = field_errors(fields, &spec);
    if !errors.is_empty() {
        return Err(Refusal::Malformed(Problem::invalid(errors)));
    }
    admissible(fields, original, &spec).map_err(Refusal::Inadmissible)?;
    let spec = Value::Object(spec);
    Ok(Replacement {
        changes: diff(original, &spec),
        warnings: removed(original, &spec).into_iter().collect(),
        spec,
    })
}

fn fields_of(request: RequestType) -> Result<&'static Fields, Problem> {
    match request {
        RequestType::CreateVm => Ok(&CREATE),
        RequestType::ModifyVm => Ok(&MODIFY),
        RequestType::DeleteVm
        | RequestType::StartVm
        | RequestType::StopVm
        | RequestType::RestartVm
        | RequestType::VncAccess
        | RequestType::BatchCreate
        | RequestType::BatchDelete
        | RequestType::BatchPower
        | RequestType::SnapshotVm
        | RequestType::DeleteSnapshot
        | RequestType::RestoreVm
        | RequestType::CloneVm
        | RequestType::MigrateVm => {
            Err(Problem::new(ErrorCode::ModifiedSpecNotSupported).with("request_type", request.as_str()))
        }
    }
}

/// An id can be spelt in several ways and is the same all the same; nothing else is.
fn canonical(key: &str, value: &Value) -> Value {
    let id = value.as_str().filter(|_| key.ends_with("_id"));
    id.and_then(|id| uuid::Uuid::try_parse(id).ok())
        .map_or_else(|| value.clone(), |id| Value::from(id.to_string()))
}

fn field_errors(fields: &Fields, spec: &Map<String, Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in fields.required {
        let Some(value) = spec.get(*key) else { continue };
        let is_well_formed = match value.as_str() {
            Some(_) if *key == "namespace" => true,
            Some(id) => uuid::Uuid::try_parse(id).is_ok(),
            None => false,
        };
        if !is_well_formed {
            errors.push(FieldError::new(format!("{FIELD}.{key}"), FieldCode::InvalidFormat));
        }
    }
    for (key, max) in fields.numbers {
        let Some(value) = spec.get(*key) else { continue };
        let field = format!("{FIELD}.{key}");
        match value.as_i64() {
            Some(number) if (1..=*max).contains(&number) => {}
            Some(_) => errors.push(
                FieldError::new(field, FieldCode::OutOfRange)
                    .with("min", 1)
                    .with("max", *max),
            ),
            None => errors.push(FieldError::new(field, FieldCode::InvalidFormat).with("expected", "integer")),
        }
    }
    errors
}

fn admissible(fields: &Fields, original: &Value, spec: &Map<String, Value>) -> Result<(), Problem> {
    let missing: Vec<&str> = fields
        .required
        .iter()
        .copied()
        .filter(|key| !spec.contains_key(*key))
        .collect();
    if !missing.is_empty() {
        return Err(Problem::new(ErrorCode::RequiredFieldRemoved).with("fields", json!(missing)));
    }
    for key in fields.immutable {
        let (before, after) = (original.get(*key), spec.get(*key));
        if before != after {
            return Err(Problem::new(ErrorCode::ImmutableField)
                .with("field", *key)
                .with("original", json!(before))
                .with("proposed", json!(after)));
        }
    }
    Ok(())
}

/// SPEC_FIELDS_REMOVED, when much of what was asked for is not there any more.
fn removed(original: &Value, spec: &Value) -> Option<Warning> {
    let asked_for = original.as_object().into_iter().flatten();
    let mut gone: Vec<&String> = asked_for
        .filter(|(key, value)| !value.is_null() && spec.get(key.as_str()).is_none())
        .map(|(key, _)| key)
        .collect();
    gone.sort_unstable();
    (gone.len() >= MANY_REMOVED).then(|| Warning::new(WarningCode::SpecFieldsRemoved).with("fields", json!(gone)))
}
