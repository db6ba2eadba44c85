//! A look at every enabled cluster once per interval, by the replica that holds the lease (kubernetes.md §6).
//!
//! Clusters are looked at side by side, each by a future of its own with a budget of its own: one that hangs delays
//! neither the others nor the renewal of the lease. Most looks ask for versions and KubeVirt alone; every tenth, the
//! first, and one that finds another version of KubeVirt, look at everything.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use shepherd_domain::cluster::{ClusterFacts, ClusterStatus};
use shepherd_domain::ids::ClusterId;
use shepherd_ports::RepositoryError;
use shepherd_ports::clusters::{ClusterRecord, HealthResult};
use shepherd_ports::leases::{HeartbeatKind, Lease};
use shepherd_ports::providers::ProviderError;
use tokio::sync::mpsc;

use crate::template::revalidate;
use crate::{Platform, UseCaseError};

mod record;

/// Name of the lease.
pub const LEASE: &str = "health";
/// Looks at versions and KubeVirt alone between two that look at everything.
const LIGHT_LOOKS: u32 = 9;

/// Takes part in the health loop until dropped.
///
/// What is due is found out beside the looks and not between them: a look that is not polled keeps the connection to
/// the database that it holds, and whoever waited for one then would wait in vain.
pub async fn run(platform: &Platform) {
    let rhythm = Mutex::new(Rhythm::default());
    let (orders, ordered) = mpsc::channel(1);
    tokio::join!(find_due(platform, &rhythm, orders), look_at(platform, &rhythm, ordered));
}

/// The clusters that are due, with the lease they are looked at under.
type Due = (Lease, Vec<ClusterRecord>);

async fn find_due(platform: &Platform, rhythm: &Mutex<Rhythm>, orders: mpsc::Sender<Due>) {
    let mut tick = tokio::time::interval(platform.settings().controllers.tick);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match begin(platform, rhythm).await {
            Ok(Some(due)) => {
                if orders.send(due).await.is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the clusters to look at could not be read"
                );
            }
        }
    }
}

async fn look_at(platform: &Platform, rhythm: &Mutex<Rhythm>, mut ordered: mpsc::Receiver<Due>) {
    let mut under_way: HashSet<ClusterId> = HashSet::new();
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            due = ordered.recv() => {
                let Some((lease, due)) = due else { return };
                for cluster in due {
                    if under_way.insert(cluster.id) {
                        let (id, depth) = (cluster.id, lock(rhythm).depth(&cluster));
                        let check = check(platform, cluster, depth, lease.clone());
                        running.push(AssertUnwindSafe(check).catch_unwind().map(move |end| (id, end)));
                    }
                }
            }
            Some((cluster, end)) = running.next() => {
                under_way.remove(&cluster);
                lock(rhythm).note(cluster, report(cluster, end.ok()));
            }
        }
    }
}

fn lock(rhythm: &Mutex<Rhythm>) -> MutexGuard<'_, Rhythm> {
    rhythm.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at all clusters that are due, if this replica holds the lease, and waits for the last of them.
///
/// # Errors
/// When the store fails.
pub async fn round(platform: &Platform) -> Result<(), UseCaseError> {
    let Some((lease, due)) = begin(platform, &Mutex::default()).await? else {
        return Ok(());
    };
    let looks = due.into_iter().map(|cluster| async {
        (
            cluster.id,
            check(platform, cluster, Depth::Everything, lease.clone()).await,
        )
    });
    for (cluster, end) in futures::future::join_all(looks).await {
        report(cluster, Some(end));
    }
    Ok(())
}

/// Looks at everything of one cluster now, whoever holds the lease, and stores what was found unless somebody found
/// something newer. Answers the status.
///
/// # Errors
/// When the store fails.
pub async fn look_now(platform: &Platform, cluster: &ClusterRecord) -> Result<ClusterStatus, UseCaseError> {
    platform.provider.invalidate(cluster.id);
    let result = look(platform, cluster, Depth::Everything).await;
    record::store(platform, cluster, &result, None).await?;
    Ok(result.status)
}

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Everything,
    Health,
}

/// When everything was looked at, by cluster. Only the holder of the lease keeps it, so that a new one begins anew.
#[derive(Default)]
struct Rhythm(HashMap<ClusterId, u32>);

impl Rhythm {
    fn depth(&self, cluster: &ClusterRecord) -> Depth {
        match self.0.get(&cluster.id) {
            // Without a stored result it is new, or has new credentials.
            Some(left) if *left > 0 && cluster.last_checked_at.is_some() => Depth::Health,
            Some(_) | None => Depth::Everything,
        }
    }

    fn note(&mut self, cluster: ClusterId, found: Found) {
        match found {
            Found::Everything => {
                self.0.insert(cluster, LIGHT_LOOKS);
            }
            Found::Health => {
                if let Some(left) = self.0.get_mut(&cluster) {
                    *left = left.saturating_sub(1);
                }
            }
            // Whoever comes back is looked at as a whole.
            Found::TooLittle => {
                self.0.remove(&cluster);
            }
        }
    }
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Everything,
    Health,
    TooLittle,
}

