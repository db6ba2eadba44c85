//! The shared heart of a running simulator: the store behind its lock, the wake-up call for everyone who
//! waits for a change, and the record of requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::ClusterSeed;
use crate::inspect::RecordedRequest;
use crate::resources::Registry;
use crate::schema::Schemas;
use crate::store::Store;

/// How many requests are remembered.
const LOG_LIMIT: usize = 20_000;

/// Requests seen so far.
#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    /// The latest requests, oldest first.
    pub requests: Vec<RecordedRequest>,
    /// Changes asked for, by verb and resource; dry runs do not count.
    pub mutations: BTreeMap<(String, String), u64>,
}

/// State shared by the API, the controllers and the test handle.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// What is served.
    pub registry: Registry,
    /// What the cluster was made from.
    pub seed: ClusterSeed,
    /// The schemas of custom resources, as far as they were given.
    pub schemas: Schemas,
    /// Cancelled when the simulator stops.
    pub shutdown: CancellationToken,
    store: Mutex<Store>,
    revision: watch::Sender<u64>,
    watch_drops: watch::Sender<u64>,
    stream_drops: watch::Sender<u64>,
    stream_stall: watch::Sender<bool>,
    log: Mutex<RequestLog>,
    bookmark_interval_ms: AtomicU64,
}

impl Cluster {
    /// A cluster over an already filled store.
    pub fn new(seed: ClusterSeed, schemas: Schemas, store: Store) -> Self {
        Self {
            registry: Registry::of(&seed),
            seed,
            schemas,
            shutdown: CancellationToken::new(),
            revision: watch::Sender::new(store.revision()),
            store: Mutex::new(store),
            watch_drops: watch::Sender::new(0),
            stream_drops: watch::Sender::new(0),
            stream_stall: watch::Sender::new(false),
            log: Mutex::default(),
            bookmark_interval_ms: AtomicU64::new(10_000),
        }
    }

    /// Looks at the store.
    pub fn read<R>(&self, look: impl FnOnce(&Store) -> R) -> R {
        look(&lock(&self.store))
    }

    /// Changes the store and wakes everyone who waits for changes.
    pub fn write<R>(&self, change: impl FnOnce(&mut Store) -> R) -> R {
        let mut store = lock(&self.store);
        let result = change(&mut store);
        let revision = store.revision();
        drop(store);
        self.revision.send_if_modified(|known| {
            // Two writers may get here in either order; the counter must not go back.
            let newer = revision > *known;
            *known = revision.max(*known);
            newer
        });
        result
    }

    /// Wakes the controllers although no object changed.
    pub fn nudge(&self) {
        self.revision.send_modify(|_| {});
    }

    /// A receiver that sees every new revision.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// A receiver that changes when all watches are to be dropped.
    pub fn watch_drops(&self) -> watch::Receiver<u64> {
        self.watch_drops.subscribe()
    }

    /// Cuts the connection of every open watch.
    pub fn drop_watches(&self) {
        self.watch_drops.send_modify(|count| *count += 1);
    }

    /// A receiver that changes when all console streams are to be dropped.
    pub fn stream_drops(&self) -> watch::Receiver<u64> {
        self.stream_drops.subscribe()
    }

    /// Cuts the connection of every open console stream.
    pub fn drop_streams(&self) {
        self.stream_drops.send_modify(|count| *count += 1);
    }

    /// A receiver that says whether console streams stand still.
    pub fn stream_stall(&self) -> watch::Receiver<bool> {
        self.stream_stall.subscribe()
    }

    /// Stops all console streams, or lets them flow again.
    pub fn stall_streams(&self, stalled: bool) {
        self.stream_stall.send_replace(stalled);
    }

    /// Whether console streams stand still.
    pub fn streams_stalled(&self) -> bool {
        *self.stream_stall.borrow()
    }

    /// Time between two bookmarks of a watch.
    pub fn bookmark_interval(&self) -> Duration {
        Duration::from_millis(self.bookmark_interval_ms.load(Ordering::Relaxed).max(1))
    }

    /// Sets the time between two bookmarks for watches opened from now on.
    pub fn set_bookmark_interval(&self, interval: Duration) {
        let milliseconds = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self.bookmark_interval_ms.store(milliseconds, Ordering::Relaxed);
    }

    /// Remembers a request; the oldest tenth is forgotten when there are too many.
    pub fn record(&self, request: RecordedRequest, mutation: Option<(String, String)>) {
        let mut log = lock(&self.log);
        if log.requests.len() >= LOG_LIMIT {
            log.requests.drain(..LOG_LIMIT / 10);
        }
        log.requests.push(request);
        if let Some(mutation) = mutation {
            *log.mutations.entry(mutation).or_default() += 1;
        }
    }

    /// Looks at, or clears, the request log.
    pub fn with_log<R>(&self, look: impl FnOnce(&mut RequestLog) -> R) -> R {
        look(&mut lock(&self.log))
    }
}

/// Locks, also after a panic elsewhere: every change to the guarded data is complete or absent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
