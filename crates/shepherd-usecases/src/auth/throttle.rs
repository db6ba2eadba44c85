//! How often somebody may try to prove a password: so many failures per user name and per network, then waits.
//!
//! An attempt is reserved as a failure before its password is looked at, in a short transaction that holds the locks
//! of both subjects while it counts; so the limit holds for a burst over any number of replicas. A right password
//! forgives the reserved attempt later. When the process dies in between, the attempt stays a failure.
//!
//! An attempt that has to wait is refused before any work, leaves no row of any kind (an audit row each would let
//! anybody flood the log) and does not prolong the wait. Nothing depends on whether the user exists.

use std::net::{IpAddr, Ipv6Addr};

use chrono::{DateTime, TimeDelta, Utc};
use shepherd_domain::ids::LoginAttemptId;
use shepherd_domain::limit::whole_seconds;
use shepherd_domain::problem::Problem;
use shepherd_ports::UnitOfWork;
use shepherd_ports::identity::LoginSubject;

use crate::limit::{LimitType, exceeded};
use crate::{Platform, UseCaseError};

/// First wait after too many failures; it doubles with every further one.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(30);
/// Longest wait.
const LONGEST_WAIT: TimeDelta = TimeDelta::seconds(900);

/// An attempt that may look at a password. It counts as a failure unless it is forgiven.
pub(super) struct Attempt {
    /// Keyed hash of the user name, the same for every spelling that finds the same user.
    pub(super) username_hash: String,
    rows: Vec<LoginAttemptId>,
}

impl Attempt {
    /// The password was right: takes back the failures of the user name so far, and of the network this one only.
    pub(super) async fn forgive(&self, uow: &mut dyn UnitOfWork) -> Result<(), UseCaseError> {
        for row in &self.rows {
            uow.identity().forgive_login(*row).await?;
        }
        Ok(())
    }

    /// The same in a transaction of its own.
    pub(super) async fn forgive_alone(&self, platform: &Platform) -> Result<(), UseCaseError> {
        let mut uow = platform.begin().await?;
        self.forgive(&mut *uow).await?;
        Ok(uow.commit().await?)
    }
}

/// Lets an attempt at the password of a user name in, and reserves it.
///
/// # Errors
/// RATE_LIMIT_EXCEEDED{login} while the user name or the network has to wait.
pub(super) async fn reserve(platform: &Platform, username: &str, ip: Option<IpAddr>) -> Result<Attempt, UseCaseError> {
    let folded = platform.read.folded_username(username).await?;
    let username_hash = platform.digests.keyed_hex(&folded);
    let network = ip.map(network);
    let limits = platform.settings().login.clone();
    // The user name first: everybody takes the locks in this order.
    let mut subjects = vec![(LoginSubject::Username(&username_hash), limits.max_failures_user)];
    subjects.extend(
        network
            .as_deref()
            .map(|network| (LoginSubject::Ip(network), limits.max_failures_ip)),
    );
    let window = TimeDelta::from_std(limits.window).unwrap_or(TimeDelta::MAX);

    // Without the locks first: a flood that has to wait anyway does not queue for them.
    let now = platform.now();
    let mut waits = Vec::new();
    for (subject, max) in &subjects {
        let failures = platform
            .read
            .login_failures(*subject, remembered_since(now, window))
            .await?;
        waits.extend(Wait::after(&failures, *max, window));
    }
    refuse(waits, now)?;

    let mut uow = platform.begin().await?;
    for (subject, _) in &subjects {
        uow.identity().lock_logins(*subject).await?;
    }
    // Others may have had their turn meanwhile, and it may have taken a while.
    let now = platform.now();
    let mut waits = Vec::new();
    for (subject, max) in &subjects {
        let failures = uow
            .identity()
            .login_failures(*subject, remembered_since(now, window))
            .await?;
        waits.extend(Wait::after(&failures, *max, window));
    }
    refuse(waits, now)?;
    let mut rows = Vec::new();
    for (subject, _) in &subjects {
        let row = platform.ids.id();
        uow.identity().reserve_login(row, *subject, now).await?;
        rows.push(row);
    }
    uow.commit().await?;
    Ok(Attempt { username_hash, rows })
}

/// Failures are remembered longer than they count against the limit: the longest wait must not make one forget what led
/// to it.
fn remembered_since(now: DateTime<Utc>, window: TimeDelta) -> DateTime<Utc> {
    window
        .checked_add(&LONGEST_WAIT)
        .and_then(|remembered| now.checked_sub_signed(remembered))
        .map_or(DateTime::UNIX_EPOCH, |since| since.max(DateTime::UNIX_EPOCH))
}

/// Whoever has an IPv6 address has its whole /64 to choose from, so that is what counts; IPv4 counts by address, also
/// when it comes in an IPv6 one.
pub(crate) fn network(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            format!("{}/64", Ipv6Addr::from(prefix))
        }
    }
}

