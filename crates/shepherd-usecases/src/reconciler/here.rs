//! A run in this very process, without the queue: what `shepherd reconcile` does.

use shepherd_domain::ActorId;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::page::PageRequest;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::reconciler::{FindingKind, ReconcilerMode};
use shepherd_ports::RequestContext;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::reconciler::{FindingRecord, NewRun, RunRecord, RunStart};

use super::{start, work};
use crate::{Platform, UseCaseError};

/// Component that begins these runs.
const COMPONENT: &str = "cli";

/// A run that ended, and all it found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The run.
    pub run: RunRecord,
    /// Rows without object.
    pub ghosts: Vec<FindingRecord>,
    /// Objects without row.
    pub orphans: Vec<FindingRecord>,
    /// The clusters it was about.
    pub clusters: Vec<ClusterRecord>,
}

/// Compares one enabled cluster or all of them and marks nothing. The run is recorded like every other one.
///
/// # Errors
/// CLUSTER_NOT_FOUND, RECONCILER_ALREADY_RUNNING{run_id}.
pub async fn execute(platform: &Platform, cluster: Option<&str>) -> Result<Report, UseCaseError> {
    let mut clusters = platform.read.enabled_clusters().await?;
    if let Some(name) = cluster {
        clusters.retain(|cluster| cluster.name == name);
    }
    let only = match (cluster, clusters.first()) {
        (None, _) => None,
        (Some(_), Some(found)) => Some(found),
        (Some(name), None) => return Err(Problem::not_found(ErrorCode::ClusterNotFound, name).into()),
    };
    let new = NewRun {
        id: platform.ids.id(),
        mode: ReconcilerMode::DryRun,
        cluster: only.map(|cluster| cluster.id),
        started_by: ActorId::system(COMPONENT),
        claimed: true,
    };
    let mut uow = platform.begin().await?;
    if let RunStart::Excluded(other) = uow.reconciler().start(&new).await? {
        return Err(start::already_running(other).into());
    }
    let context = RequestContext::system(COMPONENT);
    let entry = start::recorded(&new, only);
    platform.audit(&mut *uow, &context, platform.now(), [entry]).await?;
    uow.commit().await?;
    work::carry_out(platform, stored(platform, &new).await?).await;
    Ok(Report {
        run: stored(platform, &new).await?,
        ghosts: findings(platform, &new, FindingKind::Ghost).await?,
        orphans: findings(platform, &new, FindingKind::Orphan).await?,
        clusters,
    })
}

async fn stored(platform: &Platform, run: &NewRun) -> Result<RunRecord, UseCaseError> {
    let found = platform.read.get_run(EnvironmentSet::ALL, run.id).await?;
    found.ok_or(UseCaseError::Broken("a run of the reconciler is not there"))
}

async fn findings(platform: &Platform, run: &NewRun, kind: FindingKind) -> Result<Vec<FindingRecord>, UseCaseError> {
    let mut all = Vec::new();
    for number in 1..=PageRequest::MAX_PAGE {
        let Some(request) = PageRequest::of_export(number, PageRequest::MAX_EXPORT_PER_PAGE) else {
            break;
        };
        let page = platform.read.list_findings(run.id, kind, request).await?;
        let last = page.items.len() < usize::try_from(request.per_page()).unwrap_or(usize::MAX);
        all.extend(page.items);
        if last {
            break;
        }
    }
    Ok(all)
}
