//! The stored schemas follow the versions that clusters run, by the replica that holds the lease (operations.md §6).
//!
//! The loop looks for versions that enabled clusters run and that have no schema, rather than waiting for somebody to
//! tell it of a change: what was missed while nobody held the lease is made up for. Versions are fetched beside each
//! other, and a cluster that hangs delays nobody else.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::schema::MinorVersion;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::leases::HeartbeatKind;
use shepherd_ports::metrics;
use tokio::sync::mpsc;

use super::cache::Asking;
use super::{fetch, look_up, revalidate, versions};
use crate::{Platform, UseCaseError};

/// Name of the lease.
pub const LEASE: &str = "schema";

/// What is to be fetched, each version with a cluster to ask.
type Due = BTreeMap<MinorVersion, ClusterRecord>;

/// Takes part in keeping schemas until dropped. What is due is found out beside the updates: one that is not polled
/// keeps the connection to the database that it holds.
pub async fn run(platform: &Platform) {
    let (orders, ordered) = mpsc::channel(1);
    tokio::join!(find_due(platform, orders), carry_out(platform, ordered));
}

async fn find_due(platform: &Platform, orders: mpsc::Sender<Due>) {
    let mut validated = BTreeSet::new();
    let mut tick = tokio::time::interval(platform.settings().controllers.tick);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match begin(platform, &mut validated).await {
            Ok(due) => {
                if orders.send(due).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the schemas to fetch could not be found out"
                );
            }
        }
    }
}

async fn carry_out(platform: &Platform, mut ordered: mpsc::Receiver<Due>) {
    let mut under_way: HashSet<MinorVersion> = HashSet::new();
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            due = ordered.recv() => {
                let Some(due) = due else { return };
                for (version, cluster) in due {
                    if under_way.insert(version) {
                        running.push(update(platform, version, cluster));
                    }
                }
            }
            Some(version) = running.next() => {
                under_way.remove(&version);
            }
        }
    }
}

/// Takes or renews the lease; answers the versions that are to be fetched, each with a cluster to ask.
async fn begin(platform: &Platform, validated: &mut BTreeSet<MinorVersion>) -> Result<Due, UseCaseError> {
    let settings = platform.settings().controllers.clone();
    let lease = platform
        .leases
        .acquire(LEASE, &settings.instance, settings.lease_ttl)
        .await?;
    if lease.is_none() {
        validated.clear();
        return Ok(BTreeMap::new());
    }
    platform
        .leases
        .beat(HeartbeatKind::Leader, &settings.instance, LEASE)
        .await?;
    let clusters = platform.read.enabled_clusters().await?;
    let (mut known, mut due) = (BTreeSet::new(), BTreeMap::new());
    for version in versions(&clusters) {
        let is_known = look_up::known(platform, version).await?.is_some();
        metrics::clusters::schema_fallback(version, !is_known);
        if is_known {
            known.insert(version);
        } else if !platform.schemas.rests(version, Asking::Loop, platform.now())
            && let Some(cluster) = source(platform, &clusters, version)
        {
            due.insert(version, cluster);
        }
    }
    catch_up(platform, known, validated).await?;
    Ok(due)
}

/// Another cluster at each attempt, if there are several.
fn source(platform: &Platform, clusters: &[ClusterRecord], version: MinorVersion) -> Option<ClusterRecord> {
    let mut sources = fetch::sources(clusters.to_vec(), version);
    let failures = usize::try_from(platform.schemas.failures(version, Asking::Loop)).unwrap_or(0);
    let index = failures.checked_rem(sources.len())?;
    Some(sources.swap_remove(index))
}

/// The catalogue is held against a version also when its schema was there before a cluster ran it, and once after the
/// lease was taken: a size that was made while a schema came may not have seen it.
async fn catch_up(
    platform: &Platform,
    known: BTreeSet<MinorVersion>,
    validated: &mut BTreeSet<MinorVersion>,
) -> Result<(), UseCaseError> {
    if platform.settings().schema.validate_on_version_change && !known.is_subset(validated) {
        revalidate::execute(platform).await?;
    }
    *validated = known;
    Ok(())
}

async fn update(platform: &Platform, version: MinorVersion, cluster: ClusterRecord) -> MinorVersion {
    match fetch::fetch(platform, version, &cluster).await {
        Ok(_) => tracing::info!(%version, cluster = %cluster.name, "the schema of a KubeVirt version is there"),
        Err(error) => {
            let retries = platform.settings().schema.fetch_retries;
            let failures = platform.schemas.failed(version, Asking::Loop, retries, platform.now());
            tracing::warn!(%version, cluster = %cluster.name, failures, error = &error as &dyn std::error::Error, "the schema of a KubeVirt version could not be fetched");
            if failures == retries.max(1)
                && let Err(error) = alert(platform, version, &cluster, failures, &error.to_string()).await
            {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "nobody could be told of a schema that is missing"
                );
            }
        }
    }
    version
}

/// Tells the administrators, once, until the schema is there or the loop begins anew.
async fn alert(
    platform: &Platform,
    version: MinorVersion,
    cluster: &ClusterRecord,
    failures: u32,
    error: &str,
) -> Result<(), UseCaseError> {
    let title = format!("The schema of KubeVirt {version} cannot be fetched");
    let message = format!(
        "Cluster {} was asked for it last and did not give it: {error}. The closest lower schema stands in.",
        cluster.name
    );
    let draft = NotificationDraft::new(NotificationType::SystemAlert, Severity::Warning, &title, &message)
        .about("cluster", cluster.id)
        .params(json!({
            "code": "SCHEMA_FETCH_FAILED",
            "kubevirt_version": version.to_string(),
            "cluster": cluster.name,
            "failures": failures,
            "error": error,
        }));
    let mut uow = platform.begin().await?;
    platform
        .notifications
        .send(uow.notifications(), Audience::PlatformAdmins, draft, platform.now())
        .await?;
    Ok(uow.commit().await?)
}
