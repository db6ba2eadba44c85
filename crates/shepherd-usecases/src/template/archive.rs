//! An administrator puts a template away: it is hidden everywhere except by id.

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::TemplateId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::templates::TemplateRecord;

use crate::{Platform, UseCaseError};

/// Archives the version.
///
/// # Errors
/// TEMPLATE_NOT_FOUND, FORBIDDEN, INVALID_STATE_TRANSITION, TEMPLATE_IN_USE.
pub async fn execute(platform: &Platform, caller: &Caller, id: TemplateId) -> Result<(), UseCaseError> {
    super::changeable(platform, caller, id).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let template = super::locked(&mut *uow, id).await?;
    archive(&mut *uow, &template).await?;
    let entry = entry(&template);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}

/// Archives a locked version. Whoever submits a request for it waits for the lock, so what is counted stays true.
pub(super) async fn archive(uow: &mut dyn UnitOfWork, template: &TemplateRecord) -> Result<(), UseCaseError> {
    let step = template
        .status
        .archive()
        .map_err(|error| UseCaseError::invalid_transition("template", &error))?;
    let references = uow.templates().count_references(template.id).await?;
    if references > 0 {
        return Err(Problem::new(ErrorCode::TemplateInUse)
            .with("reference_count", references)
            .into());
    }
    if uow.templates().transition(template.id, step).await? {
        Ok(())
    } else {
        Err(UseCaseError::Broken("a locked template has moved"))
    }
}

/// The audit row of an archival.
pub(super) fn entry(template: &TemplateRecord) -> AuditEntry {
    AuditEntry::new(AuditAction::TemplateArchive, "template", template.id)
        .named(&template.name)
        .details(json!({"version": template.version, "status": {"old": template.status, "new": "archived"}}))
}
