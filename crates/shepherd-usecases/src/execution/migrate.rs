//! MIGRATE_VM: a running machine moves to another node, or is called off.
//!
//! Whoever calls a migration off leaves a work event on its row; the job of the migration sees it at its next look,
//! deletes the object and settles both. A migration that was called off has FAILED with the reason `Cancelled`; one
//! that succeeded all the same has COMPLETED, and the event of calling it off FAILED.

use async_trait::async_trait;
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::infrastructure::{Migration, MigrationPhase};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::spec::{MigrationTarget, OperationPayload};
use shepherd_domain::ticket::RequestType;
use shepherd_domain::vm::{ObservedCondition, VmStatus};
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::events::NewEvent;
use shepherd_ports::migrations::{MigrationRecord, NewMigration};
use shepherd_ports::providers::MigrationRequest;
use shepherd_ports::tickets::TicketRecord;

use super::claim::worker;
use super::operation::{Done, Operation, Placed, Work, named, required};
use super::patience::Patience;
use super::power::not_allowed;
use super::snapshot::{payload_of, reason_of};
use super::steps::{self, Step};
use super::{Failure, existing, revalidate, target};
use crate::{Platform, UseCaseError};

const CODE: ErrorCode = ErrorCode::VmMigrationFailed;
/// What a cluster lacks that does not serve it.
const CAPABILITY: &str = "migrations";
/// `reason` of a migration that was called off.
const CANCELLED: &str = "Cancelled";

/// The operation.
pub(super) struct MigrateVm;

#[async_trait]
impl Operation for MigrateVm {
    named!(MigrateVm: VmMigrationRequested, VmMigrationCompleted, VmMigrationFailed; VmMigrateSubmitted, VmMigrate, VmMigrateFailed);

    fn settles(&self) -> &'static [EventType] {
        &[EventType::VmMigrationCancelRequested]
    }

    async fn effects(
        &self,
        uow: &mut dyn UnitOfWork,
        ticket: &TicketRecord,
        placed: &Placed,
    ) -> Result<(), UseCaseError> {
        let migration = NewMigration {
            id: target_of(existing::asked_for(placed)?)?.id,
            vm_id: placed.vm_id,
            k8s_name: target::object_name("migration", ticket.id),
            ticket_id: ticket.id,
            created_by: ticket.requester_id.clone(),
        };
        Ok(uow.migrations().insert(&migration).await?)
    }

    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure> {
        let cluster = revalidate::cluster(platform, work.vm.cluster_id, work.ticket.environment).await?;
        let payload = payload_of(work)?;
        let id = target_of(&payload)?.id;
        let patience = Patience::new();
        let mut called_off = false;
        loop {
            let Some(record) = platform.read.get_migration(id).await? else {
                return Err(Failure::TargetGone);
            };
            let seen = look(platform, work, &cluster, &record).await?;
            match next(&record, seen.as_ref()) {
                Next::Done => return Ok(Done::default()),
                Next::Ask => ask(platform, work, &cluster, &record).await?,
                Next::CallOff if called_off => {}
                Next::CallOff => {
                    call_off(platform, work, &cluster, &record).await?;
                    called_off = true;
                }
                Next::Wait => {}
                Next::Failed(why) => return Err(target::refused(CODE, &cluster, &why)),
                Next::Cancelled => return Err(cancelled(platform, &cluster, &record).await?),
                Next::Gone => {
                    if has_moved(platform, work, &cluster, &record).await? {
                        return Ok(Done::default());
                    }
                    if record.cancel_event_id.is_some() {
                        return Err(cancelled(platform, &cluster, &record).await?);
                    }
                    let problem = target::failed(CODE, &cluster, "ObjectMissing");
                    return Err(Failure::Permanent(
                        problem,
                        "somebody else deleted the migration".to_owned(),
                    ));
                }
            }
            patience
                .pause(platform, target::failed(CODE, &cluster, "NotSucceeded"))
                .await?;
        }
    }

    async fn succeed(
        &self,
        platform: &Platform,
        uow: &mut dyn UnitOfWork,
        work: &Work,
        _done: &Done,
    ) -> Result<(), UseCaseError> {
        settle(platform, uow, work, MigrationPhase::Succeeded, None).await
    }

    async fn give_up(
        &self,
        platform: &Platform,
        uow: &mut dyn UnitOfWork,
        work: &Work,
        problem: &Problem,
    ) -> Result<(), UseCaseError> {
        let why = reason_of(problem);
        settle(platform, uow, work, MigrationPhase::Failed, Some(&why)).await
    }
}

