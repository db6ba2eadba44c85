//! Readiness of the store.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::error::RepositoryError;

/// Asks the database how it is.
#[async_trait]
pub trait StoreHealth: Send + Sync {
    /// Whether it answers.
    async fn ping(&self) -> Result<(), RepositoryError>;
    /// Names of migrations that were not applied. Writes nothing.
    async fn pending_migrations(&self) -> Result<Vec<String>, RepositoryError>;
    /// Whether the jobs can be read.
    async fn read_queue(&self) -> Result<(), RepositoryError>;
    /// Who showed lately to be alive, by the clock of the database.
    async fn signs_of_life(&self, asked: &Asked<'_>) -> Result<SignsOfLife, RepositoryError>;
}

/// Whose signs of life are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The replica that asks, by the name it beats under.
    pub instance: &'a str,
    /// The lease that some replica with controllers holds at any time.
    pub lease: &'a str,
    /// Age from which a worker or a taker of leases counts as silent.
    pub silent: Duration,
    /// Age from which a watcher counts as silent.
    pub watcher_silent: Duration,
}

/// Who showed to be alive; nobody by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SignsOfLife {
    /// A worker, on whichever replica.
    pub worker: bool,
    /// The worker of the replica that asked.
    pub own_worker: bool,
    /// Somebody holds the lease.
    pub leader: bool,
    /// The replica that asked takes part in the lease, whether it holds it or not.
    pub own_controllers: bool,
    /// Every enabled cluster has a watcher, on whichever replica.
    pub watchers: bool,
    /// Every watch that the replica that asked holds makes progress.
    pub own_watchers: bool,
}

/// How the table of the jobs is (operations.md §7).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct QueueHealth {
    /// Rows, as the server counts them.
    pub live: u64,
    /// Versions of rows that nobody sees any more.
    pub dead: u64,
    /// The part of the dead in all, 0 to 1.
    pub dead_ratio: f64,
    /// Whether there are more dead rows than autovacuum waits for.
    pub vacuum_due: bool,
    /// When the table was last vacuumed, by hand or by the server.
    pub last_vacuum: Option<DateTime<Utc>>,
    /// Seconds since then, or since the server started.
    pub seconds_since_vacuum: f64,
    /// When its statistics were last made.
    pub last_analyze: Option<DateTime<Utc>>,
    /// Jobs that could run now.
    pub backlog: u64,
    /// Seconds the oldest of them has waited; none without a backlog.
    pub oldest_available_seconds: Option<f64>,
}

/// Looks at the tables of the queue.
#[async_trait]
pub trait QueueHealthQueries: Send + Sync {
    /// The view `queue_health`; none where there is no queue.
    async fn queue_health(&self) -> Result<Option<QueueHealth>, RepositoryError>;
}
