//! Something harmless is sent to a system, so that it can be set up without a ticket.

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::ExternalSystemId;
use shepherd_ports::context::Caller;
use shepherd_ports::external_approvals::{ExternalSystemRecord, ProviderFailure};

use super::fields::{blocked, require_feature};
use super::opening;
use super::providers::Providers;
use crate::audit_webhook::origin;
use crate::{Platform, UseCaseError};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the system took it.
    pub success: bool,
    /// Why, in fixed words.
    pub message: String,
}

/// Sends it, also to a disabled system, and puts on record what came of it.
///
/// # Errors
/// EXTERNAL_SYSTEM_NOT_FOUND, FORBIDDEN, CAPABILITY_NOT_SUPPORTED, OUTBOUND_BLOCKED{host}.
pub async fn execute(platform: &Platform, caller: &Caller, id: ExternalSystemId) -> Result<Outcome, UseCaseError> {
    let system = super::managed(platform, caller, id).await?;
    require_feature(platform)?;
    let sent = probe(platform, &system).await;
    let outcome = Outcome {
        success: sent.is_ok(),
        message: match &sent {
            Ok(()) => "the system took the test".to_owned(),
            Err((_, message)) => message.clone(),
        },
    };
    let mut entry = AuditEntry::new(AuditAction::ExternalApprovalSubmit, super::RESOURCE, id)
        .named(&system.name)
        .details(json!({"test": true, "origin": origin(&system.webhook_url), "message": outcome.message}));
    if !outcome.success {
        entry = entry.failed();
    }
    let now = platform.now();
    let mut uow = platform.begin().await?;
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    match sent {
        Err((Some(host), _)) => Err(blocked(&host).into()),
        Ok(()) | Err((None, _)) => Ok(outcome),
    }
}

/// Fails with the host that must not be reached, if that is why, and with the reason in fixed words.
async fn probe(platform: &Platform, system: &ExternalSystemRecord) -> Result<(), (Option<String>, String)> {
    let providers = Providers::of(platform);
    let provider = providers
        .get(system.system_type.as_str())
        .ok_or_else(|| (None, "this version cannot speak to systems of this kind".to_owned()))?;
    let opened = opening::open(platform, system)
        .await
        .map_err(|closed| (None, closed.to_string()))?;
    provider.probe(&opened).await.map_err(|failure| {
        let message = failure.to_string();
        match failure {
            ProviderFailure::Blocked { host } => (Some(host), message),
            ProviderFailure::Url
            | ProviderFailure::Timeout
            | ProviderFailure::Status(_)
            | ProviderFailure::Answer(_)
            | ProviderFailure::NoObject
            | ProviderFailure::Failed(_) => (None, message),
        }
    })
}