/// A subject that failed too often, and when it may try again.
#[derive(Debug, PartialEq, Eq)]
struct Wait {
    failures: usize,
    max: u32,
    until: DateTime<Utc>,
}

impl Wait {
    /// The wait that follows from these failures, the newest first: none unless `max` of them lie within the window
    /// that ends with the newest, else 30 s, doubled for every further one that is remembered, up to 15 min. It
    /// depends on the failures alone, so it never changes while somebody waits, and nobody is locked out for ever.
    fn after(failures: &[DateTime<Utc>], max: u32, window: TimeDelta) -> Option<Self> {
        let newest = *failures.first()?;
        let recent = failures.iter().filter(|at| newest - **at < window).count();
        let limit = usize::try_from(max).unwrap_or(usize::MAX);
        if recent < limit {
            return None;
        }
        let doublings = u32::try_from((failures.len() - limit).min(16)).unwrap_or(16);
        let wait = FIRST_WAIT.checked_mul(1 << doublings).unwrap_or(LONGEST_WAIT);
        Some(Self {
            failures: recent,
            max,
            until: newest + wait.min(LONGEST_WAIT),
        })
    }
}

/// Refuses an attempt while the longest of these waits lasts.
fn refuse(waits: Vec<Wait>, now: DateTime<Utc>) -> Result<(), Problem> {
    let longest = waits
        .into_iter()
        .filter(|wait| now < wait.until)
        .max_by_key(|wait| wait.until);
    match longest {
        None => Ok(()),
        Some(wait) => Err(exceeded(
            LimitType::Login,
            u64::try_from(wait.failures).unwrap_or(u64::MAX),
            wait.max.into(),
            whole_seconds(wait.until - now),
            false,
        )),
    }
}

#[cfg(test)]
mod tests {
    use shepherd_domain::problem::ErrorCode;

    use super::*;

    const WINDOW: TimeDelta = TimeDelta::seconds(900);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    /// The wait in seconds after failures at these times, oldest first.
    fn wait_after(failures: &[i64], max: u32) -> Option<i64> {
        let newest = *failures.last()?;
        let times: Vec<_> = failures.iter().rev().map(|second| at(*second)).collect();
        Wait::after(&times, max, WINDOW).map(|wait| (wait.until - at(newest)).num_seconds())
    }

    #[test]
    fn a_window_of_any_length_is_survived() {
        assert_eq!(remembered_since(at(5000), WINDOW), at(5000 - 1800));
        assert_eq!(remembered_since(at(5000), TimeDelta::MAX), at(0));
        assert_eq!(remembered_since(at(5000), TimeDelta::days(40_000)), at(0));
    }

    #[test]
    fn nobody_waits_before_the_limit() {
        assert_eq!(wait_after(&[], 5), None);
        assert_eq!(wait_after(&[0, 1, 2, 3], 5), None);
        assert_eq!(wait_after(&[0, 1, 2, 3, 4], 5), Some(30));
    }

    #[test]
    fn whoever_fails_after_every_wait_waits_twice_as_long_up_to_a_quarter_of_an_hour() {
        let mut failures = vec![0; 5];
        for expected in [30, 60, 120, 240, 480] {
            assert_eq!(wait_after(&failures, 5), Some(expected));
            failures.push(failures.last().copied().unwrap() + expected);
        }
        assert_eq!(
            wait_after(&failures, 5),
            None,
            "the first failures have left the window"
        );
        failures.push(failures.last().copied().unwrap() + 1);
        assert_eq!(wait_after(&failures, 5), Some(900), "they are remembered all the same");
    }

    #[test]
    fn failures_that_are_far_apart_cost_nothing() {
        let quarters: Vec<i64> = (0..40).map(|number| number * 300).collect();
        assert_eq!(wait_after(&quarters, 5), None);
        assert_eq!(wait_after(&[0, 0, 0, 0, 900], 5), None, "the window has passed");
        assert_eq!(wait_after(&[0, 0, 0, 0, 899], 5), Some(30));
    }

    #[test]
    fn the_longest_wait_counts_and_is_told_rounded_up() {
        let wait = |max, until| Wait {
            failures: 7,
            max,
            until: at(until),
        };
        let now = at(100) + TimeDelta::milliseconds(1);
        assert!(refuse(vec![wait(5, 90), wait(20, 100)], now).is_ok());
        let refused = refuse(vec![wait(5, 130), wait(20, 160)], now).unwrap_err();
        assert_eq!(refused.code, ErrorCode::RateLimitExceeded);
        assert_eq!(refused.params["max_value"], 20);
        assert_eq!(refused.params["retry_after"], 60);
    }

    #[test]
    fn a_network_is_an_ipv4_address_or_the_64_bits_an_ipv6_host_cannot_choose() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("2001:db8:0:7::1"), "2001:db8:0:7::/64");
        assert_eq!(of("2001:db8:0:7:ffff:ffff:ffff:ffff"), of("2001:db8:0:7::1"));
        assert_ne!(of("2001:db8:0:8::1"), of("2001:db8:0:7::1"));
    }
}
