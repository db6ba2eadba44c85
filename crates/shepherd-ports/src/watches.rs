//! How far the watches of clusters are, and what was said about the machines they see.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use shepherd_domain::cluster::WatchState;
use shepherd_domain::ids::{ClusterId, VmId};
use shepherd_domain::vm::VmStatus;

use crate::error::RepositoryError;
use crate::leases::Lease;
use crate::vms::Projected;

/// A change of a machine that somebody was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Announced {
    /// The machine.
    pub vm: VmId,
    /// The status it had then.
    pub status: VmStatus,
    /// Whether its object had disappeared, which is news of its own.
    pub missing: bool,
}

/// Writes how far watches are, and fails creations that take too long.
#[async_trait]
pub trait WatchRepository: Send {
    /// A watch begins: STARTING, unless it was left REBUILDING or DEGRADED, which lasts until the cluster answers.
    /// Answers the state; `None` when the lease was lost or the cluster is gone.
    async fn begin(
        &mut self,
        cluster: ClusterId,
        at: DateTime<Utc>,
        lease: &Lease,
    ) -> Result<Option<WatchState>, RepositoryError>;
    /// Notes a state; one that is noted already is not written. `false` when the lease was lost or the cluster is gone.
    async fn set_state(
        &mut self,
        cluster: ClusterId,
        state: WatchState,
        at: DateTime<Utc>,
        lease: &Lease,
    ) -> Result<bool, RepositoryError>;
    /// What was said about these machines since a moment. Nobody says more in the meantime if the caller holds their
    /// rows.
    async fn announced(&mut self, vms: &[VmId], since: DateTime<Utc>) -> Result<Vec<Announced>, RepositoryError>;
    /// Makes at most `limit` machines FAILED with CREATION_TIMEOUT that have been CREATING for longer than `timeout`,
    /// counted from the last step of their create ticket; while that is open, it decides. Answers them.
    async fn fail_stuck_creations(
        &mut self,
        timeout: TimeDelta,
        at: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Projected>, RepositoryError>;
}

/// Reads how well clusters are watched.
#[async_trait]
pub trait WatchQueries: Send + Sync {
    /// How many enabled clusters no watcher has said anything of for this long, by the clock of the database. A
    /// cluster that was registered or changed since is given as much time.
    async fn silent_watches(&self, limit: Duration) -> Result<i64, RepositoryError>;
}
