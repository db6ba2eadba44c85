//! The limits hold for a user again.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::UserId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;

use crate::identity::account;
use crate::{Platform, UseCaseError};

/// Takes the exemption away, one's own as well: nobody gains by that.
///
/// # Errors
/// FORBIDDEN, RATE_LIMIT_EXEMPTION_NOT_FOUND.
pub async fn execute(platform: &Platform, caller: &Caller, user: UserId) -> Result<(), UseCaseError> {
    account::require_everywhere(caller, Permission::RateLimitManage)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let missing = || Problem::not_found(ErrorCode::RateLimitExemptionNotFound, user);
    // First, as for an exemption that is made: two administrators do not wait for each other.
    let account = uow.users().lock(user).await?.ok_or_else(missing)?;
    let lifted = uow.limits().lift_exemption(user).await?.ok_or_else(missing)?;
    let entry = AuditEntry::new(AuditAction::RateLimitExemptionDelete, "user", user)
        .named(account.username)
        .details(json!({"reason": lifted.reason, "expires_at": lifted.expires_at}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
