//! A user gets along without limits of its own, for a while or for good.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::UserId;
use shepherd_domain::problem::{FieldCode, FieldError};
use shepherd_ports::context::Caller;
use shepherd_ports::limits::{ExemptionRecord, NewExemption};

use super::{reason_error, require_other_account};
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// Longest exemption that ends at all: a hundred years.
const MAX_TERM: TimeDelta = TimeDelta::days(36_525);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct ExemptUser {
    /// Who is exempted.
    pub user: UserId,
    /// Why, at most 1024 characters.
    pub reason: Option<String>,
    /// From then on the limits hold again; a time to come, within a hundred years. Never without it.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Exempts the user from the limits of users; those of the platform stay. An exemption there is, is replaced.
///
/// # Errors
/// FORBIDDEN, also for the own account unless the caller administers the platform; VALIDATION_FAILED, USER_NOT_FOUND.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: ExemptUser,
) -> Result<ExemptionRecord, UseCaseError> {
    account::require_everywhere(caller, Permission::RateLimitManage)?;
    require_other_account(caller, command.user)?;
    let now = platform.now();
    let latest = now.checked_add_signed(MAX_TERM);
    let in_range = |end: DateTime<Utc>| end > now && latest.is_none_or(|latest| end <= latest);
    let wrong_end = command.expires_at.filter(|end| !in_range(*end));
    account::refuse_invalid([
        reason_error(command.reason.as_deref()),
        wrong_end.map(|_| FieldError::new("expires_at", FieldCode::OutOfRange)),
    ])?;
    let mut uow = platform.begin().await?;
    let user = uow.users().lock(command.user).await?;
    let user = user.ok_or_else(|| account::not_found(command.user))?;
    let new = NewExemption {
        user: user.id,
        exempted_by: caller.context.actor.clone(),
        reason: command.reason,
        expires_at: command.expires_at,
    };
    let stored = uow.limits().exempt(&new).await?;
    let entry = AuditEntry::new(AuditAction::RateLimitExemptionUpsert, "user", user.id)
        .named(user.username)
        .details(json!({"reason": stored.reason, "expires_at": stored.expires_at}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(stored)
}
