//! Audit rows leave when they are past their retention and under no legal hold, if the operator wants that at all.

use std::collections::BTreeMap;

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_ports::RequestContext;

use crate::{Platform, UseCaseError};

/// Rows of one transaction. Who makes a legal hold waits for it, so it should end within a second.
const BATCH: u32 = 5_000;

/// Removes what may go, batch by batch; every batch records in its transaction how many rows of each class went.
/// Answers how many in all; 0 while `audit.purge_enabled` is off.
///
/// # Errors
/// When purging is wanted and this database cannot do it, or the store fails; batches before that stay removed.
pub async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    if !platform.settings().upkeep.purge_audit {
        return Ok(0);
    }
    if !platform.read.purge_available().await? {
        return Err(UseCaseError::Broken(
            "audit.purge_enabled is on, but this database has no audit_purge() that may be called: an administrator \
             of the server has to run SELECT setup_audit_retention() in it",
        ));
    }
    let mut total = 0;
    loop {
        let removed = remove_batch(platform).await?;
        total += removed;
        if removed < u64::from(BATCH) {
            return Ok(total);
        }
    }
}

async fn remove_batch(platform: &Platform) -> Result<u64, UseCaseError> {
    let mut uow = platform.begin().await?;
    let removed = uow.audit().purge(BATCH).await?;
    let by_class: BTreeMap<&str, u64> = removed
        .iter()
        .map(|purged| (purged.class.as_str(), purged.rows))
        .collect();
    let total = by_class.values().sum();
    if total > 0 {
        let entry = AuditEntry::new(AuditAction::AuditPurge, "audit_log", "purge")
            .details(json!({"total": total, "by_class": by_class}));
        let context = RequestContext::system("audit_purge");
        platform.audit(&mut *uow, &context, platform.now(), [entry]).await?;
    }
    uow.commit().await?;
    Ok(total)
}
