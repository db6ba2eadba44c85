//! A template as a document: what is exported, imported and seeded (catalog.md §1). It has no ids, so that it means the
//! same in every installation.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shepherd_domain::catalog::TemplateStatus;
use shepherd_domain::problem::{FieldCode, FieldError, Problem};
use shepherd_ports::templates::TemplateRecord;

use super::content::{Content, Texts, content_hash};
use crate::{Platform, UseCaseError};

const API_VERSION: &str = "shepherd/v1";
const KIND: &str = "Template";

/// One version of a template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the export format of catalog.md §1")]
pub struct TemplateDocument {
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    pub kind: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_family: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Whether it is offered for new machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quick_fields: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advanced_fields: Option<Value>,
    pub spec: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_sha256: Option<String>,
}

impl From<TemplateRecord> for TemplateDocument {
    fn from(record: TemplateRecord) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: record.name,
            version: Some(record.version),
            display_name: record.display_name,
            description: record.description,
            category: record.category,
            os_family: record.os_family,
            os_version: record.os_version,
            enabled: Some(record.status == TemplateStatus::Active),
            quick_fields: Some(json!(record.quick_fields)),
            advanced_fields: Some(json!(record.advanced_fields)),
            spec: record.spec.to_canonical(),
            content_sha256: Some(record.content_sha256),
        }
    }
}

impl TemplateDocument {
    pub(super) fn texts(&self) -> Texts {
        Texts {
            display_name: self.display_name.clone(),
            description: self.description.clone(),
            category: self.category.clone(),
            os_family: self.os_family.clone(),
            os_version: self.os_version.clone(),
        }
    }

    /// The content, which is the one that was exported when the document says which that was.
    ///
    /// # Errors
    /// VALIDATION_FAILED, TEMPLATE_SPEC_VIOLATION.
    pub(super) fn content(&self, platform: &Platform) -> Result<Content, UseCaseError> {
        for (field, given, expected) in [
            ("apiVersion", &self.api_version, API_VERSION),
            ("kind", &self.kind, KIND),
        ] {
            if given != expected {
                let error = FieldError::new(field, FieldCode::UnknownValue).with("allowed", json!([expected]));
                return Err(Problem::invalid(vec![error]).into());
            }
        }
        super::content::check_fields(&self.name, self.version, &self.texts())?;
        let content = Content::parse(&self.spec, self.quick_fields.as_ref(), self.advanced_fields.as_ref())?;
        let actual = content_hash(platform, &content.spec)?;
        match &self.content_sha256 {
            Some(given) if !given.eq_ignore_ascii_case(&actual) => {
                let error = FieldError::new("content_sha256", FieldCode::InvalidFormat).with("expected", actual);
                Err(Problem::invalid(vec![error]).into())
            }
            Some(_) | None => Ok(content),
        }
    }
}
