//! A webhook is removed, with its secrets and its place in the log.

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::AuditWebhookId;
use shepherd_ports::context::Caller;

use super::fields::origin;
use crate::{Platform, UseCaseError};

/// Removes the webhook.
///
/// # Errors
/// AUDIT_WEBHOOK_NOT_FOUND, FORBIDDEN.
pub async fn execute(platform: &Platform, caller: &Caller, id: AuditWebhookId) -> Result<(), UseCaseError> {
    let webhook = super::managed(platform, caller, id).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if !uow.audit_webhooks().delete(id).await? {
        return Err(super::missing(id).into());
    }
    let entry = AuditEntry::new(AuditAction::AuditWebhookDelete, super::RESOURCE, id)
        .named(&webhook.name)
        .details(json!({"origin": origin(&webhook.url)}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
