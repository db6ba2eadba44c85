//! Bindings that have an end, end.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::audit::AuditEntry;
use shepherd_ports::roles::BindingDetails;
use shepherd_ports::{RequestContext, UnitOfWork};

use crate::{Platform, UseCaseError};

/// Rows of one transaction.
const BATCH: u32 = 500;

/// Removes bindings that have expired, and records each; answers how many. They granted nothing since their end.
///
/// # Errors
/// When the store fails; batches before that stay removed.
pub async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    let mut removed = 0;
    loop {
        let now = platform.now();
        let mut uow = platform.begin().await?;
        let ended = uow.roles().remove_expired(now, BATCH).await?;
        if ended.is_empty() {
            return Ok(removed);
        }
        record(platform, &mut *uow, &ended, now).await?;
        uow.commit().await?;
        removed += u64::try_from(ended.len()).unwrap_or(u64::MAX);
    }
}

/// Records that bindings ended by themselves.
pub(super) async fn record(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    ended: &[BindingDetails],
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let entries: Vec<AuditEntry> = ended
        .iter()
        .map(|binding| super::revoked(binding).details(json!({"username": binding.username, "reason": "expired"})))
        .collect();
    let context = RequestContext::system("expiry");
    Ok(platform.audit(uow, &context, now, entries).await?)
}
