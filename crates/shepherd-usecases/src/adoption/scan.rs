//! Looks through clusters for machines that could be adopted.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use shepherd_domain::adoption::Standing;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::infrastructure::ListedVm;
use shepherd_domain::vm::ObservedVm;
use shepherd_ports::adoptions::AdoptionCandidate;
use shepherd_ports::clusters::ClusterRecord;

use super::listing::{Pages, Step, standings};
use crate::{Platform, UseCaseError};

/// Clusters that are looked through at the same time.
const PARALLEL_CLUSTERS: usize = 4;

/// Scans the clusters that are due, or were asked for; answers how many machines could be adopted. A cluster that
/// fails is left to its next scan.
///
/// # Errors
/// When the store fails before any cluster was scanned.
pub async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    let mut uow = platform.begin().await?;
    let claimed = uow
        .adoptions()
        .claim_scans(seconds(platform.settings().adoption_interval))
        .await?;
    uow.commit().await?;
    let scans: Vec<_> = claimed
        .into_iter()
        .map(|(cluster, began)| scan(platform, cluster, began))
        .collect();
    let mut scans = stream::iter(scans).buffer_unordered(PARALLEL_CLUSTERS);
    let mut candidates = 0;
    while let Some(found) = scans.next().await {
        match found {
            Ok(found) => candidates += found,
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a cluster could not be scanned for machines to adopt"
            ),
        }
    }
    Ok(candidates)
}

/// Whole seconds, as the store counts intervals.
pub(crate) fn seconds(interval: Duration) -> i64 {
    i64::try_from(interval.as_secs()).unwrap_or(i64::MAX)
}

async fn scan(platform: &Platform, cluster: ClusterId, began: DateTime<Utc>) -> Result<u64, UseCaseError> {
    let Some(cluster) = platform.read.get_cluster(cluster).await? else {
        return Ok(0);
    };
    let mut pages = Pages::of(platform, cluster.id);
    let mut found = 0;
    loop {
        match pages.next().await {
            Ok(Some(Step::Page(machines))) => found += note(platform, &cluster, machines, began).await?,
            Ok(Some(Step::StartsOver)) => found = 0,
            Ok(None) => break,
            Err(error) => {
                // What was noted so far is true; nothing is known of the rest, so nothing expires.
                tracing::info!(cluster = %cluster.name, %error, "a scan for machines to adopt was broken off");
                return Ok(found);
            }
        }
    }
    let mut uow = platform.begin().await?;
    let expired = uow.adoptions().expire_unseen(cluster.id, began).await?;
    uow.commit().await?;
    tracing::debug!(cluster = %cluster.name, found, expired, "scanned for machines to adopt");
    Ok(found)
}

/// Keeps the candidates of a page; answers how many there are.
async fn note(
    platform: &Platform,
    cluster: &ClusterRecord,
    machines: Vec<ListedVm>,
    began: DateTime<Utc>,
) -> Result<u64, UseCaseError> {
    let standings = standings(platform, cluster, &machines).await?;
    let candidates: Vec<AdoptionCandidate> = machines
        .into_iter()
        .zip(standings)
        .filter_map(|(machine, standing)| candidate(platform, machine, standing))
        .collect();
    if candidates.is_empty() {
        return Ok(0);
    }
    let mut uow = platform.begin().await?;
    uow.adoptions().note_candidates(cluster.id, &candidates, began).await?;
    uow.commit().await?;
    Ok(u64::try_from(candidates.len()).unwrap_or(u64::MAX))
}

fn candidate(platform: &Platform, machine: ListedVm, standing: Standing) -> Option<AdoptionCandidate> {
    let claim = match standing {
        Standing::Candidate(claim) => claim,
        Standing::Foreign | Standing::Known | Standing::Orphan(_) => return None,
    };
    Some(AdoptionCandidate {
        id: platform.ids.id(),
        resource_spec: known_of(&machine.vm),
        namespace: machine.vm.namespace,
        resource_name: machine.vm.name,
        k8s_uid: machine.vm.uid,
        claim,
        labels: machine.labels,
    })
}

fn known_of(vm: &ObservedVm) -> Value {
    json!({
        "run_strategy": vm.run_strategy, "status": vm.condition.status(false), "vm_id": vm.vm_id,
        "event_id": vm.event_id, "created_at": vm.created_at,
    })
}
