//! Leader leases and heartbeats.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::error::RepositoryError;

/// A lease that is held. Writes guarded by it name its generation, so that a holder who was replaced without
/// noticing cannot write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is about, for example `watch:<cluster>`.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// Fencing token, raised at every take-over.
    pub generation: i64,
}

/// What kind of component beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatKind {
    /// A queue worker.
    Worker,
    /// A watcher of one cluster.
    Watcher,
    /// A part that takes part in a lease, or holds it.
    Leader,
}

impl HeartbeatKind {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Watcher => "watcher",
            Self::Leader => "leader",
        }
    }
}

/// Keeps leases and heartbeats; time is the database's own, so that clock skew between replicas does not matter.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Takes or renews a lease for this long; `None` when somebody else holds it.
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, RepositoryError>;
    /// Gives a lease back.
    async fn release(&self, lease: &Lease) -> Result<(), RepositoryError>;
    /// Notes that a component is alive.
    async fn beat(&self, kind: HeartbeatKind, instance: &str, subject: &str) -> Result<(), RepositoryError>;
    /// The newest beat of a kind, and of one instance of it.
    async fn last_beat(
        &self,
        kind: HeartbeatKind,
        instance: Option<&str>,
    ) -> Result<Option<DateTime<Utc>>, RepositoryError>;
}
