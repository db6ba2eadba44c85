//! One watch per enabled cluster, held by a lease of its own.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use shepherd_domain::ids::ClusterId;
use shepherd_ports::RepositoryError;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::leases::{HeartbeatKind, Lease};
use shepherd_ports::providers::{ProviderError, VmWatchEvent};
use shepherd_ports::vms::ExpectedVm;

use super::projection;
use crate::{Platform, UseCaseError};

/// Pause before a watch that could not even begin is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Name of the lease of a cluster.
pub fn lease_name(cluster: ClusterId) -> String {
    format!("watch:{cluster}")
}

/// Watches every enabled cluster whose lease can be had, until dropped. Clusters come and go without a restart, and
/// each is watched by a future of its own: one that hangs or panics delays no other.
pub async fn run(platform: &Platform) {
    let mut watched: HashSet<ClusterId> = HashSet::new();
    let mut running = FuturesUnordered::new();
    let mut tick = tokio::time::interval(platform.settings.controllers.tick);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => match platform.read.enabled_clusters().await {
                Ok(clusters) => {
                    for cluster in clusters {
                        if watched.insert(cluster.id) {
                            let id = cluster.id;
                            running.push(AssertUnwindSafe(hold(platform, cluster)).catch_unwind().map(move |end| (id, end)));
                        }
                    }
                }
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the clusters to watch could not be read"),
            },
            Some((cluster, end)) = running.next() => {
                watched.remove(&cluster);
                match end {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%cluster, error = &error as &dyn std::error::Error, "a watch ended"),
                    Err(_) => tracing::error!(%cluster, "a watch panicked"),
                }
            }
        }
    }
}

/// Tries to take the lease of a cluster and watches while it is held and the cluster enabled.
async fn hold(platform: &Platform, cluster: ClusterRecord) -> Result<(), UseCaseError> {
    let settings = &platform.settings.controllers;
    let name = lease_name(cluster.id);
    let Some(lease) = platform
        .leases
        .acquire(&name, &settings.instance, settings.lease_ttl)
        .await?
    else {
        tokio::time::sleep(settings.tick).await;
        return Ok(());
    };
    tracing::info!(cluster = %cluster.name, generation = lease.generation, "watching");
    let subject = cluster.id.to_string();
    platform
        .leases
        .beat(HeartbeatKind::Watcher, &settings.instance, &subject)
        .await?;
    let kept = keep(platform, &cluster, &lease);
    let projected = project(platform, &cluster, &lease);
    tokio::select! {
        end = kept => end,
        end = projected => end,
    }?;
    platform.leases.release(&lease).await?;
    tokio::time::sleep(settings.tick).await;
    Ok(())
}

/// Renews the lease; ends when it was lost or the cluster is no longer to be watched.
async fn keep(platform: &Platform, cluster: &ClusterRecord, lease: &Lease) -> Result<(), UseCaseError> {
    let settings = &platform.settings.controllers;
    loop {
        tokio::time::sleep(settings.lease_ttl / 3).await;
        let renewed = platform
            .leases
            .acquire(&lease.name, &settings.instance, settings.lease_ttl)
            .await?;
        if renewed.is_none_or(|renewed| renewed.generation != lease.generation) {
            tracing::warn!(cluster = %cluster.name, "the lease of a watch was lost");
            return Ok(());
        }
        platform
            .leases
            .beat(HeartbeatKind::Watcher, &settings.instance, &cluster.id.to_string())
            .await?;
        if platform
            .read
            .get_cluster(cluster.id)
            .await?
            .is_none_or(|cluster| !cluster.enabled)
        {
            tracing::info!(cluster = %cluster.name, "the cluster is no longer watched");
            return Ok(());
        }
    }
}

async fn project(platform: &Platform, cluster: &ClusterRecord, lease: &Lease) -> Result<(), UseCaseError> {
    let mut events = match platform.provider.watch_vms(cluster.id).await {
        Ok(events) => events,
        Err(error) => {
            tracing::warn!(cluster = %cluster.name, %error, "a watch could not begin");
            tokio::time::sleep(RETRY).await;
            return Ok(());
        }
    };
    let mut listed: HashSet<String> = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => follow(platform, cluster, lease, event, &mut listed).await?,
            Err(ProviderError::Unavailable(why)) => {
                tracing::warn!(cluster = %cluster.name, why, "a watch lost its cluster");
                return Ok(());
            }
            Err(error) => tracing::info!(cluster = %cluster.name, %error, "a watch was interrupted"),
        }
    }
    Ok(())
}

async fn follow(
    platform: &Platform,
    cluster: &ClusterRecord,
    lease: &Lease,
    event: VmWatchEvent,
    listed: &mut HashSet<String>,
) -> Result<(), RepositoryError> {
    match event {
        VmWatchEvent::ListBegins => listed.clear(),
        VmWatchEvent::InList(vm) => {
            projection::observed(platform, cluster.id, &vm, lease).await?;
            listed.insert(vm.uid);
        }
        VmWatchEvent::Listed => {
            let missing = platform
                .read
                .expected_on(cluster.id)
                .await?
                .into_iter()
                .filter(|expected| !listed.contains(&expected.uid));
            for expected in missing {
                project_missing(platform, cluster, lease, &expected).await?;
            }
            listed.clear();
        }
        VmWatchEvent::Changed(vm) => {
            projection::observed(platform, cluster.id, &vm, lease).await?;
        }
        VmWatchEvent::Deleted { name, namespace, uid } => {
            projection::absent(platform, cluster.id, &namespace, &name, &uid, lease).await?;
        }
    }
    Ok(())
}

/// A row whose object a full list did not show. The object may have been made after the list began, so it is looked
/// at directly before anything is said of it.
async fn project_missing(
    platform: &Platform,
    cluster: &ClusterRecord,
    lease: &Lease,
    expected: &ExpectedVm,
) -> Result<(), RepositoryError> {
    match platform
        .provider
        .get_vm(cluster.id, &expected.namespace, &expected.name)
        .await
    {
        Ok(Some(found)) if found.uid == expected.uid => Ok(()),
        Ok(_) => projection::absent(
            platform,
            cluster.id,
            &expected.namespace,
            &expected.name,
            &expected.uid,
            lease,
        )
        .await
        .map(|_| ()),
        Err(error) => {
            tracing::info!(cluster = %cluster.name, vm = %expected.name, %error, "a missing object could not be looked at");
            Ok(())
        }
    }
}
