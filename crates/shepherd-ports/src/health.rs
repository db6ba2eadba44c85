//! Readiness of the store.

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
