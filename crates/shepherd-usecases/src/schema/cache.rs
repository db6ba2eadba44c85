//! What this process remembers of schemas, and of attempts to fetch them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use shepherd_domain::schema::{MinorVersion, VmSchema};
use tokio::sync::Mutex as Gate;

/// Most versions remembered; beyond it the cache starts over. Clusters of so many versions do not exist.
const CAPACITY: usize = 64;
/// Pause after the first failure; each later one doubles it.
const FIRST_REST: Duration = Duration::from_secs(30);
/// Pause once all retries have failed. A cluster that is mended is noticed all the same.
const LONG_REST: Duration = Duration::from_secs(900);

static BASELINE: LazyLock<Arc<VmSchema>> = LazyLock::new(|| Arc::new(VmSchema::baseline()));

/// The product's own schema.
pub(super) fn baseline() -> Arc<VmSchema> {
    Arc::clone(&BASELINE)
}

/// On whose behalf a cluster is asked. Requests must not use up the attempts of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// A request waits for it.
    Request,
    /// The loop, which takes its time.
    Loop,
}

/// Schemas by version. They never change, so nothing is ever taken back.
#[derive(Default)]
pub struct SchemaCache(Mutex<State>);

#[derive(Default)]
struct State {
    known: BTreeMap<MinorVersion, Arc<VmSchema>>,
    fetches: BTreeMap<MinorVersion, Fetch>,
}

/// What is remembered of a version that is not there yet.
#[derive(Default)]
struct Fetch {
    gate: Arc<Gate<()>>,
    by_requests: Attempts,
    by_loop: Attempts,
    warned: bool,
}

impl Fetch {
    fn attempts(&mut self, asking: Asking) -> &mut Attempts {
        match asking {
            Asking::Request => &mut self.by_requests,
            Asking::Loop => &mut self.by_loop,
        }
    }
}

#[derive(Default)]
struct Attempts {
    failures: u32,
    rest_until: Option<DateTime<Utc>>,
}

impl SchemaCache {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The schema of a version.
    pub(super) fn get(&self, version: MinorVersion) -> Option<Arc<VmSchema>> {
        self.state().known.get(&version).map(Arc::clone)
    }

    /// Remembers a schema; whatever went wrong on the way to it is forgotten.
    pub(super) fn put(&self, schema: Arc<VmSchema>) {
        let mut state = self.state();
        if state.known.len() >= CAPACITY {
            state.known.clear();
        }
        state.fetches.remove(&schema.version());
        state.known.insert(schema.version(), schema);
    }

    fn with_fetch<T>(&self, version: MinorVersion, work: impl FnOnce(&mut Fetch) -> T) -> T {
        let mut state = self.state();
        if state.fetches.len() >= CAPACITY && !state.fetches.contains_key(&version) {
            state.fetches.clear();
        }
        work(state.fetches.entry(version).or_default())
    }

    /// Lets one through at a time to fetch a version.
    pub(super) fn gate(&self, version: MinorVersion) -> Arc<Gate<()>> {
        self.with_fetch(version, |fetch| Arc::clone(&fetch.gate))
    }

    /// Whether it is too early to ask for a version again.
    pub(super) fn rests(&self, version: MinorVersion, asking: Asking, now: DateTime<Utc>) -> bool {
        self.with_fetch(version, |fetch| {
            fetch.attempts(asking).rest_until.is_some_and(|until| now < until)
        })
    }

    /// How often a version could not be fetched.
    pub(super) fn failures(&self, version: MinorVersion, asking: Asking) -> u32 {
        self.with_fetch(version, |fetch| fetch.attempts(asking).failures)
    }

    /// Notes that a version could not be fetched; answers how often that was.
    pub(super) fn failed(&self, version: MinorVersion, asking: Asking, retries: u32, now: DateTime<Utc>) -> u32 {
        self.with_fetch(version, |fetch| {
            let attempts = fetch.attempts(asking);
            attempts.failures = attempts.failures.saturating_add(1);
            let rest = TimeDelta::from_std(rest_after(attempts.failures, retries)).unwrap_or(TimeDelta::MAX);
            attempts.rest_until = now.checked_add_signed(rest);
            attempts.failures
        })
    }

    /// Whether all retries have failed.
    pub(super) fn gave_up(&self, version: MinorVersion, retries: u32) -> bool {
        self.with_fetch(version, |fetch| {
            fetch.by_loop.failures.max(fetch.by_requests.failures) > retries
        })
    }

    /// Whether the log does not know yet that another schema stands in for this version.
    pub(super) fn is_news(&self, version: MinorVersion) -> bool {
        self.with_fetch(version, |fetch| !std::mem::replace(&mut fetch.warned, true))
    }
}

/// 30, 60, 120 s; and a long time once the retries are used up.
fn rest_after(failures: u32, retries: u32) -> Duration {
    if failures > retries {
        return LONG_REST;
    }
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_REST * (1 << doublings)).min(LONG_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: MinorVersion = MinorVersion { major: 1, minor: 6 };

    #[test]
    fn retries_come_after_30_60_and_120_seconds() {
        let rests: Vec<u64> = (1..=5).map(|failures| rest_after(failures, 3).as_secs()).collect();
        assert_eq!(rests, [30, 60, 120, 900, 900]);
        assert_eq!(rest_after(u32::MAX, u32::MAX), LONG_REST);
    }

    #[test]
    fn requests_do_not_use_up_the_attempts_of_the_loop() {
        let (cache, now) = (SchemaCache::default(), DateTime::UNIX_EPOCH);
        assert_eq!(cache.failed(VERSION, Asking::Request, 3, now), 1);
        assert!(cache.rests(VERSION, Asking::Request, now));
        assert!(!cache.rests(VERSION, Asking::Request, now + TimeDelta::seconds(30)));
        assert!(!cache.rests(VERSION, Asking::Loop, now));
        assert_eq!(cache.failures(VERSION, Asking::Loop), 0);
    }

    #[test]
    fn a_version_is_given_up_after_its_retries_and_taken_up_when_it_is_there() {
        let (cache, now) = (SchemaCache::default(), DateTime::UNIX_EPOCH);
        for _ in 0..3 {
            cache.failed(VERSION, Asking::Loop, 3, now);
            assert!(!cache.gave_up(VERSION, 3));
        }
        cache.failed(VERSION, Asking::Loop, 3, now);
        assert!(cache.gave_up(VERSION, 3));
        let there = VmSchema::baseline();
        let version = there.version();
        cache.failed(version, Asking::Loop, 0, now);
        cache.put(Arc::new(there));
        assert!(cache.get(version).is_some());
        assert!(!cache.gave_up(version, 0));
    }

    #[test]
    fn the_log_hears_of_a_version_once() {
        let cache = SchemaCache::default();
        assert!(cache.is_news(VERSION));
        assert!(!cache.is_news(VERSION));
    }
}
