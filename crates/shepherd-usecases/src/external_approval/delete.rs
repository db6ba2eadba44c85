//! A system is removed, with its secrets. What was handed to it falls back.

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::ExternalSystemId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;

use crate::audit_webhook::origin;
use crate::{Platform, UseCaseError};

/// Removes the system, also where the feature is switched off.
///
/// # Errors
/// EXTERNAL_SYSTEM_NOT_FOUND, FORBIDDEN, EXTERNAL_SYSTEM_IN_USE{reference_count} while policies name it.
pub async fn execute(platform: &Platform, caller: &Caller, id: ExternalSystemId) -> Result<(), UseCaseError> {
    super::managed(platform, caller, id).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    // Whoever writes a policy that names it waits for this transaction, and does not find it any more.
    let system = uow
        .external_approvals()
        .hold(id)
        .await?
        .ok_or_else(|| super::missing(id))?;
    let references = uow.external_approvals().count_references(id).await?;
    if references > 0 {
        return Err(Problem::new(ErrorCode::ExternalSystemInUse)
            .with("reference_count", references)
            .into());
    }
    uow.external_approvals().delete(id).await?;
    let entry = AuditEntry::new(AuditAction::ExternalApprovalDelete, super::RESOURCE, id)
        .named(&system.name)
        .details(json!({"origin": origin(&system.webhook_url)}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
