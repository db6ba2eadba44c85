//! How much may be asked for at once (batch.md §2, §3), and the one answer of every limiter.
//!
//! The numbers that hold for a user are the configured ones, single ones replaced by an override; an exemption takes
//! the user's layer away altogether, the global one never.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::problem::{ErrorCode, Problem};

/// How long to wait, in seconds, while others have to finish something first: when they will, nobody knows.
const UNTIL_OTHERS_FINISH: u64 = 60;

/// What a limiter counts, as the answer names it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumIter, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum LimitType {
    /// Batches of everybody that are pending or in progress.
    GlobalPendingParents,
    /// Submissions of batches per minute, of everybody, refused ones included.
    GlobalRequestRate,
    /// Batches of one user that are pending or in progress.
    UserPendingParents,
    /// Open machines of one user's creations and deletions.
    UserPendingChildren,
    /// Time since the last batch of the user that was accepted, in seconds.
    UserCooldown,
    /// Wrong names given to confirm a deletion.
    DeleteConfirmation,
    /// Wrong passwords.
    Login,
    /// Requests of one user, or of one address without a user.
    ApiRequests,
    /// Tokens for consoles.
    ConsoleTokens,
}

impl LimitType {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether an administrator can raise it for one user, so that asking one helps.
    pub fn is_raised_by_administrators(self) -> bool {
        match self {
            Self::UserPendingParents | Self::UserPendingChildren | Self::UserCooldown => true,
            Self::GlobalPendingParents
            | Self::GlobalRequestRate
            | Self::DeleteConfirmation
            | Self::Login
            | Self::ApiRequests
            | Self::ConsoleTokens => false,
        }
    }
}

/// RATE_LIMIT_EXCEEDED as every limiter of the product answers it. `retry_after` is in seconds, at least 1, and also
/// the header `Retry-After`; waiting exactly that long satisfies this limit as far as can be known.
pub fn exceeded(limit_type: LimitType, current: u64, max: u64, retry_after: u64, contact_admin: bool) -> Problem {
    Problem::new(ErrorCode::RateLimitExceeded)
        .with("limit_type", limit_type.as_str())
        .with("current_value", current)
        .with("max_value", max)
        .with("retry_after", retry_after.max(1))
        .with("contact_admin", contact_admin)
}

/// Seconds to wait, rounded up; none when the time has come.
pub fn whole_seconds(wait: TimeDelta) -> u64 {
    let begun = i64::from(wait.subsec_nanos() > 0);
    u64::try_from(wait.num_seconds().saturating_add(begun)).unwrap_or(0)
}

/// The limits of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLimits {
    /// Most batches that are pending or in progress.
    pub max_pending_parents: u32,
    /// Most open machines of creations and deletions.
    pub max_pending_children: u32,
    /// How long to wait after a batch was accepted.
    pub cooldown: TimeDelta,
}

/// Numbers that replace those of the configuration for one user; the others stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Override {
    /// See [`UserLimits::max_pending_parents`].
    pub max_pending_parents: Option<u32>,
    /// See [`UserLimits::max_pending_children`].
    pub max_pending_children: Option<u32>,
    /// See [`UserLimits::cooldown`].
    pub cooldown_seconds: Option<u32>,
}

impl UserLimits {
    /// These, as far as the override says nothing else.
    #[must_use]
    pub fn overridden(self, by: &Override) -> Self {
        Self {
            max_pending_parents: by.max_pending_parents.unwrap_or(self.max_pending_parents),
            max_pending_children: by.max_pending_children.unwrap_or(self.max_pending_children),
            cooldown: by
                .cooldown_seconds
                .map_or(self.cooldown, |seconds| TimeDelta::seconds(i64::from(seconds))),
        }
    }
}

/// A user without limits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Exemption {
    /// From then on it counts no more; never without it.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Exemption {
    /// Whether it counts now.
    pub fn holds_at(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// What is open at one moment, and what is agreed with the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Standing {
    /// Batches of everybody that are pending or in progress.
    pub global_pending_parents: u32,
    /// Those of the user.
    pub pending_parents: u32,
    /// Open machines of the user's creations and deletions.
    pub pending_children: u32,
    /// When the last batch of the user was accepted.
    pub last_accepted_at: Option<DateTime<Utc>>,
    /// The exemption on record; it may have expired.
    pub exemption: Option<Exemption>,
    /// The override on record.
    pub override_numbers: Option<Override>,
}

