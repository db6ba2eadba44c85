//! A policy is removed. Tickets keep what it said.

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::PolicyId;
use shepherd_ports::context::Caller;

use crate::{Platform, UseCaseError};

/// Removes the policy.
///
/// # Errors
/// POLICY_NOT_FOUND, FORBIDDEN.
pub async fn execute(platform: &Platform, caller: &Caller, id: PolicyId) -> Result<(), UseCaseError> {
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let content = uow
        .policies()
        .hold(id)
        .await?
        .ok_or_else(|| super::missing(id))?
        .content;
    super::require_reach(caller, content.environment)?;
    uow.policies().delete(id).await?;
    let entry = AuditEntry::new(AuditAction::ApprovalPolicyDelete, super::RESOURCE, id)
        .named(&content.name)
        .details(json!(content));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
