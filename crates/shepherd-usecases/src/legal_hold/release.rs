//! A hold ends; what it kept may be purged once its retention is over.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::LegalHoldId;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::context::Caller;

use crate::identity::account;
use crate::{Platform, UseCaseError};

/// Most characters of a reason.
pub const MAX_REASON: usize = 512;

/// Releases the hold. One that was released before stays as it is and the command succeeds: what it wants is so. The
/// reason of the first release is the one on record.
///
/// # Errors
/// FORBIDDEN, LEGAL_HOLD_NOT_FOUND, VALIDATION_FAILED without a reason.
pub async fn execute(platform: &Platform, caller: &Caller, id: LegalHoldId, reason: &str) -> Result<(), UseCaseError> {
    account::require_everywhere(caller, Permission::AuditManage)?;
    let hold = platform
        .read
        .get_legal_hold(id)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::LegalHoldNotFound, id))?;
    check_reason(reason)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if !uow.legal_holds().release(id, now).await? {
        return Ok(());
    }
    let entry = AuditEntry::new(AuditAction::AuditLegalHoldRelease, "audit_legal_hold", id)
        .named(hold.name)
        .details(json!({"reason": reason}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}

fn check_reason(reason: &str) -> Result<(), Problem> {
    if reason.trim().is_empty() {
        return Err(Problem::invalid_field("reason", FieldCode::Required));
    }
    if reason.chars().count() > MAX_REASON {
        let error = FieldError::new("reason", FieldCode::TooLong).with("max_length", MAX_REASON);
        return Err(Problem::invalid(vec![error]));
    }
    Ok(())
}