/// Takes or renews the lease; answers it with the clusters that are due.
async fn begin(platform: &Platform, rhythm: &Mutex<Rhythm>) -> Result<Option<Due>, UseCaseError> {
    let settings = platform.settings().controllers.clone();
    // Whoever waits for the lease is alive as well, and its readiness has to tell that from a loop that ended.
    platform
        .leases
        .beat(HeartbeatKind::Leader, &settings.instance, LEASE)
        .await?;
    let lease = platform
        .leases
        .acquire(LEASE, &settings.instance, settings.lease_ttl)
        .await?;
    let Some(lease) = lease else {
        lock(rhythm).0.clear();
        return Ok(None);
    };
    let mut clusters = platform.read.enabled_clusters().await?;
    let known: HashSet<ClusterId> = clusters.iter().map(|cluster| cluster.id).collect();
    lock(rhythm).0.retain(|cluster, _| known.contains(cluster));
    let interval = TimeDelta::from_std(settings.health_interval).unwrap_or(TimeDelta::MAX);
    let now = platform.now();
    // A look in the future was taken by a clock that is wrong, and must not keep others from looking.
    clusters.retain(|cluster| cluster.last_checked_at.is_none_or(|at| (now - at).abs() >= interval));
    Ok(Some((lease, clusters)))
}

async fn check(
    platform: &Platform,
    cluster: ClusterRecord,
    depth: Depth,
    lease: Lease,
) -> Result<Found, RepositoryError> {
    if cluster.last_checked_at.is_none() {
        // New credentials may not have been heard of yet.
        platform.provider.invalidate(cluster.id);
    }
    let result = look(platform, &cluster, depth).await;
    let found = match &result.facts {
        None => Found::TooLittle,
        Some(facts) if facts.capabilities.is_some() && facts.storage_classes.is_some() => Found::Everything,
        Some(_) if depth == Depth::Health => Found::Health,
        Some(_) => Found::TooLittle,
    };
    let stored = record::store(platform, &cluster, &result, Some(&lease)).await?;
    if stored {
        revalidate::after_look(platform, &cluster, result.status).await;
    }
    Ok(if stored { found } else { Found::TooLittle })
}

/// What was found, and a word in the log when that went wrong.
fn report(cluster: ClusterId, end: Option<Result<Found, RepositoryError>>) -> Found {
    match end {
        Some(Ok(found)) => found,
        Some(Err(error)) => {
            tracing::warn!(%cluster, error = &error as &dyn std::error::Error, "a health result could not be stored");
            Found::TooLittle
        }
        None => {
            tracing::error!(%cluster, "a look at a cluster panicked");
            Found::TooLittle
        }
    }
}

async fn look(platform: &Platform, cluster: &ClusterRecord, depth: Depth) -> HealthResult {
    let at = platform.now();
    let budget = platform.settings().controllers.health_timeout;
    let unreachable = |reason: &str| HealthResult {
        status: ClusterStatus::Unreachable,
        reason: Some(reason.to_owned()),
        facts: None,
        at,
    };
    match tokio::time::timeout(budget, ask(platform, cluster, depth)).await {
        Ok(Ok(facts)) => HealthResult {
            status: if facts.kubevirt_deployed {
                ClusterStatus::Healthy
            } else {
                ClusterStatus::Unhealthy
            },
            reason: facts.reason.clone(),
            facts: Some(facts),
            at,
        },
        Ok(Err(error)) => {
            tracing::info!(cluster = %cluster.name, %error, "the cluster did not answer the health check");
            unreachable(reason(&error))
        }
        Err(_) => unreachable("TIMEOUT"),
    }
}

async fn ask(platform: &Platform, cluster: &ClusterRecord, depth: Depth) -> Result<ClusterFacts, ProviderError> {
    if depth == Depth::Health {
        let facts = platform.provider.probe_health(cluster.id).await?;
        if facts.kubevirt_version.is_none() || facts.kubevirt_version == cluster.kubevirt_version {
            return Ok(facts);
        }
    }
    platform.provider.probe(cluster.id).await
}

/// Why a cluster counts as unreachable.
fn reason(error: &ProviderError) -> &'static str {
    match error {
        ProviderError::Unreachable(_) => "API_UNREACHABLE",
        ProviderError::Timeout(_) => "TIMEOUT",
        ProviderError::Forbidden(_) => "CREDENTIALS_REFUSED",
        ProviderError::Throttled { .. } => "THROTTLED",
        ProviderError::Unavailable(_) => "NOT_ASKED",
        ProviderError::NotFound(_)
        | ProviderError::AlreadyExists(_)
        | ProviderError::Conflict(_)
        | ProviderError::Invalid { .. }
        | ProviderError::Quota(_)
        | ProviderError::Unsupported(_)
        | ProviderError::Schema(_) => "UNEXPECTED_ANSWER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId::from_bits(1);

    /// How many looks ask for less than everything until one asks for everything again.
    fn light_looks(rhythm: &mut Rhythm) -> u32 {
        let mut light = 0;
        while rhythm.0.get(&CLUSTER).is_some_and(|left| *left > 0) {
            rhythm.note(CLUSTER, Found::Health);
            light += 1;
        }
        light
    }

    #[test]
    fn every_tenth_look_is_for_everything() {
        let mut rhythm = Rhythm::default();
        assert_eq!(light_looks(&mut rhythm), 0, "the first one is");
        rhythm.note(CLUSTER, Found::Everything);
        assert_eq!(light_looks(&mut rhythm), 9);
    }

    #[test]
    fn a_look_that_found_too_little_is_made_up_for_at_once() {
        let mut rhythm = Rhythm::default();
        rhythm.note(CLUSTER, Found::Everything);
        rhythm.note(CLUSTER, Found::TooLittle);
        assert_eq!(light_looks(&mut rhythm), 0);
        rhythm.note(CLUSTER, Found::Health);
        assert_eq!(light_looks(&mut rhythm), 0, "what was not looked at does not count");
    }
}
