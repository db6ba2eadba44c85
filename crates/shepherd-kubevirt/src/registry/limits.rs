//! How much one replica asks of one cluster: calls at once, requests per second, and pauses it was asked for.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::{DefaultDirectRateLimiter, Quota};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::lock;

/// How much one replica asks of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Longest time of a single call, 30 s by default.
    pub call_timeout: Duration,
    /// Longest wait for a permit and a turn together, 30 s by default.
    pub permit_wait: Duration,
    /// Calls at the same time per cluster, 20 by default. A cluster may have a limit of its own.
    pub concurrency: usize,
    /// Calls at the same time to all clusters together, 50 by default; one call to each cluster, and looks at its health,
    /// come on top.
    pub total_concurrency: usize,
    /// Longest time a credential version is trusted without looking again, 30 s by default.
    pub credential_refresh: Duration,
    /// Requests per second and cluster in the long run, 20 by default.
    pub requests_per_second: u32,
    /// Requests that may come at once before the rate holds, 40 by default.
    pub burst: u32,
    /// Failures in a row after which a cluster is left alone, 5 by default.
    pub breaker_failures: u32,
    /// For how long it is left alone before one call tries again, 60 s by default.
    pub breaker_open: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        let half_a_minute = Duration::from_secs(30);
        Self {
            call_timeout: half_a_minute,
            permit_wait: half_a_minute,
            concurrency: 20,
            total_concurrency: 50,
            credential_refresh: half_a_minute,
            requests_per_second: 20,
            burst: 40,
            breaker_failures: 5,
            breaker_open: Duration::from_secs(60),
        }
    }
}

/// Call permits whose number changes while they are in use.
#[derive(Debug)]
pub(super) struct Permits {
    semaphore: Arc<Semaphore>,
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    wanted: usize,
    // Permits in use that are not given back when their calls end.
    surplus: usize,
}

impl Permits {
    /// This many permits, at least one.
    pub(super) fn new(wanted: usize) -> Arc<Self> {
        let wanted = within_bounds(wanted);
        Arc::new(Self {
            semaphore: Arc::new(Semaphore::new(wanted)),
            size: Mutex::new(Size { wanted, surplus: 0 }),
        })
    }

    /// Waits for a permit; dropping it gives it back. They are handed out in the order they were asked for.
    pub(super) async fn acquire(self: &Arc<Self>) -> Result<Permit, AcquireError> {
        let permit = Arc::clone(&self.semaphore).acquire_owned().await?;
        Ok(Permit {
            permit: Some(permit),
            of: Arc::clone(self),
        })
    }

    /// How many are in use.
    pub(super) fn in_use(&self) -> usize {
        let size = lock(&self.size);
        (size.wanted + size.surplus).saturating_sub(self.semaphore.available_permits())
    }

    /// Changes their number. More are there at once; fewer as soon as enough calls have ended.
    pub(super) fn resize(&self, wanted: usize) {
        let wanted = within_bounds(wanted);
        let mut size = lock(&self.size);
        if wanted > size.wanted {
            let more = wanted - size.wanted;
            let kept = more.min(size.surplus);
            size.surplus -= kept;
            self.semaphore.add_permits(more - kept);
        } else {
            let fewer = size.wanted - wanted;
            size.surplus += fewer - self.semaphore.forget_permits(fewer);
        }
        size.wanted = wanted;
    }
}

fn within_bounds(wanted: usize) -> usize {
    wanted.clamp(1, Semaphore::MAX_PERMITS)
}

/// The right to make one call.
#[derive(Debug)]
pub(super) struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    of: Arc<Permits>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        // Given back under the lock: a change of size sees it either in use or free.
        let mut size = lock(&self.of.size);
        if size.surplus > 0 {
            size.surplus -= 1;
            permit.forget();
        } else {
            drop(permit);
        }
    }
}

