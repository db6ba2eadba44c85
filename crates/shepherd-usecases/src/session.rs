//! Sessions: one's own and, for administrators, those of others.

pub mod list;
pub mod revoke;
pub mod revoke_all;

use chrono::{DateTime, TimeDelta, Utc};
use shepherd_ports::sessions::Liveness;

use crate::Platform;

/// When a session is live, as `authenticate` has it.
pub fn liveness(platform: &Platform, now: DateTime<Utc>) -> Liveness {
    let idle = TimeDelta::from_std(platform.settings().session.idle_timeout).ok();
    Liveness {
        now,
        seen_since: idle
            .and_then(|idle| now.checked_sub_signed(idle))
            .unwrap_or(DateTime::UNIX_EPOCH),
    }
}
