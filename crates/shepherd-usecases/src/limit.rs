//! Limits of batches (batch.md §2, §6), and the one answer of every limiter (batch.md §3).
//!
//! A submission [enters](enter) before its items are looked at: that costs little and turns floods away. What is
//! accepted [holds](hold) the lock of all submissions while it counts again and writes, so that parallel ones never
//! overshoot.

mod enter;
pub mod exempt;
pub mod lift_exemption;
pub mod override_numbers;
pub mod status;

use chrono::TimeDelta;
pub use enter::{enter, hold};
use shepherd_domain::access::Permission;
use shepherd_domain::ids::UserId;
pub use shepherd_domain::limit::{LimitType, exceeded};
use shepherd_domain::limit::{Limits, UserLimits};
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::context::Caller;

use crate::settings::BatchSettings;

/// Most characters of a reason.
pub const MAX_REASON: usize = 1024;

/// The configured limits.
pub(crate) fn configured(settings: &BatchSettings) -> Limits {
    Limits {
        max_global_pending_parents: settings.max_global_pending_parents,
        max_global_per_minute: settings.max_global_per_minute,
        user: UserLimits {
            max_pending_parents: settings.max_user_pending_parents,
            max_pending_children: settings.max_user_pending_children,
            cooldown: TimeDelta::from_std(settings.user_cooldown).unwrap_or(TimeDelta::MAX),
        },
    }
}

/// Who manages limits does not free the own account of them.
fn require_other_account(caller: &Caller, user: UserId) -> Result<(), Problem> {
    if caller.subject.user() != user || caller.subject.holds(Permission::PlatformAdmin, None, None) {
        Ok(())
    } else {
        Err(Problem::new(ErrorCode::Forbidden).with("required_permission", Permission::PlatformAdmin.as_str()))
    }
}

fn reason_error(reason: Option<&str>) -> Option<FieldError> {
    reason
        .filter(|reason| reason.chars().count() > MAX_REASON)
        .map(|_| FieldError::new("reason", FieldCode::TooLong).with("max_length", MAX_REASON))
}
