//! START_VM, STOP_VM and RESTART_VM: the cluster is told what is wanted, and asked whether it is so.
//!
//! Each looks before it acts: a machine that is already as it should be is a success, and an action that an earlier
//! attempt asked for is not asked for again.

use async_trait::async_trait;
use chrono::TimeDelta;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::ticket::RequestType;
use shepherd_domain::transition::InvalidTransition;
use shepherd_domain::vm::{ObservedCondition, ObservedVm, VmStatus};
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::providers::ProviderError;

use super::operation::{Done, Operation, Work, named};
use super::patience::{Patience, has_waited};
use super::steps::{self, Step};
use super::{Failure, revalidate, target};
use crate::{Platform, UseCaseError};

const CODE: ErrorCode = ErrorCode::VmPowerFailed;
/// What a cluster lacks that does not serve it.
const CAPABILITY: &str = "power";
/// For how long jobs wait for the object to report that it runs (requests.md §7).
const RUN_WAIT: TimeDelta = TimeDelta::seconds(60);
/// The run strategy that starts a machine by itself; nobody has to ask again.
const ALWAYS: &str = "Always";
/// The run strategy of a machine that is to be off.
const HALTED: &str = "Halted";

/// Start, or going on after a pause.
pub(super) struct StartVm;

#[async_trait]
impl Operation for StartVm {
    named!(StartVm: VmStartRequested, VmStartCompleted, VmStartFailed; VmStartSubmitted, VmStart, VmStartFailed);

    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure> {
        let cluster = revalidate::cluster(platform, work.vm.cluster_id, work.ticket.environment).await?;
        let patience = Patience::new();
        let mut asked = false;
        loop {
            let seen = target::machine(platform, &work.vm, &cluster, CODE).await?;
            if runs(&seen) {
                return Ok(Done::default());
            }
            if !asked {
                asked = ask_to_run(platform, work, &cluster, &seen).await?;
            }
            match unless_late(platform, work, &cluster, &seen)? {
                Some(problem) => patience.pause(platform, problem).await?,
                None => return Ok(Done::default()),
            }
        }
    }
}

/// Stop. What follows is observed, however long the guest takes.
pub(super) struct StopVm;

#[async_trait]
impl Operation for StopVm {
    named!(StopVm: VmStopRequested, VmStopCompleted, VmStopFailed; VmStopSubmitted, VmStop, VmStopFailed);

    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure> {
        let cluster = revalidate::cluster(platform, work.vm.cluster_id, work.ticket.environment).await?;
        let seen = target::machine(platform, &work.vm, &cluster, CODE).await?;
        refuse_deleting(&seen, RequestType::StopVm)?;
        let is_off = is(&seen, VmStatus::Stopped) || is(&seen, VmStatus::Stopping);
        if !is_off && seen.run_strategy.as_deref() != Some(HALTED) {
            let told = platform
                .provider
                .stop_vm(cluster.id, &work.vm.namespace, &work.vm.name)
                .await;
            told.map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
        }
        steps::reach(platform, Step::StopAsked).await;
        // Nobody watches a disabled cluster, so nobody would take the row on to STOPPED.
        if cluster.enabled {
            show_stopping(platform, work).await?;
        }
        Ok(Done::default())
    }
}

/// Restart: the instance that runs at the first attempt is replaced, once.
pub(super) struct RestartVm;

#[async_trait]
impl Operation for RestartVm {
    named!(RestartVm: VmRestartRequested, VmRestartCompleted, VmRestartFailed; VmRestartSubmitted, VmRestart, VmRestartFailed);

    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure> {
        let cluster = revalidate::cluster(platform, work.vm.cluster_id, work.ticket.environment).await?;
        let seen = target::machine(platform, &work.vm, &cluster, CODE).await?;
        let guarded = guard(platform, work, seen.vmi_uid.as_deref()).await?;
        let Some(replaced) = guarded else {
            // It has never run since this was asked for.
            return Err(not_allowed(&seen, RequestType::RestartVm).into());
        };
        steps::reach(platform, Step::RestartGuarded).await;
        replace(platform, work, &cluster, &replaced).await
    }
}

fn is(seen: &ObservedVm, status: VmStatus) -> bool {
    seen.condition == ObservedCondition::Is(status)
}

fn runs(seen: &ObservedVm) -> bool {
    is(seen, VmStatus::Running) || is(seen, VmStatus::Migrating)
}

