//! Single numbers of the limits are replaced for one user.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::UserId;
use shepherd_domain::limit::Override;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::limits::{NewOverride, OverrideRecord};

use super::{reason_error, require_other_account};
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// Largest number of an override.
pub const MAX_NUMBER: u32 = 1_000_000;

/// What is asked for: absent leaves a value, null gives the number of the configuration back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverrideNumbers {
    /// 1 to 1,000,000.
    pub max_pending_parents: Option<Option<u32>>,
    /// 1 to 1,000,000.
    pub max_pending_children: Option<Option<u32>>,
    /// 0 to 1,000,000 seconds.
    pub cooldown_seconds: Option<Option<u32>>,
    /// Why, at most 1024 characters.
    pub reason: Option<Option<String>>,
}

/// Sets the numbers; they hold from the next submission on.
///
/// # Errors
/// FORBIDDEN, also for the own account unless the caller administers the platform; VALIDATION_FAILED, also when nothing
/// is given; USER_NOT_FOUND, PRECONDITION_FAILED{current_version}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    command: OverrideNumbers,
    version: Option<i64>,
) -> Result<OverrideRecord, UseCaseError> {
    account::require_everywhere(caller, Permission::RateLimitManage)?;
    require_other_account(caller, user)?;
    command.check()?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    // The lock of the account: what is left as it is, is what the last change made it.
    let account = uow.users().lock(user).await?;
    let account = account.ok_or_else(|| account::not_found(user))?;
    let before = uow.limits().override_of(user).await?;
    let current = before.as_ref().map_or(0, |before| before.row_version);
    if version.is_some_and(|version| version != current) {
        return Err(Problem::new(ErrorCode::PreconditionFailed)
            .with("current_version", current)
            .into());
    }
    let new = command.applied(before, caller, user);
    let stored = uow.limits().put_override(&new).await?;
    let entry = AuditEntry::new(AuditAction::RateLimitOverrideUpsert, "user", user)
        .named(account.username)
        .details(json!({
            "max_pending_parents": stored.numbers.max_pending_parents,
            "max_pending_children": stored.numbers.max_pending_children,
            "cooldown_seconds": stored.numbers.cooldown_seconds,
            "reason": stored.reason,
        }));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(stored)
}

impl OverrideNumbers {
    fn check(&self) -> Result<(), Problem> {
        if *self == Self::default() {
            let fields = [
                "max_pending_parents",
                "max_pending_children",
                "cooldown_seconds",
                "reason",
            ];
            let missing = fields.map(|field| Some(FieldError::new(field, FieldCode::Required)));
            return account::refuse_invalid(missing);
        }
        account::refuse_invalid([
            number_error("max_pending_parents", 1, self.max_pending_parents),
            number_error("max_pending_children", 1, self.max_pending_children),
            number_error("cooldown_seconds", 0, self.cooldown_seconds),
            reason_error(self.reason.as_ref().and_then(|reason| reason.as_deref())),
        ])
    }

    /// What there was, with what was asked for.
    fn applied(self, before: Option<OverrideRecord>, caller: &Caller, user: UserId) -> NewOverride {
        let (numbers, reason) = before.map_or((Override::default(), None), |before| (before.numbers, before.reason));
        NewOverride {
            user,
            numbers: Override {
                max_pending_parents: self.max_pending_parents.unwrap_or(numbers.max_pending_parents),
                max_pending_children: self.max_pending_children.unwrap_or(numbers.max_pending_children),
                cooldown_seconds: self.cooldown_seconds.unwrap_or(numbers.cooldown_seconds),
            },
            reason: self.reason.unwrap_or(reason),
            updated_by: caller.context.actor.clone(),
        }
    }
}

fn number_error(field: &str, min: u32, value: Option<Option<u32>>) -> Option<FieldError> {
    value
        .flatten()
        .filter(|value| !(min..=MAX_NUMBER).contains(value))
        .map(|_| {
            FieldError::new(field, FieldCode::OutOfRange)
                .with("min", min)
                .with("max", MAX_NUMBER)
        })
}
