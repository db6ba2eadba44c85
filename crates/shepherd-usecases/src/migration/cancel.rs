//! Somebody calls a migration off.
//!
//! A machine has one open ticket about migrations, and that is the migration's own. So calling it off is no ticket but
//! a work event on the row of the migration, which the migration's job sees and settles.

use serde_json::json;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::MigrationId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::migrations::MigrationRecord;

use crate::idempotency::{self, Answer};
use crate::vm::{Submitted, SubmittedStatus};
use crate::{Platform, UseCaseError};

/// Calls it off. A repetition finds the event of the first time.
///
/// # Errors
/// FORBIDDEN, MIGRATION_NOT_FOUND, INVALID_STATE_TRANSITION when it has ended.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: MigrationId,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    caller.require(Permission::VmMigrate)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let (migration, vm) = super::visible(platform, caller, Permission::VmMigrate, ResourceAction::Operate, id).await?;
    if let Some(known) = called_off(&migration)? {
        return Ok(Answer::fresh(known));
    }
    let ticket = platform.read.get_ticket(migration.ticket_id).await?;
    let ticket = ticket.ok_or(UseCaseError::Broken("a migration has no ticket"))?;
    let now = platform.now();
    let event = platform.ids.id();

    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    if !uow.migrations().call_off(id, event).await? {
        drop(uow);
        return lost_race(platform, id).await;
    }
    uow.events()
        .insert(NewEvent {
            id: event,
            event_type: EventType::VmMigrationCancelRequested,
            aggregate_type: AggregateType::Vm,
            aggregate_id: vm.id.to_string(),
            payload: json!({"schema": 1, "vm_id": vm.id, "vm_name": vm.name, "migration": {"id": id}}),
            status: EventStatus::Processing,
            causation_id: Some(ticket.event_id),
            environment: Some(vm.environment),
            created_by: caller.context.actor.clone(),
            at: now,
            trace_id: caller.context.request_id.clone(),
            trace_parent: None,
        })
        .await?;
    let entry = AuditEntry::new(AuditAction::VmMigrateCancelSubmitted, "vm", vm.id)
        .named(&vm.name)
        .ticket(ticket.id)
        .environment(vm.environment)
        .details(json!({"ticket_number": ticket.number, "migration_id": id}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    let submitted = Submitted {
        event_id: event,
        ticket_id: ticket.id,
        status: SubmittedStatus::Processing,
        warnings: Vec::new(),
    };
    idempotency::store(platform, &mut *uow, request, &submitted).await?;
    uow.commit().await?;
    Ok(Answer::fresh(submitted))
}

/// What an earlier call left, if there was one and the migration is still under way.
fn called_off(migration: &MigrationRecord) -> Result<Option<Submitted>, Problem> {
    if migration.phase.is_final() {
        return Err(super::has_ended(migration.phase));
    }
    Ok(migration.cancel_event_id.map(|event_id| Submitted {
        event_id,
        ticket_id: migration.ticket_id,
        status: SubmittedStatus::Processing,
        warnings: Vec::new(),
    }))
}

/// It ended, or somebody else called it off meanwhile.
async fn lost_race(platform: &Platform, id: MigrationId) -> Result<Answer<Submitted>, UseCaseError> {
    let found = platform.read.get_migration(id).await?;
    let migration = found.ok_or_else(|| Problem::not_found(ErrorCode::MigrationNotFound, id))?;
    match called_off(&migration)? {
        Some(known) => Ok(Answer::fresh(known)),
        None => Err(Problem::new(ErrorCode::ServiceBusy).into()),
    }
}
