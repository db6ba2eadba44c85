//! An administrator offers a draft for new machines.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::TemplateId;
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::templates::{Publication, TemplateRecord};

use super::validation::{Checks, Verdict};
use super::{ATTEMPTS, Stored};
use crate::{Platform, UseCaseError};

/// Publishes the draft after its validation; the active version of its name is deprecated in the same transaction.
///
/// # Errors
/// TEMPLATE_NOT_FOUND, FORBIDDEN, INVALID_STATE_TRANSITION, TEMPLATE_VALIDATION_FAILED.
pub async fn execute(platform: &Platform, caller: &Caller, id: TemplateId) -> Result<Stored, UseCaseError> {
    for _ in 0..ATTEMPTS {
        let template = super::changeable(platform, caller, id).await?;
        require_draft(&template)?;
        let verdict = Checks::prepare(platform)
            .await?
            .passed(platform, &template.spec)
            .await?;
        if publish(platform, caller, &template, &verdict).await? {
            let warnings = verdict.warnings;
            return Ok(Stored { id, warnings });
        }
    }
    Err(super::overtaken())
}

/// Publishes what was validated; `false` when it is something else by now.
async fn publish(
    platform: &Platform,
    caller: &Caller,
    validated: &TemplateRecord,
    verdict: &Verdict,
) -> Result<bool, UseCaseError> {
    let now = platform.now();
    let mut uow = platform.begin().await?;
    uow.templates().lock_name(&validated.name).await?;
    let template = super::locked(&mut *uow, validated.id).await?;
    require_draft(&template)?;
    if template.content_sha256 != validated.content_sha256 {
        return Ok(false);
    }
    activate(&mut *uow, caller, &template, verdict.validated_at(now), now).await?;
    let entry = AuditEntry::new(AuditAction::TemplateUpdate, "template", template.id)
        .named(&template.name)
        .details(json!({"version": template.version, "status": {"old": template.status, "new": "active"}}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(true)
}

/// Makes a locked draft the active version; the name is locked, too.
pub(super) async fn activate(
    uow: &mut dyn UnitOfWork,
    caller: &Caller,
    draft: &TemplateRecord,
    validated_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let step = draft
        .status
        .publish()
        .map_err(|error| UseCaseError::invalid_transition("template", &error))?;
    let publication = Publication {
        by: caller.context.actor.clone(),
        at: now,
        validated_at,
    };
    if uow.templates().publish(draft.id, step, &publication).await? {
        Ok(())
    } else {
        Err(UseCaseError::Broken("a locked draft is no draft any more"))
    }
}

fn require_draft(template: &TemplateRecord) -> Result<(), UseCaseError> {
    template
        .status
        .publish()
        .map(drop)
        .map_err(|error| UseCaseError::invalid_transition("template", &error))
}
