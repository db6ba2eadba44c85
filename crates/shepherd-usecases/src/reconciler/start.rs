//! A run begins: asked for by an administrator, or because it is time.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::{ClusterId, ReconcilerRunId};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::reconciler::ReconcilerMode;
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::RequestContext;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::reconciler::{NewRun, RunStart};

use crate::adoption::scan::seconds;
use crate::authorization::{Guarded, require_in};
use crate::idempotency::{self, Answer};
use crate::upkeep::PeriodicJob;
use crate::{Platform, UseCaseError};

/// Component that begins scheduled runs.
pub(super) const COMPONENT: &str = "reconciler";

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct StartRun {
    /// What it does about what it finds.
    pub mode: ReconcilerMode,
    /// One cluster, or all that are enabled.
    pub cluster: Option<ClusterId>,
}

/// Begins a run and leaves it to a worker. A run of all clusters asks for the permission in both environments.
///
/// # Errors
/// FORBIDDEN, CLUSTER_NOT_FOUND, RECONCILER_ALREADY_RUNNING{run_id}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: StartRun,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<ReconcilerRunId>, UseCaseError> {
    caller.require(Permission::ReconcilerManage)?;
    let cluster = admitted(platform, caller, command.cluster).await?;
    let run = NewRun {
        id: platform.ids.id(),
        mode: command.mode,
        cluster: command.cluster,
        started_by: caller.context.actor.clone(),
        claimed: false,
    };
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    if let RunStart::Excluded(other) = uow.reconciler().start(&run).await? {
        return Err(already_running(other).into());
    }
    uow.jobs()
        .enqueue_periodic(PeriodicJob::ReconcilerRuns.as_str())
        .await?;
    let entry = recorded(&run, cluster.as_ref());
    platform
        .audit(&mut *uow, &caller.context, platform.now(), [entry])
        .await?;
    idempotency::store(platform, &mut *uow, request, &run.id).await?;
    uow.commit().await?;
    Ok(Answer::fresh(run.id))
}

async fn admitted(
    platform: &Platform,
    caller: &Caller,
    cluster: Option<ClusterId>,
) -> Result<Option<ClusterRecord>, UseCaseError> {
    let permission = Permission::ReconcilerManage;
    let Some(id) = cluster else {
        let lacking = Environment::ALL
            .into_iter()
            .find(|environment| !caller.subject.holds(permission, None, Some(*environment)));
        return match lacking {
            None => Ok(None),
            Some(environment) => Err(Problem::new(ErrorCode::Forbidden)
                .with("required_permission", permission.as_str())
                .with("environment", environment.as_str())
                .into()),
        };
    };
    let object = Guarded {
        not_found: ErrorCode::ClusterNotFound,
        id: &id,
        read: Permission::ClusterRead,
    };
    let cluster = platform
        .read
        .get_cluster(id)
        .await?
        .ok_or_else(|| Problem::not_found(object.not_found, id))?;
    require_in(caller, permission, cluster.environment, object)?;
    Ok(Some(cluster))
}

/// RECONCILER_ALREADY_RUNNING.
pub(super) fn already_running(run: ReconcilerRunId) -> Problem {
    Problem::new(ErrorCode::ReconcilerAlreadyRunning).with("run_id", run.to_string())
}

/// The audit row of a run that begins.
pub(super) fn recorded(run: &NewRun, cluster: Option<&ClusterRecord>) -> AuditEntry {
    let entry = AuditEntry::new(AuditAction::ReconcilerRun, "reconciler_run", run.id)
        .details(json!({"mode": run.mode, "cluster_id": run.cluster, "cluster": cluster.map(|cluster| &cluster.name)}));
    match cluster {
        Some(cluster) => entry.environment(cluster.environment),
        None => entry,
    }
}

/// Begins a run of all clusters once `reconciler.interval` has passed since the last scheduled one, unless another run
/// is under way; the next look finds it due again.
///
/// # Errors
/// When the store fails.
pub(super) async fn scheduled(platform: &Platform) -> Result<(), UseCaseError> {
    let settings = platform.settings().reconciler.clone();
    let run = NewRun {
        id: platform.ids.id(),
        mode: if settings.mark {
            ReconcilerMode::Mark
        } else {
            ReconcilerMode::DryRun
        },
        cluster: None,
        started_by: ActorId::system(COMPONENT),
        claimed: false,
    };
    let mut uow = platform.begin().await?;
    if !uow.reconciler().start_if_due(&run, seconds(settings.interval)).await? {
        // Runs that were found dead are FAILED all the same.
        return Ok(uow.commit().await?);
    }
    let context = RequestContext::system(COMPONENT);
    platform
        .audit(&mut *uow, &context, platform.now(), [recorded(&run, None)])
        .await?;
    Ok(uow.commit().await?)
}
