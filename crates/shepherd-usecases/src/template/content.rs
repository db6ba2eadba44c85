//! What a template says to people and to machines, as it was sent.

use serde_json::Value;
use shepherd_domain::catalog::{FieldRule, TemplateSpec};
use shepherd_domain::problem::{FieldCode, FieldError, Problem};
use shepherd_ports::templates::TemplateRecord;

use crate::{Platform, UseCaseError};

/// Most characters of a name: it is a DNS label.
const MAX_NAME: usize = 63;
const QUICK: &str = "quick_fields";
const ADVANCED: &str = "advanced_fields";

/// What people read about a template; it can always be corrected.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields of domain.md §3.5")]
pub struct Texts {
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub category: Option<String>,
    pub os_family: Option<String>,
    pub os_version: Option<String>,
}

impl Texts {
    /// The texts of a version.
    pub(super) fn of(record: &TemplateRecord) -> Self {
        Self {
            display_name: record.display_name.clone(),
            description: record.description.clone(),
            category: record.category.clone(),
            os_family: record.os_family.clone(),
            os_version: record.os_version.clone(),
        }
    }

    /// The texts with their names on the wire and the most characters each may have.
    pub(super) fn fields(&self) -> [(&'static str, &Option<String>, usize); 5] {
        [
            ("display_name", &self.display_name, 255),
            ("description", &self.description, 2048),
            ("category", &self.category, 64),
            ("os_family", &self.os_family, 64),
            ("os_version", &self.os_version, 64),
        ]
    }

    pub(super) fn errors(&self) -> Vec<FieldError> {
        let too_long = |(field, text, max): (&'static str, &Option<String>, usize)| {
            let is_too_long = text.as_ref().is_some_and(|text| text.chars().count() > max);
            is_too_long.then(|| FieldError::new(field, FieldCode::TooLong).with("max_length", max))
        };
        self.fields().into_iter().filter_map(too_long).collect()
    }
}

/// What a version makes of a machine, and what of it people see. Once published it never changes; the lists of fields
/// belong to it, because a form that changes under its users is another form.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Content {
    /// What boots.
    pub(super) spec: TemplateSpec,
    /// Fields everybody sees.
    pub(super) quick_fields: Vec<FieldRule>,
    /// Fields for those who look closer.
    pub(super) advanced_fields: Vec<FieldRule>,
}

impl Content {
    /// Parses what was sent; lists that were not are empty.
    ///
    /// # Errors
    /// TEMPLATE_SPEC_VIOLATION.
    pub(super) fn parse(spec: &Value, quick: Option<&Value>, advanced: Option<&Value>) -> Result<Self, Problem> {
        Ok(Self {
            spec: TemplateSpec::parse(spec)?,
            quick_fields: rules(QUICK, quick)?.unwrap_or_default(),
            advanced_fields: rules(ADVANCED, advanced)?.unwrap_or_default(),
        })
    }

    /// The content of a version.
    pub(super) fn of(record: &TemplateRecord) -> Self {
        Self {
            spec: record.spec.clone(),
            quick_fields: record.quick_fields.clone(),
            advanced_fields: record.advanced_fields.clone(),
        }
    }

    /// The content with those parts replaced that were sent.
    ///
    /// # Errors
    /// TEMPLATE_SPEC_VIOLATION.
    pub(super) fn patched(
        self,
        spec: Option<&Value>,
        quick: Option<&Value>,
        advanced: Option<&Value>,
    ) -> Result<Self, Problem> {
        Ok(Self {
            spec: spec.map_or(Ok(self.spec), TemplateSpec::parse)?,
            quick_fields: rules(QUICK, quick)?.unwrap_or(self.quick_fields),
            advanced_fields: rules(ADVANCED, advanced)?.unwrap_or(self.advanced_fields),
        })
    }
}

/// Parses a list of fields, if there is one.
fn rules(name: &str, list: Option<&Value>) -> Result<Option<Vec<FieldRule>>, Problem> {
    list.map(|list| FieldRule::parse_named_list(name, list)).transpose()
}

/// SHA-256 over the canonical form of a spec.
///
/// # Errors
/// Never for a parsed spec.
pub fn content_hash(platform: &Platform, spec: &TemplateSpec) -> Result<String, UseCaseError> {
    // Through `Value` for one order of keys; the order of struct fields is no part of the content.
    let canonical = serde_json::to_value(spec).and_then(|value| serde_json::to_vec(&value));
    canonical
        .map(|bytes| platform.digests.sha256_hex(&bytes))
        .map_err(|source| UseCaseError::Stored {
            what: "template",
            source,
        })
}

/// What is wrong with a name.
pub(super) fn name_error(name: &str) -> Option<FieldError> {
    let label = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.contains("--");
    if name.is_empty() {
        Some(FieldError::new("name", FieldCode::Required))
    } else if name.chars().count() > MAX_NAME {
        Some(FieldError::new("name", FieldCode::TooLong).with("max_length", MAX_NAME))
    } else {
        (!label).then(|| FieldError::new("name", FieldCode::InvalidFormat))
    }
}

/// What is wrong with the name, the version and the texts of a new version, all at once.
///
/// # Errors
/// VALIDATION_FAILED.
pub(super) fn check_fields(name: &str, version: Option<i32>, texts: &Texts) -> Result<(), Problem> {
    let mut errors: Vec<FieldError> = name_error(name).into_iter().collect();
    if version.is_some_and(|version| version < 1) {
        errors.push(FieldError::new("version", FieldCode::OutOfRange).with("min", 1));
    }
    errors.extend(texts.errors());
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(errors))
    }
}
