//! One synthetic event is sent, so that a receiver can be set up without waiting for real ones.

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::AuditWebhookId;
use shepherd_ports::context::Caller;

use super::fields::{blocked, origin};
use super::message::{self, Undelivered};
use crate::{Platform, UseCaseError};

const BODY: &[u8] = br#"{"test":true}"#;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the receiver took it.
    pub success: bool,
    /// Why, in fixed words.
    pub message: String,
}

/// Sends the event, also to a disabled webhook, and puts on record what came of it.
///
/// # Errors
/// AUDIT_WEBHOOK_NOT_FOUND, FORBIDDEN, OUTBOUND_BLOCKED{host}.
pub async fn execute(platform: &Platform, caller: &Caller, id: AuditWebhookId) -> Result<Outcome, UseCaseError> {
    let webhook = super::managed(platform, caller, id).await?;
    let sealed = platform
        .read
        .sealed_audit_webhook(id)
        .await?
        .ok_or_else(|| super::missing(id))?;
    let sent = message::send(platform, &webhook, &sealed, BODY.to_vec()).await;
    let outcome = Outcome {
        success: sent.is_ok(),
        message: match &sent {
            Ok(()) => "the receiver took the event".to_owned(),
            Err(undelivered) => undelivered.to_string(),
        },
    };
    let mut entry = AuditEntry::new(AuditAction::AuditWebhookTest, super::RESOURCE, id)
        .named(&webhook.name)
        .details(json!({"origin": origin(&webhook.url), "message": outcome.message}));
    if !outcome.success {
        entry = entry.failed();
    }
    let now = platform.now();
    let mut uow = platform.begin().await?;
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    match sent {
        Err(Undelivered::Blocked { host }) => Err(blocked(&host).into()),
        Ok(())
        | Err(
            Undelivered::Sealed
            | Undelivered::Variable
            | Undelivered::Refused(_)
            | Undelivered::Url
            | Undelivered::Timeout
            | Undelivered::Failed(_),
        ) => Ok(outcome),
    }
}