/// Longest pause that is granted; a server that asks for a year is asked again much earlier.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When requests are made.
///
/// A call waits for its turn once, before it begins, which pays for its first request. Further requests of the call,
/// and those of a watch, do not wait, because that would use up the time of their call; they are paid for by the
/// turns after them.
pub(super) struct Pace {
    limiter: RwLock<Arc<DefaultDirectRateLimiter>>,
    // Held by the call whose turn is next, so that turns come in order.
    queue: tokio::sync::Mutex<()>,
    ledger: Mutex<Ledger>,
    paused_until: Mutex<Option<Instant>>,
}

impl Pace {
    /// A pace of so many requests per second after so many at once; both at least one.
    pub(super) fn new(requests_per_second: u32, burst: u32) -> Arc<Self> {
        Arc::new(Self {
            limiter: RwLock::new(limiter(requests_per_second, burst)),
            queue: tokio::sync::Mutex::default(),
            ledger: Mutex::new(Ledger::new(burst.max(1))),
            paused_until: Mutex::default(),
        })
    }

    /// Another pace for the turns that are not given yet, with a whole burst to begin with.
    pub(super) fn set(&self, requests_per_second: u32, burst: u32) {
        *self.limiter.write().unwrap_or_else(PoisonError::into_inner) = limiter(requests_per_second, burst);
        lock(&self.ledger).most_owed = burst.max(1);
    }

    fn limiter(&self) -> Arc<DefaultDirectRateLimiter> {
        Arc::clone(&self.limiter.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until a call may begin; it has ended when the turn is dropped.
    pub(super) async fn turn(self: &Arc<Self>) -> Turn {
        let _queue = self.queue.lock().await;
        loop {
            let limiter = self.limiter();
            let wait = match limiter.check() {
                Ok(()) => {
                    if lock(&self.ledger).pay() {
                        return Turn(Arc::clone(self));
                    }
                    continue;
                }
                Err(refusal) => refusal.wait_time_from(limiter.clock().now()),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Notes that a request is made.
    pub(super) fn request(&self) {
        lock(&self.ledger).request();
    }

    /// Makes no further calls for this long, or for a minute when that is shorter.
    pub(super) fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST_PAUSE);
        let mut paused_until = lock(&self.paused_until);
        *paused_until = (*paused_until).max(Some(until));
    }

    /// How long the pause still lasts; `None` when there is none.
    pub(super) fn paused(&self) -> Option<Duration> {
        let until = (*lock(&self.paused_until))?;
        let rest = until.saturating_duration_since(Instant::now());
        (!rest.is_zero()).then_some(rest)
    }

    /// Ends the pause.
    pub(super) fn resume(&self) {
        *lock(&self.paused_until) = None;
    }
}

fn limiter(requests_per_second: u32, burst: u32) -> Arc<DefaultDirectRateLimiter> {
    let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::per_second(at_least_one(requests_per_second)).allow_burst(at_least_one(burst));
    Arc::new(DefaultDirectRateLimiter::direct(quota))
}

/// A call that is under way.
pub(super) struct Turn(Arc<Pace>);

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.0.ledger).end();
    }
}

/// Who has paid for which requests.
#[derive(Debug)]
struct Ledger {
    under_way: u32,
    // Requests that are paid for and not made yet; at most one per call under way.
    prepaid: u32,
    // Requests that were made and are not paid for yet.
    owed: u32,
    // Beyond this much, debts are forgiven: a call waits for a burst at most.
    most_owed: u32,
}

impl Ledger {
    fn new(most_owed: u32) -> Self {
        Self {
            under_way: 0,
            prepaid: 0,
            owed: 0,
            most_owed,
        }
    }

    /// Spends what one request costs; whether it is left for a new call, which then begins.
    fn pay(&mut self) -> bool {
        if self.owed > 0 {
            self.owed -= 1;
            return false;
        }
        self.under_way += 1;
        self.prepaid += 1;
        true
    }

    fn request(&mut self) {
        if self.prepaid > 0 {
            self.prepaid -= 1;
        } else {
            self.owed = (self.owed + 1).min(self.most_owed);
        }
    }

    fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        // What a call paid for and never asked is lost; saved up, it would make a burst later.
        self.prepaid = self.prepaid.min(self.under_way);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// The permits that can be had at once.
    fn take_all(permits: &Arc<Permits>) -> Vec<Permit> {
        std::iter::from_fn(|| permits.acquire().now_or_never())
            .map(|permit| permit.expect("the semaphore is never closed"))
            .collect()
    }

