//! A new version of a template, inside the transaction of whoever adds it.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::catalog::TemplateStatus;
use shepherd_domain::ids::TemplateId;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::templates::NewTemplate;
use shepherd_ports::{RepositoryError, RequestContext, UnitOfWork};

use super::content::{Content, Texts, content_hash};
use crate::{Platform, UseCaseError};

/// What is added.
pub(super) struct Addition<'a> {
    /// Of which template.
    pub(super) name: &'a str,
    /// Above the newest version; `None` takes the next number.
    pub(super) version: Option<i32>,
    /// What people read.
    pub(super) texts: Texts,
    /// What it makes of a machine.
    pub(super) content: Content,
    /// Published at once, else a draft.
    pub(super) publish: bool,
    /// When a cluster found the content good.
    pub(super) validated_at: Option<DateTime<Utc>>,
    /// Whether `shepherd seed` adds it.
    pub(super) seeded: bool,
    /// What the audit row says.
    pub(super) action: AuditAction,
    /// The version that it was made from.
    pub(super) made_from: Option<TemplateId>,
}

/// Adds the version, with its audit row; an active one deprecates the active one before it.
///
/// # Errors
/// TEMPLATE_NAME_VERSION_EXISTS, VALIDATION_FAILED when the number is below the newest version.
pub(super) async fn add(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    context: &RequestContext,
    addition: Addition<'_>,
    now: DateTime<Utc>,
) -> Result<TemplateId, UseCaseError> {
    let newest = uow.templates().lock_name(addition.name).await?;
    let template = NewTemplate {
        id: platform.ids.id(),
        name: addition.name.to_owned(),
        version: addition.version,
        status: if addition.publish {
            TemplateStatus::Active
        } else {
            TemplateStatus::Draft
        },
        display_name: addition.texts.display_name,
        description: addition.texts.description,
        category: addition.texts.category,
        os_family: addition.texts.os_family,
        os_version: addition.texts.os_version,
        content_sha256: content_hash(platform, &addition.content.spec)?,
        spec: addition.content.spec,
        quick_fields: addition.content.quick_fields,
        advanced_fields: addition.content.advanced_fields,
        validated_at: addition.validated_at,
        seeded: addition.seeded,
        created_by: context.actor.clone(),
        at: now,
    };
    let inserted = uow.templates().insert(&template).await;
    let version = inserted.map_err(|error| taken(error, addition.name, addition.version))?;
    if let Some(newest) = newest.filter(|newest| version <= *newest) {
        let next = newest.saturating_add(1);
        let error = FieldError::new("version", FieldCode::OutOfRange).with("min", next);
        return Err(Problem::invalid(vec![error]).into());
    }
    let entry = AuditEntry::new(addition.action, "template", template.id)
        .named(&template.name)
        .details(json!({
            "version": version, "status": template.status, "content_sha256": template.content_sha256,
            "made_from": addition.made_from,
        }));
    platform.audit(uow, context, now, [entry]).await?;
    Ok(template.id)
}

fn taken(error: RepositoryError, name: &str, version: Option<i32>) -> UseCaseError {
    if error.is_unique("uq_templates_name_version") {
        Problem::new(ErrorCode::TemplateNameVersionExists)
            .with("name", name)
            .with("version", json!(version))
            .into()
    } else {
        error.into()
    }
}