impl Standing {
    /// Whether the user has no limits of its own now.
    pub fn is_exempt(&self, now: DateTime<Utc>) -> bool {
        self.exemption.is_some_and(|exemption| exemption.holds_at(now))
    }

    /// What is left of the cooldown.
    pub fn cooldown_left(&self, limits: &UserLimits, now: DateTime<Utc>) -> TimeDelta {
        let Some(last) = self.last_accepted_at else {
            return TimeDelta::zero();
        };
        if limits.cooldown.is_zero() {
            return TimeDelta::zero();
        }
        // A clock that lags behind the one that accepted the batch must not shorten the wait.
        let left = limits.cooldown.checked_sub(&(now - last)).unwrap_or(limits.cooldown);
        left.max(TimeDelta::zero())
    }
}

/// One batch that somebody wants to submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Machines that count against [`UserLimits::max_pending_children`]: none of a batch that starts or stops.
    pub children: u32,
    /// Submissions of this minute, this one included; `None` when that limit was looked at before.
    pub this_minute: Option<u32>,
}

/// The configured limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most batches of everybody that are pending or in progress.
    pub max_global_pending_parents: u32,
    /// Most submissions of everybody per minute.
    pub max_global_per_minute: u32,
    /// What holds for users without an override.
    pub user: UserLimits,
}

impl Limits {
    /// What holds for a user; `None` for one who is exempt.
    pub fn of_user(&self, standing: &Standing, now: DateTime<Utc>) -> Option<UserLimits> {
        (!standing.is_exempt(now)).then(|| self.overridden(standing))
    }

    /// What holds for a user who is not exempt.
    pub fn overridden(&self, standing: &Standing) -> UserLimits {
        self.user.overridden(&standing.override_numbers.unwrap_or_default())
    }

    /// Whether a submission is within all limits, looked at in the order of batch.md §2.
    ///
    /// # Errors
    /// RATE_LIMIT_EXCEEDED of the first one that is exceeded.
    pub fn check(&self, submission: Submission, standing: &Standing, now: DateTime<Utc>) -> Result<(), Problem> {
        let user = self.of_user(standing, now);
        below(
            LimitType::GlobalPendingParents,
            standing.global_pending_parents,
            self.max_global_pending_parents,
        )?;
        if let Some(user) = &user {
            below(
                LimitType::UserPendingParents,
                standing.pending_parents,
                user.max_pending_parents,
            )?;
        }
        if let Some(count) = submission.this_minute {
            self.check_rate(count, now)?;
        }
        match &user {
            Some(user) => check_user(user, submission, standing, now),
            None => Ok(()),
        }
    }

    fn check_rate(&self, count: u32, now: DateTime<Utc>) -> Result<(), Problem> {
        if count <= self.max_global_per_minute {
            return Ok(());
        }
        let limit = LimitType::GlobalRequestRate;
        let wait = whole_seconds(minute_of(now) + TimeDelta::minutes(1) - now);
        Err(refused(limit, count.into(), self.max_global_per_minute.into(), wait))
    }
}

/// Children and cooldown.
fn check_user(
    limits: &UserLimits,
    submission: Submission,
    standing: &Standing,
    now: DateTime<Utc>,
) -> Result<(), Problem> {
    let (open, max) = (standing.pending_children, limits.max_pending_children);
    // Who starts or stops machines is not held up by others that are open.
    if submission.children > 0 && open.saturating_add(submission.children) > max {
        let limit = LimitType::UserPendingChildren;
        return Err(refused(limit, open.into(), max.into(), UNTIL_OTHERS_FINISH));
    }
    let left = standing.cooldown_left(limits, now);
    if left > TimeDelta::zero() {
        let (left, whole) = (whole_seconds(left), whole_seconds(limits.cooldown));
        return Err(refused(
            LimitType::UserCooldown,
            whole.saturating_sub(left),
            whole,
            left,
        ));
    }
    Ok(())
}

/// Whether one more fits.
fn below(limit: LimitType, open: u32, max: u32) -> Result<(), Problem> {
    if open < max {
        Ok(())
    } else {
        Err(refused(limit, open.into(), max.into(), UNTIL_OTHERS_FINISH))
    }
}

fn refused(limit: LimitType, current: u64, max: u64, retry_after: u64) -> Problem {
    exceeded(limit, current, max, retry_after, limit.is_raised_by_administrators())
}

/// The beginning of the minute, in UTC.
pub fn minute_of(moment: DateTime<Utc>) -> DateTime<Utc> {
    let second = moment.timestamp().div_euclid(60) * 60;
    DateTime::from_timestamp(second, 0).unwrap_or(moment)
}
