//! Clusters kept apart: each has its own client, permits, pace and breaker, and nothing is shared between two.
//!
//! - `client` builds clients and guards what passes through them
//! - `limits` holds permits and the pace of requests
//! - `breaker` decides when a cluster is left alone
//! - `call` takes one call through all of them
//! - `repeat` sends again what a server never received
//! - `request` says in traces what was asked
//!
//! A client belongs to one version of a cluster's credentials. The version is looked up again when it was last seen
//! too long ago or when somebody says that it changed; a new one makes a new client, and calls that are under way
//! finish on the old one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use kube::Client;
use shepherd_domain::ids::ClusterId;
use shepherd_ports::clusters::{CredentialProvider, RestConfig};
use shepherd_ports::providers::{ClusterLoad, ProviderError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

mod breaker;
mod call;
mod client;
mod limits;
mod repeat;
mod request;

pub(crate) use call::Lane;
pub(crate) use client::Oversize;
pub use limits::CallLimits;

use breaker::Breaker;
use limits::{Pace, Permits};

/// A client and the version of the credentials it was built from.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The client.
    pub client: Client,
    /// Changes whenever the credentials do.
    pub version: String,
}

/// All clusters.
pub(crate) struct Registry {
    credentials: Arc<dyn CredentialProvider>,
    limits: RwLock<CallLimits>,
    // Calls to all clusters together, but for one of each.
    all: Arc<Semaphore>,
    slots: Mutex<HashMap<ClusterId, Arc<Slot>>>,
}

/// Looks at one cluster at a time: the loop's, and those of people who want to know. A look that waits for another one
/// would spend its budget in the queue and call a slow cluster unreachable.
const HEALTH_CALLS: usize = 8;

/// One cluster.
struct Slot {
    cluster: ClusterId,
    permits: Arc<Permits>,
    // Room for one call, whatever other clusters do.
    own: Arc<Semaphore>,
    // Health is looked at by one at a time, and never behind other calls.
    health: Arc<Permits>,
    pace: Arc<Pace>,
    breaker: Mutex<Breaker>,
    // Held while credentials are looked up, so that a burst of calls looks them up once.
    known: tokio::sync::Mutex<Option<Known>>,
    // Counts how often the credentials were said to have changed.
    changes: AtomicU64,
}

struct Known {
    connection: Connection,
    allow_insecure_tls: bool,
    checked_at: Instant,
    // The count of changes before the look-up: one that is said during it is looked at by the next call.
    changes: u64,
}

impl Registry {
    /// An empty registry.
    pub(crate) fn new(credentials: Arc<dyn CredentialProvider>, limits: CallLimits) -> Self {
        Self {
            credentials,
            all: Arc::new(Semaphore::new(limits.total_concurrency.min(Semaphore::MAX_PERMITS))),
            limits: RwLock::new(limits),
            slots: Mutex::default(),
        }
    }

