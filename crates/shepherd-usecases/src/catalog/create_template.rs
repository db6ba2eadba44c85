//! An administrator creates a template version.

use serde_json::{Value, json};
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::catalog::{TemplateSpec, TemplateStatus};
use shepherd_domain::ids::TemplateId;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::RepositoryError;
use shepherd_ports::catalog::NewTemplate;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;

use crate::idempotency::{self, Answer};
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// What is asked for.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields of domain.md §3.5")]
pub struct CreateTemplate {
    pub name: String,
    pub version: Option<i32>,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub category: Option<String>,
    pub os_family: Option<String>,
    pub os_version: Option<String>,
    pub spec: Value,
    /// Published at once, else a draft.
    pub enabled: bool,
}

/// Creates the version; an active one deprecates the active one before it in the same transaction.
///
/// # Errors
/// FORBIDDEN, VALIDATION_FAILED, TEMPLATE_SPEC_VIOLATION, TEMPLATE_NAME_VERSION_EXISTS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: CreateTemplate,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<TemplateId>, UseCaseError> {
    account::require_everywhere(caller, Permission::TemplateWrite)?;
    check_fields(&command)?;
    let spec = TemplateSpec::parse(&command.spec)?;
    let now = platform.now();
    let template = NewTemplate {
        id: platform.ids.id(),
        name: command.name,
        version: command.version,
        status: if command.enabled {
            TemplateStatus::Active
        } else {
            TemplateStatus::Draft
        },
        display_name: command.display_name,
        description: command.description,
        category: command.category,
        os_family: command.os_family,
        os_version: command.os_version,
        content_sha256: content_hash(platform, &spec)?,
        spec,
        seeded: false,
        created_by: caller.context.actor.clone(),
        at: now,
    };
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    let version = uow
        .catalog()
        .insert_template(&template)
        .await
        .map_err(|error| match &error {
            RepositoryError::Unique { .. } => Problem::new(ErrorCode::TemplateNameVersionExists)
                .with("name", template.name.as_str())
                .with("version", json!(template.version))
                .into(),
            RepositoryError::ForeignKey { .. }
            | RepositoryError::Busy(_)
            | RepositoryError::Unavailable(_)
            | RepositoryError::Other(_) => UseCaseError::from(error),
        })?;
    let entry = AuditEntry::new(AuditAction::TemplateCreate, "template", template.id)
        .named(&template.name)
        .details(json!({"version": version, "status": template.status, "content_sha256": template.content_sha256}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    idempotency::store(platform, &mut *uow, request, &template.id).await?;
    uow.commit().await?;
    Ok(Answer::fresh(template.id))
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

fn check_fields(command: &CreateTemplate) -> Result<(), Problem> {
    let mut errors = Vec::new();
    let name = &command.name;
    let label = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.contains("--");
    if name.is_empty() {
        errors.push(FieldError::new("name", FieldCode::Required));
    } else if name.chars().count() > 63 {
        errors.push(FieldError::new("name", FieldCode::TooLong).with("max_length", 63));
    } else if !label {
        errors.push(FieldError::new("name", FieldCode::InvalidFormat));
    }
    if command.version.is_some_and(|version| version < 1) {
        errors.push(FieldError::new("version", FieldCode::OutOfRange).with("min", 1));
    }
    let texts = [
        ("display_name", &command.display_name, 255),
        ("description", &command.description, 2048),
        ("category", &command.category, 64),
        ("os_family", &command.os_family, 64),
        ("os_version", &command.os_version, 64),
    ];
    for (field, text, max) in texts {
        if text.as_ref().is_some_and(|text| text.chars().count() > max) {
            errors.push(FieldError::new(field, FieldCode::TooLong).with("max_length", max));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(errors))
    }
}