fn target_of(payload: &OperationPayload) -> Result<&MigrationTarget, UseCaseError> {
    required(
        payload.migration.as_ref(),
        "a request for a migration does not say which",
    )
}

/// What a look at a migration leads to.
enum Next {
    /// It runs on the other node.
    Done,
    /// It has to be asked for.
    Ask,
    /// It has to be called off.
    CallOff,
    /// It is under way.
    Wait,
    /// The cluster gave up, and why.
    Failed(String),
    /// It was called off, and nothing has moved.
    Cancelled,
    /// Its object was there and is not any more.
    Gone,
}

fn next(record: &MigrationRecord, seen: Option<&Migration>) -> Next {
    match record.phase {
        MigrationPhase::Succeeded => return Next::Done,
        MigrationPhase::Cancelled => return Next::Cancelled,
        MigrationPhase::Pending | MigrationPhase::Running | MigrationPhase::Failed => {}
    }
    let called_off = record.cancel_event_id.is_some();
    let Some(seen) = seen else {
        return match (&record.k8s_uid, called_off) {
            (Some(_), _) => Next::Gone,
            (None, true) => Next::Cancelled,
            (None, false) => Next::Ask,
        };
    };
    match seen.phase {
        MigrationPhase::Succeeded => Next::Done,
        // Being called off is not yet having stayed: what has moved is known once the object is gone.
        MigrationPhase::Cancelled if called_off => Next::CallOff,
        MigrationPhase::Cancelled => Next::Cancelled,
        MigrationPhase::Failed if called_off => Next::Cancelled,
        MigrationPhase::Failed => Next::Failed(seen.error.clone().unwrap_or_else(|| "Failed".to_owned())),
        MigrationPhase::Pending | MigrationPhase::Running if called_off => Next::CallOff,
        MigrationPhase::Pending | MigrationPhase::Running => Next::Wait,
    }
}

/// Looks at the object and lets the row follow it; how it ends without success is written with the reason, later.
async fn look(
    platform: &Platform,
    work: &Work,
    cluster: &ClusterRecord,
    record: &MigrationRecord,
) -> Result<Option<Migration>, Failure> {
    let seen = platform
        .migrations
        .get_vm_migration(cluster.id, &work.vm.namespace, &record.k8s_name)
        .await
        .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
    match &seen {
        Some(seen) if !seen.phase.is_final() || seen.phase == MigrationPhase::Succeeded => {
            observe(platform, record, seen).await?;
        }
        // Its nodes tell later whether the machine has moved all the same.
        Some(seen) if seen.phase == MigrationPhase::Cancelled && record.cancel_event_id.is_some() => {
            let under_way = Migration {
                phase: MigrationPhase::Running,
                ..seen.clone()
            };
            observe(platform, record, &under_way).await?;
        }
        Some(_) | None => {}
    }
    Ok(seen)
}

async fn observe(platform: &Platform, record: &MigrationRecord, seen: &Migration) -> Result<(), UseCaseError> {
    let mut uow = platform.begin().await?;
    uow.migrations().observe(record.id, seen).await?;
    Ok(uow.commit().await?)
}

async fn ask(
    platform: &Platform,
    work: &Work,
    cluster: &ClusterRecord,
    record: &MigrationRecord,
) -> Result<(), Failure> {
    let found = target::machine(platform, &work.vm, cluster, CODE).await?;
    if found.condition != ObservedCondition::Is(VmStatus::Running) {
        return Err(not_allowed(&found, RequestType::MigrateVm).into());
    }
    let request = MigrationRequest {
        namespace: work.vm.namespace.clone(),
        name: record.k8s_name.clone(),
        vm: work.vm.name.clone(),
        marks: target::object_marks(work, &work.vm),
    };
    let asked = platform
        .migrations
        .migrate_vm(cluster.id, &request)
        .await
        .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
    steps::reach(platform, Step::MigrationAsked).await;
    if !asked.phase.is_final() {
        observe(platform, record, &asked).await?;
    }
    steps::reach(platform, Step::MigrationNoted).await;
    Ok(())
}