/// Tells a stopped machine to start and a paused one to go on; answers whether it was told. One that is still shutting
/// down is told once it is off, one that is on its way needs no telling.
async fn ask_to_run(
    platform: &Platform,
    work: &Work,
    cluster: &ClusterRecord,
    seen: &ObservedVm,
) -> Result<bool, Failure> {
    refuse_deleting(seen, RequestType::StartVm)?;
    let (namespace, name) = (&work.vm.namespace, &work.vm.name);
    let told = if is(seen, VmStatus::Paused) {
        platform.provider.unpause_vm(cluster.id, namespace, name).await
    } else if is(seen, VmStatus::Stopped) && seen.run_strategy.as_deref() != Some(ALWAYS) {
        platform.provider.start_vm(cluster.id, namespace, name).await
    } else {
        return Ok(false);
    };
    tolerate(told, CODE, cluster)?;
    steps::reach(platform, Step::StartAsked).await;
    Ok(true)
}

/// An action that is under way already is refused by the cluster; what it leads to is waited for all the same.
pub(super) fn tolerate(
    told: Result<(), ProviderError>,
    code: ErrorCode,
    cluster: &ClusterRecord,
) -> Result<(), Failure> {
    match told {
        Err(error) if target::is_under_way(&error) => {
            tracing::info!(%error, "the cluster is at it already");
            Ok(())
        }
        told => told.map_err(|error| Failure::of_action(code, CAPABILITY, &cluster.name, &error)),
    }
}

/// What is waited for, or `None` when the machine is on its way and has had its time: it is started, and what becomes
/// of it is observed.
fn unless_late(
    platform: &Platform,
    work: &Work,
    cluster: &ClusterRecord,
    seen: &ObservedVm,
) -> Result<Option<Problem>, Failure> {
    let problem = target::failed(CODE, cluster, "NotRunning");
    if !has_waited(platform, work, &problem, RUN_WAIT) {
        return Ok(Some(problem));
    }
    if seen.condition == ObservedCondition::Waiting {
        return Ok(None);
    }
    let reason = seen.reason.as_deref().unwrap_or("NotRunning");
    let problem = target::failed(CODE, cluster, reason);
    Err(Failure::Permanent(problem, seen.message.clone().unwrap_or_default()))
}

/// The row says STOPPING at once, unless it has moved on; then the projection knows better. A row that still says
/// RUNNING of a machine that is off already is behind, and the projection is on its way.
async fn show_stopping(platform: &Platform, work: &Work) -> Result<(), UseCaseError> {
    let mut uow = platform.begin().await?;
    let Some(vm) = uow.vms().find(work.vm.id).await? else {
        return Ok(());
    };
    if let Ok(step) = vm.status.stop() {
        uow.vms().transition(vm.id, step, None, None).await?;
        uow.commit().await?;
    }
    Ok(())
}

/// Notes the instance that is to be replaced before anything is asked for; a later attempt finds the first one's.
async fn guard(platform: &Platform, work: &Work, instance: Option<&str>) -> Result<Option<String>, UseCaseError> {
    let mut uow = platform.begin().await?;
    let guarded = uow.tickets().guard_restart(work.ticket.id, instance).await?;
    uow.commit().await?;
    Ok(guarded)
}

/// Asks for the restart while the old instance runs, and waits until another one does.
async fn replace(platform: &Platform, work: &Work, cluster: &ClusterRecord, old: &str) -> Result<Done, Failure> {
    let patience = Patience::new();
    let mut asked = false;
    loop {
        let seen = target::machine(platform, &work.vm, cluster, CODE).await?;
        refuse_deleting(&seen, RequestType::RestartVm)?;
        let another = seen.vmi_uid.as_deref().is_some_and(|instance| instance != old);
        if another && runs(&seen) {
            return Ok(Done::default());
        }
        if !asked && seen.vmi_uid.as_deref() == Some(old) && is(&seen, VmStatus::Running) {
            let told = platform
                .provider
                .restart_vm(cluster.id, &work.vm.namespace, &work.vm.name)
                .await;
            tolerate(told, CODE, cluster)?;
            asked = true;
            steps::reach(platform, Step::RestartAsked).await;
        }
        match unless_late(platform, work, cluster, &seen)? {
            Some(problem) => patience.pause(platform, problem).await?,
            None if another => return Ok(Done::default()),
            None => {
                let problem = target::failed(CODE, cluster, "NotReplaced");
                return Err(Failure::Permanent(
                    problem,
                    "the old instance is still there".to_owned(),
                ));
            }
        }
    }
}

fn refuse_deleting(seen: &ObservedVm, request: RequestType) -> Result<(), UseCaseError> {
    if is(seen, VmStatus::Deleting) {
        Err(not_allowed(seen, request))
    } else {
        Ok(())
    }
}

/// INVALID_STATE_TRANSITION about what the cluster says.
pub(super) fn not_allowed(seen: &ObservedVm, request: RequestType) -> UseCaseError {
    UseCaseError::invalid_transition(
        "vm",
        &InvalidTransition {
            from: seen.condition.status(true),
            operation: request.operation_type(),
            allowed: VmStatus::admitted(request),
        },
    )
}
