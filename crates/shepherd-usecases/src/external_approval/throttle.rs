//! How many callbacks that nobody signed a network may send: so many in a quarter of an hour, then none is looked at.
//!
//! A failure counts under a lock, in the transaction of its audit row, so a burst over any number of replicas leaves no
//! more rows than the limit. What is refused here leaves none.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::UnitOfWork;
use shepherd_ports::identity::LoginSubject;

use crate::auth::throttle::network;
use crate::{Platform, UseCaseError};

const MAX_FAILURES: usize = 20;
const WINDOW: TimeDelta = TimeDelta::seconds(900);
/// Where everybody is whose address is not known.
const NOWHERE: &str = "unknown";

/// The network a callback comes from.
pub(super) struct Sender(String);

impl Sender {
    pub(super) fn at(ip: Option<IpAddr>) -> Self {
        Self(ip.map_or_else(|| NOWHERE.to_owned(), network))
    }

    fn subject(&self) -> LoginSubject<'_> {
        LoginSubject::Callback(&self.0)
    }

    /// Lets a callback in. Nothing is locked: a flood that has to wait does not queue.
    ///
    /// # Errors
    /// RATE_LIMIT_EXCEEDED{approval_callback}.
    pub(super) async fn admit(&self, platform: &Platform) -> Result<(), UseCaseError> {
        let now = platform.now();
        let failures = platform.read.login_failures(self.subject(), now - WINDOW).await?;
        Ok(refuse(&failures, now)?)
    }

    /// Counts a failure, in the transaction that puts it on record.
    ///
    /// # Errors
    /// RATE_LIMIT_EXCEEDED{approval_callback} when others were faster; then nothing is to be recorded.
    pub(super) async fn count_failure(
        &self,
        platform: &Platform,
        uow: &mut dyn UnitOfWork,
    ) -> Result<(), UseCaseError> {
        uow.identity().lock_logins(self.subject()).await?;
        let now = platform.now();
        let failures = uow.identity().login_failures(self.subject(), now - WINDOW).await?;
        refuse(&failures, now)?;
        let row = platform.ids.id();
        Ok(uow.identity().reserve_login(row, self.subject(), now).await?)
    }
}

/// Refuses while as many of these failures as are allowed, the newest first, lie in the window.
fn refuse(failures: &[DateTime<Utc>], now: DateTime<Utc>) -> Result<(), Problem> {
    let Some(first) = failures.get(MAX_FAILURES - 1) else {
        return Ok(());
    };
    let wait = (*first + WINDOW - now).num_seconds().max(0);
    Err(Problem::new(ErrorCode::RateLimitExceeded)
        .with("limit_type", "approval_callback")
        .with("current_value", failures.len())
        .with("max_value", MAX_FAILURES)
        // Rounded up: after so many seconds the oldest of them has left the window.
        .with("retry_after", wait + 1)
        .with("contact_admin", false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_waits_until_the_first_of_its_failures_has_left_the_window() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let ago = |seconds: i64| now - TimeDelta::seconds(seconds);
        let few: Vec<_> = (1..20).map(ago).collect();
        assert!(refuse(&few, now).is_ok());
        let enough: Vec<_> = (1..=20).map(|number| ago(number * 10)).collect();
        let refused = refuse(&enough, now).unwrap_err();
        assert_eq!(refused.code, ErrorCode::RateLimitExceeded);
        assert_eq!(refused.params["current_value"], 20);
        assert_eq!(refused.params["retry_after"], 701);
    }

    #[test]
    fn whoever_has_no_address_shares_the_limit_with_all_others_who_have_none() {
        assert_eq!(Sender::at(None).0, NOWHERE);
        assert_eq!(Sender::at("192.0.2.1".parse().ok()).0, "192.0.2.1");
    }
}