async fn call_off(
    platform: &Platform,
    work: &Work,
    cluster: &ClusterRecord,
    record: &MigrationRecord,
) -> Result<(), Failure> {
    platform
        .migrations
        .cancel_migration(cluster.id, &work.vm.namespace, &record.k8s_name)
        .await
        .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
    steps::reach(platform, Step::MigrationCalledOff).await;
    Ok(())
}

/// The row says so before the ticket ends, and the end of the ticket looks at the row.
async fn cancelled(
    platform: &Platform,
    cluster: &ClusterRecord,
    record: &MigrationRecord,
) -> Result<Failure, UseCaseError> {
    let mut uow = platform.begin().await?;
    uow.migrations()
        .settle(record.id, MigrationPhase::Cancelled, None)
        .await?;
    uow.commit().await?;
    steps::reach(platform, Step::MigrationCancelled).await;
    let problem = target::failed(CODE, cluster, CANCELLED);
    Ok(Failure::Permanent(problem, "the migration was called off".to_owned()))
}

/// A migration that ended just before its object went may have succeeded.
async fn has_moved(
    platform: &Platform,
    work: &Work,
    cluster: &ClusterRecord,
    record: &MigrationRecord,
) -> Result<bool, Failure> {
    if record.target_node.is_none() {
        return Ok(false);
    }
    let found = target::machine(platform, &work.vm, cluster, CODE).await?;
    Ok(found.node == record.target_node)
}

/// Ends the row, and whatever asked for its end.
async fn settle(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    work: &Work,
    phase: MigrationPhase,
    why: Option<&str>,
) -> Result<(), UseCaseError> {
    let payload = payload_of(work)?;
    let id = target_of(&payload)?.id;
    let Some(record) = uow.migrations().hold(id).await? else {
        return Ok(());
    };
    uow.migrations().settle(id, phase, why).await?;
    let ended = if record.phase.is_final() { record.phase } else { phase };
    settle_cancellation(platform, uow, work, &record, ended).await
}

async fn settle_cancellation(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    work: &Work,
    record: &MigrationRecord,
    ended: MigrationPhase,
) -> Result<(), UseCaseError> {
    let Some(event) = record.cancel_event_id else {
        return Ok(());
    };
    let now = platform.now();
    let fulfilled = ended == MigrationPhase::Cancelled;
    let problem = (!fulfilled).then(|| crate::migration::has_ended(ended));
    let step = if fulfilled {
        EventStatus::Processing.complete()
    } else {
        EventStatus::Processing.fail()
    };
    let step = step.map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    uow.events().transition(event, step, problem.as_ref(), now).await?;
    let (fact, action) = if fulfilled {
        (EventType::VmMigrationCancelCompleted, AuditAction::VmMigrateCancel)
    } else {
        (EventType::VmMigrationCancelFailed, AuditAction::VmMigrateCancelFailed)
    };
    let details = json!({"ticket_number": work.ticket.number, "migration_id": record.id, "phase": ended});
    uow.events()
        .insert(NewEvent {
            id: platform.ids.id(),
            event_type: fact,
            aggregate_type: AggregateType::Vm,
            aggregate_id: work.vm.id.to_string(),
            payload: details.clone(),
            status: EventStatus::Completed,
            causation_id: Some(event),
            environment: Some(work.ticket.environment),
            created_by: worker().actor,
            at: now,
            trace_id: work.event.trace_id.clone(),
            trace_parent: None,
        })
        .await?;
    let mut entry = AuditEntry::new(action, "vm", work.vm.id)
        .named(&work.vm.name)
        .ticket(work.ticket.id)
        .environment(work.ticket.environment)
        .details(details);
    if !fulfilled {
        entry = entry.failed();
    }
    Ok(platform.audit(uow, &worker(), now, [entry]).await?)
}
