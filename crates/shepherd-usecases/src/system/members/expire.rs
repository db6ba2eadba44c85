//! Memberships end at their time. They have given nothing since; this clears them away and says so.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::AuditId;
use shepherd_ports::audit::AuditStamp;
use shepherd_ports::members::EndedMembership;
use shepherd_ports::{RequestContext, UnitOfWork};

use super::RESOURCE;
use crate::{Platform, UseCaseError};

/// Memberships of one transaction.
const BATCH: u32 = 500;

/// Removes all memberships that have expired; answers how many.
///
/// # Errors
/// When the store fails. What had gone until then is recorded.
pub async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    let mut removed = 0;
    loop {
        let now = platform.now();
        let mut uow = platform.begin().await?;
        let ended = uow.members().end_expired(now, BATCH).await?;
        record(platform, &mut *uow, &ended, now).await?;
        uow.commit().await?;
        removed += u64::try_from(ended.len()).unwrap_or(u64::MAX);
        if ended.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
            return Ok(removed);
        }
    }
}

/// Records that memberships ended by themselves.
pub(super) async fn record(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    ended: &[EndedMembership],
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let rows: Vec<(AuditId, AuditEntry)> = ended
        .iter()
        .map(|membership| (platform.ids.id(), entry(membership)))
        .collect();
    let stamp = AuditStamp {
        context: &RequestContext::system("expiry"),
        at: now,
        retention: platform.settings().retention,
    };
    Ok(uow.audit().append(&rows, &stamp).await?)
}

fn entry(membership: &EndedMembership) -> AuditEntry {
    let details = json!({
        "username": membership.username, "role": membership.role, "expires_at": membership.expires_at,
        "reason": "expired",
    });
    AuditEntry::new(AuditAction::SystemMemberRemove, RESOURCE, membership.user_id)
        .named(&membership.username)
        .parent("system", membership.system_id)
        .details(details)
}