    #[test]
    fn more_permits_are_there_at_once() {
        let permits = Permits::new(2);
        let held = take_all(&permits);
        assert_eq!(held.len(), 2);
        permits.resize(5);
        assert_eq!(take_all(&permits).len(), 3);
        drop(held);
        assert_eq!(take_all(&permits).len(), 5);
    }

    #[test]
    fn fewer_permits_are_left_when_calls_end() {
        let permits = Permits::new(4);
        let mut held = take_all(&permits);
        permits.resize(1);
        for _ in 0..3 {
            held.pop();
            assert_eq!(take_all(&permits).len(), 0, "{} calls are under way", held.len());
        }
        assert_eq!(permits.in_use(), 1);
        held.pop();
        assert_eq!(permits.in_use(), 0);
        assert_eq!(take_all(&permits).len(), 1);
    }

    #[test]
    fn a_limit_that_goes_down_and_up_under_load_ends_where_it_began() {
        let permits = Permits::new(4);
        let mut held = take_all(&permits);
        held.pop();
        permits.resize(1);
        permits.resize(3);
        assert_eq!(take_all(&permits).len(), 0, "three are in use");
        permits.resize(6);
        permits.resize(4);
        assert_eq!(take_all(&permits).len(), 1);
        drop(held);
        assert_eq!(take_all(&permits).len(), 4);
        permits.resize(0);
        assert_eq!(take_all(&permits).len(), 1, "one call is always possible");
    }

    #[test]
    fn every_request_is_paid_for_once() {
        let mut ledger = Ledger::new(10);
        assert!(ledger.pay());
        ledger.request();
        assert_eq!((ledger.prepaid, ledger.owed), (0, 0));
        ledger.request();
        ledger.request();
        ledger.end();
        assert_eq!((ledger.prepaid, ledger.owed), (0, 2));
        assert!(!ledger.pay() && !ledger.pay(), "debts come first");
        assert!(ledger.pay());
    }

    #[test]
    fn calls_that_ask_nothing_save_nothing_up() {
        let mut ledger = Ledger::new(10);
        for _ in 0..50 {
            assert!(ledger.pay());
            ledger.end();
        }
        assert!(ledger.pay() && ledger.pay());
        ledger.end();
        assert_eq!(
            (ledger.prepaid, ledger.under_way),
            (1, 1),
            "the other call keeps its own"
        );
        for _ in 0..100 {
            ledger.request();
        }
        assert_eq!(ledger.owed, 10, "debts are bounded");
    }

    #[tokio::test]
    async fn turns_come_at_the_agreed_rate() {
        let pace = Pace::new(50, 2);
        let begin = Instant::now();
        for _ in 0..7 {
            let _turn = pace.turn().await;
            pace.request();
        }
        let five_turns = Duration::from_millis(100);
        assert!(
            begin.elapsed() >= five_turns - Duration::from_millis(5),
            "{:?}",
            begin.elapsed()
        );
    }

    #[tokio::test]
    async fn another_pace_holds_for_the_next_turn() {
        let pace = Pace::new(1, 1);
        drop(pace.turn().await);
        assert!(pace.turn().now_or_never().is_none(), "a second has not passed");
        pace.set(1000, 3);
        for turn in 1..=3 {
            assert!(pace.turn().now_or_never().is_some(), "turn {turn}");
        }
        assert_eq!(lock(&pace.ledger).most_owed, 3);
    }

    #[test]
    fn a_pause_is_never_shortened_and_never_longer_than_a_minute() {
        let pace = Pace::new(1, 1);
        assert_eq!(pace.paused(), None);
        pace.pause(Duration::from_secs(u64::MAX));
        pace.pause(Duration::from_secs(1));
        let rest = pace.paused().unwrap();
        assert!(rest > Duration::from_secs(50) && rest <= LONGEST_PAUSE, "{rest:?}");
        pace.resume();
        assert_eq!(pace.paused(), None);
    }
}
