//! An administrator removes a draft; any other version is archived, because machines may have been made from it.

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::catalog::TemplateStatus;
use shepherd_domain::ids::TemplateId;
use shepherd_ports::context::Caller;

use super::archive;
use crate::{Platform, UseCaseError};

/// Removes a draft or archives the version. One that is archived already is where the caller wants it.
///
/// # Errors
/// TEMPLATE_NOT_FOUND, FORBIDDEN, TEMPLATE_IN_USE.
pub async fn execute(platform: &Platform, caller: &Caller, id: TemplateId) -> Result<(), UseCaseError> {
    super::changeable(platform, caller, id).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let template = super::locked(&mut *uow, id).await?;
    let entry = match template.status {
        TemplateStatus::Archived => return Ok(()),
        TemplateStatus::Draft => {
            if !uow.templates().delete_draft(id).await? {
                return Err(UseCaseError::Broken("a locked draft is no draft any more"));
            }
            AuditEntry::new(AuditAction::TemplateDelete, "template", id)
                .named(&template.name)
                .details(json!({"version": template.version, "content_sha256": template.content_sha256}))
        }
        TemplateStatus::Active | TemplateStatus::Deprecated => {
            archive::archive(&mut *uow, &template).await?;
            archive::entry(&template)
        }
    };
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
