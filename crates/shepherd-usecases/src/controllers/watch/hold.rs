//! The lease of one cluster: taken, kept while the watch makes progress, and given back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use shepherd_domain::cluster::WatchState;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::leases::Lease;
use shepherd_ports::{RepositoryError, metrics};
use tokio::sync::{Semaphore, watch};

use super::follow::{Follower, Stop};
use super::{Wanted, lease_name};
use crate::{Platform, UseCaseError};

/// A watch that makes no step for so long is given up, together with its lease: longer than any wait that has an end,
/// shorter than the silence that readiness complains about (120 s).
const STUCK: Duration = Duration::from_secs(90);

/// When a watch made its last step.
pub(super) struct Pulse {
    since: Instant,
    last_ms: AtomicU64,
}

impl Pulse {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            last_ms: AtomicU64::new(0),
        }
    }

    /// A step was made.
    pub(super) fn touch(&self) {
        self.last_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    fn age(&self) -> Duration {
        let last = self.last_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.elapsed_ms().saturating_sub(last))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Why a cluster is no longer followed.
enum End {
    /// The lease is somebody else's, or may be.
    Lost,
    /// Nothing moved any more.
    Stuck,
    /// The cluster was disabled or deleted.
    Unwanted,
    /// The cluster got other credentials.
    Rotated(DateTime<Utc>),
    /// The store failed.
    Failed(RepositoryError),
}

/// Watches a cluster if its lease can be had, while that is held and the cluster enabled. Returns at once when
/// somebody else holds it.
pub(super) async fn hold(
    platform: &Platform,
    projections: &Semaphore,
    cluster: ClusterRecord,
    mut wanted: watch::Receiver<Wanted>,
) -> Result<(), UseCaseError> {
    let settings = platform.settings().controllers.clone();
    let name = lease_name(cluster.id);
    let acquired = platform.leases.acquire(&name, &settings.instance, settings.lease_ttl);
    let Some(lease) = acquired.await? else {
        return Ok(());
    };
    tracing::info!(cluster = %cluster.name, generation = lease.generation, "watching");
    let mut credentials = cluster.credentials_set_at;
    let end = loop {
        match watched(platform, projections, &cluster, &lease, &mut wanted, credentials).await {
            End::Rotated(later) => {
                metrics::clusters::watcher_restarted(cluster.name.clone(), "credentials");
                tracing::info!(cluster = %cluster.name, "the watch begins anew with other credentials");
                // Whether the provider has heard of it or not.
                platform.provider.invalidate(cluster.id);
                credentials = later;
            }
            end @ (End::Lost | End::Stuck | End::Unwanted | End::Failed(_)) => break end,
        }
    };
    let outcome = close(platform, &cluster, &lease, end).await;
    platform.leases.release(&lease).await?;
    outcome
}

async fn watched(
    platform: &Platform,
    projections: &Semaphore,
    cluster: &ClusterRecord,
    lease: &Lease,
    wanted: &mut watch::Receiver<Wanted>,
    credentials: DateTime<Utc>,
) -> End {
    let pulse = Pulse::new();
    let follower = Follower::new(platform, projections, cluster, lease, &pulse);
    tokio::select! {
        end = kept(platform, cluster, lease, &pulse) => end,
        end = otherwise(wanted, credentials) => end,
        stop = follower.run() => match stop {
            Stop::Lost => End::Lost,
            Stop::Failed(error) => End::Failed(error),
        },
    }
}

/// Renews the lease as long as the watch makes progress. While the database does not answer the watch goes on: what
/// it writes is guarded by the lease, and a lease that ran out comes back with another generation.
async fn kept(platform: &Platform, cluster: &ClusterRecord, lease: &Lease, pulse: &Pulse) -> End {
    loop {
        let settings = platform.settings().controllers.clone();
        let interval = settings.lease_ttl / 3;
        tokio::time::sleep(interval).await;
        if pulse.age() > STUCK {
            return End::Stuck;
        }
        let renewal = platform
            .leases
            .acquire(&lease.name, &settings.instance, settings.lease_ttl);
        match tokio::time::timeout(interval, renewal).await {
            Ok(Ok(Some(renewed))) if renewed.generation == lease.generation => {}
            Ok(Ok(_)) => return End::Lost,
            Ok(Err(error)) => tracing::warn!(
                cluster = %cluster.name,
                error = &error as &dyn std::error::Error,
                "the lease of a watch could not be renewed"
            ),
            Err(_) => tracing::warn!(cluster = %cluster.name, "the lease of a watch could not be renewed in time"),
        }
    }
}

/// Returns when something else is wanted than to go on with these credentials.
async fn otherwise(wanted: &mut watch::Receiver<Wanted>, credentials: DateTime<Utc>) -> End {
    loop {
        match *wanted.borrow_and_update() {
            None => return End::Unwanted,
            Some(others) if others != credentials => return End::Rotated(others),
            Some(_) => {}
        }
        if wanted.changed().await.is_err() {
            return End::Unwanted;
        }
    }
}

async fn close(platform: &Platform, cluster: &ClusterRecord, lease: &Lease, end: End) -> Result<(), UseCaseError> {
    match end {
        End::Lost => {
            metrics::clusters::watcher_restarted(cluster.name.clone(), "lease_lost");
            tracing::warn!(cluster = %cluster.name, "the lease of a watch was lost");
        }
        End::Stuck => {
            metrics::clusters::watcher_restarted(cluster.name.clone(), "stuck");
            tracing::error!(cluster = %cluster.name, "a watch made no progress and is given up");
        }
        End::Failed(error) => {
            metrics::clusters::watcher_restarted(cluster.name.clone(), "store");
            return Err(error.into());
        }
        End::Unwanted => {
            tracing::info!(cluster = %cluster.name, "the cluster is no longer watched");
            // Nobody follows it now, and whoever does next has to list it first.
            let mut uow = platform.begin().await?;
            uow.watches()
                .set_state(cluster.id, WatchState::Starting, platform.now(), lease)
                .await?;
            uow.commit().await?;
        }
        // Handled where it happens: the lease stays and the watch begins anew.
        End::Rotated(_) => {}
    }
    Ok(())
}
