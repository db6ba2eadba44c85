//! A worker carries out runs.

use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, stream};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::ReconcilerRunId;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::reconciler::{RunStatus, SkipReason};
use shepherd_ports::RequestContext;
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::reconciler::{RunRecord, Skipped};

use super::compare::{self, Compared, Comparison};
use super::start::{self, COMPONENT};
use crate::{Platform, UseCaseError};

/// Clusters of one run that are compared at the same time.
const PARALLEL_CLUSTERS: usize = 4;
/// Between two signs of life of a run.
const BEAT: Duration = Duration::from_secs(10);
/// Between two looks for runs that began meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// Begins a scheduled run when it is time, and carries out every run that nobody works on, those too that begin
/// meanwhile; answers how many.
///
/// # Errors
/// When the store fails before any run was taken.
pub async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    start::scheduled(platform).await?;
    let mut running = FuturesUnordered::new();
    let mut done = 0;
    loop {
        match claim(platform).await {
            Ok(claimed) => running.extend(claimed.into_iter().map(|run| carry_out(platform, run))),
            Err(error) if running.is_empty() => return Err(error),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "runs of the reconciler could not be taken"
            ),
        }
        tokio::select! {
            ended = running.next() => match ended {
                Some(_) => done += 1,
                None => return Ok(done),
            },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn claim(platform: &Platform) -> Result<Vec<RunRecord>, UseCaseError> {
    let mut uow = platform.begin().await?;
    let claimed = uow.reconciler().claim().await?;
    uow.commit().await?;
    Ok(claimed)
}

/// Compares the clusters of a run and ends it; `None` when it was taken for dead meanwhile, or could not be ended.
pub(super) async fn carry_out(platform: &Platform, run: RunRecord) -> Option<RunStatus> {
    let compared = tokio::select! {
        compared = compare_all(platform, &run) => compared,
        () = beat(platform, run.id) => {
            tracing::warn!(run = %run.id, "a run of the reconciler was taken for dead");
            return None;
        }
    };
    let error = compared.err().map(|error| {
        tracing::error!(run = %run.id, error = &error as &dyn std::error::Error, "a run of the reconciler failed");
        error.to_string()
    });
    match finish(platform, run.id, error.as_deref()).await {
        Ok(status) => {
            tracing::info!(run = %run.id, mode = %run.mode, ?status, "a run of the reconciler ended");
            status
        }
        Err(error) => {
            tracing::error!(run = %run.id, error = &error as &dyn std::error::Error, "the end of a run could not be kept");
            None
        }
    }
}

async fn finish(
    platform: &Platform,
    run: ReconcilerRunId,
    error: Option<&str>,
) -> Result<Option<RunStatus>, UseCaseError> {
    let mut uow = platform.begin().await?;
    let status = uow.reconciler().finish(run, error, platform.now()).await?;
    uow.commit().await?;
    Ok(status)
}

/// Says that the run is alive; ends when it is not RUNNING any more.
async fn beat(platform: &Platform, run: ReconcilerRunId) {
    loop {
        tokio::time::sleep(BEAT).await;
        let said = async {
            let mut uow = platform.begin().await?;
            let running = uow.reconciler().beat(run).await?;
            uow.commit().await?;
            Ok::<_, UseCaseError>(running)
        };
        match said.await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::warn!(
                %run,
                error = &error as &dyn std::error::Error,
                "a run of the reconciler could not say that it is alive"
            ),
        }
    }
}

async fn compare_all(platform: &Platform, run: &RunRecord) -> Result<(), UseCaseError> {
    let clusters = match run.cluster_id {
        None => platform.read.enabled_clusters().await?,
        Some(id) => match platform.read.get_cluster(id).await? {
            Some(cluster) => vec![cluster],
            None => {
                let gone = Skipped {
                    cluster_id: id,
                    cluster: String::new(),
                    reason: SkipReason::Gone,
                };
                return skip(platform, run, &gone).await;
            }
        },
    };
    let comparisons: Vec<_> = clusters
        .into_iter()
        .map(|cluster| compare_one(platform, run, cluster))
        .collect();
    let mut comparisons = stream::iter(comparisons).buffer_unordered(PARALLEL_CLUSTERS);
    // One cluster that cannot be kept keeps no other from being compared.
    let mut outcome = Ok(());
    while let Some(compared) = comparisons.next().await {
        if compared.is_err() {
            outcome = compared;
        }
    }
    outcome
}

async fn compare_one(platform: &Platform, run: &RunRecord, cluster: ClusterRecord) -> Result<(), UseCaseError> {
    match compare::cluster(platform, &cluster).await? {
        Compared::Skipped(reason) => {
            let skipped = Skipped {
                cluster_id: cluster.id,
                cluster: cluster.name,
                reason,
            };
            skip(platform, run, &skipped).await
        }
        Compared::Done(comparison) => keep(platform, run, &cluster, &comparison).await,
    }
}

async fn skip(platform: &Platform, run: &RunRecord, skipped: &Skipped) -> Result<(), UseCaseError> {
    tracing::info!(run = %run.id, cluster = %skipped.cluster, reason = %skipped.reason, "a cluster was not compared");
    let mut uow = platform.begin().await?;
    uow.reconciler().skip(run.id, skipped).await?;
    Ok(uow.commit().await?)
}

async fn keep(
    platform: &Platform,
    run: &RunRecord,
    cluster: &ClusterRecord,
    comparison: &Comparison,
) -> Result<(), UseCaseError> {
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if !uow
        .reconciler()
        .record(run.id, run.mode, &comparison.findings, now)
        .await?
    {
        return Ok(());
    }
    if comparison.findings.halted {
        halt(platform, &mut *uow, run, cluster, comparison).await?;
    }
    Ok(uow.commit().await?)
}

/// Too many rows are missing to believe it: administrators are told, and it is recorded.
async fn halt(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    run: &RunRecord,
    cluster: &ClusterRecord,
    comparison: &Comparison,
) -> Result<(), UseCaseError> {
    let now = platform.now();
    let (examined, missing) = (comparison.findings.examined, comparison.missing);
    let ratio = platform.settings().reconciler.halt_ratio;
    let details = json!({
        "code": "RECONCILER_HALTED", "run_id": run.id, "cluster": cluster.name, "examined": examined,
        "missing": missing, "halt_ratio": ratio,
    });
    tracing::warn!(run = %run.id, cluster = %cluster.name, examined, missing, "the reconciler halted at a cluster");
    let entry = AuditEntry::new(AuditAction::ReconcilerHalt, "cluster", cluster.id)
        .named(&cluster.name)
        .environment(cluster.environment)
        .parent("reconciler_run", run.id)
        .details(details.clone());
    let context = RequestContext::system(COMPONENT);
    platform.audit(uow, &context, now, [entry]).await?;
    let title = format!("The reconciler halted at cluster {}", cluster.name);
    let message = format!(
        "{missing} of {examined} machines are not in the list of cluster {}. Nothing was marked; look at the cluster.",
        cluster.name
    );
    let draft = NotificationDraft::new(NotificationType::SystemAlert, Severity::Urgent, &title, &message)
        .about("cluster", cluster.id)
        .params(details);
    Ok(platform
        .notifications
        .send(uow.notifications(), Audience::PlatformAdmins, draft, now)
        .await?)
}
