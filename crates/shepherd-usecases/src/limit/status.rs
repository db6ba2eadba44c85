//! Where users stand with their limits.

use chrono::{DateTime, Utc};
use shepherd_domain::access::Permission;
use shepherd_domain::ids::UserId;
use shepherd_domain::limit::{UserLimits, whole_seconds};
use shepherd_ports::context::Caller;

use super::configured;
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// Where one user stands.
#[derive(Clone, Debug, PartialEq)]
pub struct UserStatus {
    /// The user.
    pub user: UserId,
    /// How the user logs in.
    pub username: String,
    /// Whether none of the limits holds now.
    pub exempted: bool,
    /// The end of the exemption that holds now.
    pub exemption_expires_at: Option<DateTime<Utc>>,
    /// The limits with the override, also of somebody who is exempt: they hold again afterwards.
    pub limits: UserLimits,
    /// Batches that are pending or in progress.
    pub pending_parents: u32,
    /// Open machines of creations and deletions.
    pub pending_children: u32,
    /// Seconds until the next batch is accepted as far as the cooldown is concerned; 0 for somebody who is exempt.
    pub cooldown_remaining: u64,
}

/// The users who have an exemption now, an override, or open batches, by user name; only the given one of them.
/// Answered with the moment they stand there.
///
/// # Errors
/// FORBIDDEN.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    user: Option<UserId>,
) -> Result<(Vec<UserStatus>, DateTime<Utc>), UseCaseError> {
    account::require_everywhere(caller, Permission::RateLimitManage)?;
    let now = platform.now();
    let configured = configured(&platform.settings().batch);
    let found = platform.read.limit_status(user, now).await?;
    let statuses = found.into_iter().map(|found| {
        let standing = found.standing;
        let limits = configured.overridden(&standing);
        let exempted = standing.is_exempt(now);
        let exemption = standing.exemption.filter(|_| exempted);
        UserStatus {
            user: found.user_id,
            username: found.username,
            exempted,
            exemption_expires_at: exemption.and_then(|exemption| exemption.expires_at),
            limits,
            pending_parents: standing.pending_parents,
            pending_children: standing.pending_children,
            cooldown_remaining: if exempted {
                0
            } else {
                whole_seconds(standing.cooldown_left(&limits, now))
            },
        }
    });
    Ok((statuses.collect(), now))
}
