//! An administrator offers a template no longer; machines that were made from it are not affected.

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::TemplateId;
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::templates::TemplateRecord;

use crate::{Platform, UseCaseError};

/// Deprecates the active version.
///
/// # Errors
/// TEMPLATE_NOT_FOUND, FORBIDDEN, INVALID_STATE_TRANSITION.
pub async fn execute(platform: &Platform, caller: &Caller, id: TemplateId) -> Result<(), UseCaseError> {
    super::changeable(platform, caller, id).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let template = super::locked(&mut *uow, id).await?;
    deprecate(&mut *uow, &template).await?;
    let entry = entry(&template);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}

/// Deprecates a locked version.
pub(super) async fn deprecate(uow: &mut dyn UnitOfWork, template: &TemplateRecord) -> Result<(), UseCaseError> {
    let step = template
        .status
        .deprecate()
        .map_err(|error| UseCaseError::invalid_transition("template", &error))?;
    if uow.templates().transition(template.id, step).await? {
        Ok(())
    } else {
        Err(UseCaseError::Broken("a locked template has moved"))
    }
}

/// The audit row of a deprecation that somebody asked for.
pub(super) fn entry(template: &TemplateRecord) -> AuditEntry {
    AuditEntry::new(AuditAction::TemplateDeprecate, "template", template.id)
        .named(&template.name)
        .details(json!({"version": template.version}))
}
