//! From now on another key seals.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::RequestContext;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;

use crate::idempotency::{self, Answer};
use crate::upkeep::PeriodicJob;
use crate::{Platform, UseCaseError};

/// Rotates on behalf of an administrator; re-sealing is left to a worker.
///
/// # Errors
/// FORBIDDEN, KEY_ROTATION_RUNNING{key_id} while an older key still seals values.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<String>, UseCaseError> {
    caller.require(Permission::PlatformAdmin)?;
    let answer = record(platform, &caller.context, request).await?;
    super::reload(&*platform.keys, &*platform.read).await?;
    Ok(answer)
}

/// Rotates on behalf of whoever may run commands on the server.
///
/// # Errors
/// KEY_ROTATION_RUNNING{key_id} while an older key still seals values.
pub async fn by_command(platform: &Platform) -> Result<String, UseCaseError> {
    let answer = record(platform, &RequestContext::system("keys"), None).await?;
    super::reload(&*platform.keys, &*platform.read).await?;
    Ok(answer.outcome)
}

async fn record(
    platform: &Platform,
    context: &RequestContext,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<String>, UseCaseError> {
    let now = platform.now();
    let key = platform.keys.generate()?;
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    let stored = uow.encryption_keys().take_turn().await?;
    if let Some(foreign) = stored.iter().find(|key| key.active && !platform.keys.opens(key)) {
        // The installation has another key by now: what this process sealed, nobody could open after the next start.
        tracing::error!(
            "the key of the installation was changed; this process has the old one and must be started again"
        );
        return Err(Problem::new(ErrorCode::KeyRotationRunning)
            .with("key_id", foreign.key_id.as_str())
            .into());
    }
    if let Err(running) = uow.encryption_keys().rotate(&key, now).await? {
        return Err(Problem::new(ErrorCode::KeyRotationRunning)
            .with("key_id", running)
            .into());
    }
    let entry = AuditEntry::new(AuditAction::EncryptionKeyRotate, "encryption_key", &key.key_id)
        .details(json!({"key_id": key.key_id}));
    platform.audit(&mut *uow, context, now, [entry]).await?;
    uow.jobs().enqueue_periodic(PeriodicJob::KeyReencrypt.as_str()).await?;
    idempotency::store(platform, &mut *uow, request, &key.key_id).await?;
    uow.commit().await?;
    tracing::info!(key_id = %key.key_id, "the encryption key was rotated");
    Ok(Answer::fresh(key.key_id))
}