    /// The limits that hold for new calls.
    fn limits(&self) -> CallLimits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how much is asked of one cluster from now on. Calls that are under way keep what they have, and a cluster
    /// with a limit of its own keeps that. What holds already is set to nothing new: a pace that is set lets a whole
    /// burst through again.
    pub(crate) fn set_pace(&self, concurrency: usize, requests_per_second: u32, burst: u32) {
        {
            let mut limits = self.limits.write().unwrap_or_else(PoisonError::into_inner);
            let held = (limits.concurrency, limits.requests_per_second, limits.burst);
            if held == (concurrency, requests_per_second, burst) {
                return;
            }
            limits.concurrency = concurrency;
            limits.requests_per_second = requests_per_second;
            limits.burst = burst;
        }
        // A cluster that comes in between has the new limits already.
        for slot in lock(&self.slots).values() {
            slot.pace.set(requests_per_second, burst);
            // The next call looks its cluster up again, and with it the number of permits.
            slot.changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Says that the credentials or the limits of a cluster may have changed, or that it is gone.
    pub(crate) fn invalidate(&self, cluster: ClusterId) {
        if let Some(slot) = self.known_slot(cluster) {
            slot.changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The same for every cluster.
    pub(crate) fn invalidate_all(&self) {
        for slot in lock(&self.slots).values() {
            slot.changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Drops all there is of a cluster; calls that are under way finish.
    pub(crate) fn forget(&self, cluster: ClusterId) {
        lock(&self.slots).remove(&cluster);
    }

    /// Whether calls to the cluster are refused because too many failed in a row.
    pub(crate) fn breaker_open(&self, cluster: ClusterId) -> bool {
        self.known_slot(cluster)
            .is_some_and(|slot| lock(&slot.breaker).refuses(Instant::now()))
    }

    /// How busy the cluster is with calls of this process.
    pub(crate) fn load(&self, cluster: ClusterId) -> ClusterLoad {
        self.known_slot(cluster)
            .map_or_else(ClusterLoad::default, |slot| ClusterLoad {
                permits_in_use: slot.permits.in_use(),
                breaker_open: lock(&slot.breaker).refuses(Instant::now()),
            })
    }

    /// Says that something long-lived (a watch) failed to reach the cluster. A version that expired is no failure.
    pub(crate) fn report_failure(&self, cluster: ClusterId) {
        if let Some(slot) = self.known_slot(cluster) {
            slot.log_opened_if(lock(&slot.breaker).report_failure(Instant::now()));
        }
    }

    /// Says that something long-lived (a watch) got an answer to a new request; what still comes over a connection
    /// that was made earlier proves nothing about new calls.
    pub(crate) fn report_success(&self, cluster: ClusterId) {
        if let Some(slot) = self.known_slot(cluster) {
            slot.log_closed_if(lock(&slot.breaker).close());
        }
    }

    /// The client of a cluster.
    ///
    /// # Errors
    /// Unavailable when the cluster is not registered or its credentials cannot be loaded or used.
    pub(crate) async fn connection(&self, cluster: ClusterId) -> Result<Connection, ProviderError> {
        self.connection_of(&self.slot(cluster)).await
    }

    async fn connection_of(&self, slot: &Slot) -> Result<Connection, ProviderError> {
        let looking = tokio::time::timeout(self.limits().call_timeout, self.look_up(slot));
        looking.await.unwrap_or_else(|_| {
            let text = "the credentials could not be loaded in time";
            Err(ProviderError::Unavailable(text.to_owned()))
        })
    }

    async fn look_up(&self, slot: &Slot) -> Result<Connection, ProviderError> {
        let mut known = slot.known.lock().await;
        let changes = slot.changes.load(Ordering::Acquire);
        let refresh = self.limits().credential_refresh;
        let is_fresh = |known: &&Known| known.changes == changes && known.checked_at.elapsed() < refresh;
        if let Some(known) = known.as_ref().filter(is_fresh) {
            return Ok(known.connection.clone());
        }
        let found = self.credentials.rest_config(slot.cluster).await;
        let Some(config) = found.map_err(|error| ProviderError::Unavailable(error.to_string()))? else {
            *known = None;
            self.forget(slot.cluster);
            return Err(ProviderError::Unavailable("the cluster is not registered".to_owned()));
        };
        slot.permits.resize(self.concurrency(&config));
        if let Some(known) = known.as_mut().filter(|known| known.is_of(&config)) {
            known.checked_at = Instant::now();
            known.changes = changes;
            return Ok(known.connection.clone());
        }
        let connection = Connection {
            client: client::build(slot.cluster, &config, &slot.pace).await?,
            version: config.version.clone(),
        };
        if known.is_some() {
            // What was found out with the old credentials says nothing about the new ones.
            slot.start_over();
        }
        *known = Some(Known {
            connection: connection.clone(),
            allow_insecure_tls: config.allow_insecure_tls,
            checked_at: Instant::now(),
            changes,
        });
        Ok(connection)
    }

    fn concurrency(&self, config: &RestConfig) -> usize {
        config
            .concurrency_limit
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or_else(|| self.limits().concurrency)
    }

    fn known_slot(&self, cluster: ClusterId) -> Option<Arc<Slot>> {
        lock(&self.slots).get(&cluster).cloned()
    }

    fn slot(&self, cluster: ClusterId) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        let slot = slots
            .entry(cluster)
            .or_insert_with(|| Arc::new(Slot::new(cluster, &self.limits())));
        Arc::clone(slot)
    }
}

impl Slot {
    fn new(cluster: ClusterId, limits: &CallLimits) -> Self {
        Self {
            cluster,
            permits: Permits::new(limits.concurrency),
            own: Arc::new(Semaphore::new(1)),
            health: Permits::new(HEALTH_CALLS),
            pace: Pace::new(limits.requests_per_second, limits.burst),
            breaker: Mutex::new(Breaker::new(limits.breaker_failures, limits.breaker_open)),
            known: tokio::sync::Mutex::default(),
            changes: AtomicU64::new(0),
        }
    }

    fn start_over(&self) {
        self.pace.resume();
        self.log_closed_if(lock(&self.breaker).close());
    }

    fn log_opened_if(&self, opened: bool) {
        if opened {
            tracing::warn!(cluster = %self.cluster, "too many calls in a row failed; the cluster is left alone for a while");
        }
    }

    fn log_closed_if(&self, closed: bool) {
        if closed {
            tracing::info!(cluster = %self.cluster, "the cluster is called again");
        }
    }
}

impl Known {
    fn is_of(&self, config: &RestConfig) -> bool {
        self.connection.version == config.version && self.allow_insecure_tls == config.allow_insecure_tls
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures::FutureExt;
    use shepherd_ports::clusters::CredentialError;

    use super::*;

    const CLUSTER: ClusterId = ClusterId::from_bits(1);

    /// No cluster is registered.
    struct Nothing;

    #[async_trait]
    impl CredentialProvider for Nothing {
        async fn rest_config(&self, _: ClusterId) -> Result<Option<RestConfig>, CredentialError> {
            Ok(None)
        }

        fn credential_type(&self) -> &'static str {
            "nothing"
        }
    }

    #[tokio::test]
    async fn a_cluster_that_is_gone_leaves_nothing_behind() {
        let registry = Registry::new(Arc::new(Nothing), CallLimits::default());
        registry.invalidate(CLUSTER);
        registry.report_failure(CLUSTER);
        registry.report_success(CLUSTER);
        assert!(!registry.breaker_open(CLUSTER));
        assert!(registry.connection(CLUSTER).await.is_err());
        assert!(lock(&registry.slots).is_empty());
    }

    #[tokio::test]
    async fn one_call_to_each_cluster_has_its_room() {
        let limits = CallLimits {
            total_concurrency: 1,
            ..CallLimits::default()
        };
        let registry = Registry::new(Arc::new(Nothing), limits);
        let (busy, other) = (registry.slot(CLUSTER), registry.slot(ClusterId::from_bits(2)));
        let own = busy.room(&registry.all).await.unwrap();
        let _shared = busy.room(&registry.all).await.unwrap();
        assert!(busy.room(&registry.all).now_or_never().is_none());
        assert!(other.room(&registry.all).now_or_never().is_some());
        drop(own);
        assert!(busy.room(&registry.all).now_or_never().is_some());
    }

    #[tokio::test]
    async fn another_pace_holds_for_clusters_that_are_known_and_for_those_that_come() {
        let registry = Registry::new(Arc::new(Nothing), CallLimits::default());
        let known = registry.slot(CLUSTER);
        let changes = known.changes.load(Ordering::Acquire);
        registry.set_pace(3, 1000, 7);
        assert_eq!(registry.limits().concurrency, 3);
        assert_eq!(registry.limits().call_timeout, CallLimits::default().call_timeout);
        assert_ne!(
            known.changes.load(Ordering::Acquire),
            changes,
            "the next call looks again"
        );
        for slot in [known, registry.slot(ClusterId::from_bits(2))] {
            for turn in 1..=7 {
                assert!(slot.pace.turn().now_or_never().is_some(), "turn {turn}");
            }
        }
    }

    #[tokio::test]
    async fn the_pace_that_holds_already_is_not_begun_anew() {
        let registry = Registry::new(Arc::new(Nothing), CallLimits::default());
        registry.set_pace(3, 1, 2);
        let slot = registry.slot(CLUSTER);
        let changes = slot.changes.load(Ordering::Acquire);
        for turn in 1..=2 {
            assert!(slot.pace.turn().now_or_never().is_some(), "turn {turn}");
        }
        registry.set_pace(3, 1, 2);
        assert!(slot.pace.turn().now_or_never().is_none(), "the burst is used up");
        assert_eq!(slot.changes.load(Ordering::Acquire), changes, "nobody looks again");
        for (concurrency, requests, burst) in [(4, 1, 2), (4, 2, 2), (4, 2, 3)] {
            let changes = slot.changes.load(Ordering::Acquire);
            registry.set_pace(concurrency, requests, burst);
            assert_ne!(slot.changes.load(Ordering::Acquire), changes);
        }
    }

    #[test]
    fn reports_open_and_close_the_breaker() {
        let limits = CallLimits {
            breaker_failures: 2,
            ..CallLimits::default()
        };
        let registry = Registry::new(Arc::new(Nothing), limits);
        let _slot = registry.slot(CLUSTER);
        registry.report_failure(CLUSTER);
        assert!(!registry.breaker_open(CLUSTER));
        registry.report_failure(CLUSTER);
        assert!(registry.breaker_open(CLUSTER));
        assert!(!registry.breaker_open(ClusterId::from_bits(2)));
        registry.report_success(CLUSTER);
        assert!(!registry.breaker_open(CLUSTER));
    }
}
