//! VNC_ACCESS as a ticket: an approval gives a grant at once, and no cluster is asked.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use shepherd_domain::ActorId;
use shepherd_domain::audit::AuditAction;
use shepherd_domain::event::{EventStatus, EventType};
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_domain::spec::OperationPayload;
use shepherd_domain::ticket::{ActorKind, RequestType, TicketStatus};
use shepherd_domain::transition::{InvalidTransition, Transition};
use shepherd_domain::vm::VmStatus;
use shepherd_ports::tickets::{NewStep, TicketRecord};
use shepherd_ports::vms::VmRecord;
use shepherd_ports::{RequestContext, UnitOfWork};

use super::grants::{self, Granting};
use crate::approval::approve::Choice;
use crate::execution::{Done, Failure, Operation, Placed, Work};
use crate::{Platform, UseCaseError};

/// The states in which an approval is accepted. A machine that does not run now may run while the grant lasts, and no
/// token is issued before it does; one that is on its way out will not.
const APPROVABLE: &[VmStatus] = &[
    VmStatus::Creating,
    VmStatus::Pending,
    VmStatus::Running,
    VmStatus::Stopping,
    VmStatus::Stopped,
    VmStatus::Paused,
    VmStatus::Migrating,
    VmStatus::Failed,
    VmStatus::Unknown,
];

/// Somebody may open the console of a machine for a while.
pub(crate) struct VncAccess;

#[async_trait]
impl Operation for VncAccess {
    fn request_type(&self) -> RequestType {
        RequestType::VncAccess
    }

    fn requested(&self) -> EventType {
        EventType::VncAccessRequested
    }

    fn facts(&self) -> (EventType, EventType) {
        (EventType::VncAccessGranted, EventType::VncAccessDenied)
    }

    fn submission_audit(&self) -> AuditAction {
        AuditAction::VncRequestSubmitted
    }

    fn audits(&self) -> (AuditAction, AuditAction) {
        (AuditAction::VncAccess, AuditAction::VncAccessDenied)
    }

    async fn place(
        &self,
        platform: &Platform,
        _ticket: &TicketRecord,
        payload: &Value,
        choice: &Choice,
    ) -> Result<Placed, UseCaseError> {
        let wanted: OperationPayload =
            serde_json::from_value(payload.clone()).map_err(|source| UseCaseError::Stored {
                what: "payload",
                source,
            })?;
        let found = platform.read.get_vm(wanted.vm_id).await?;
        let vm = found.ok_or_else(|| Problem::not_found(ErrorCode::VmNotFound, wanted.vm_id))?;
        if choice.cluster.is_some_and(|cluster| cluster != vm.cluster_id) {
            return Err(Problem::invalid_field("selected_cluster_id", FieldCode::UnknownValue).into());
        }
        admit(&vm)?;
        Ok(placed(&vm, wanted))
    }

    async fn recheck(
        &self,
        uow: &mut dyn UnitOfWork,
        _ticket: &TicketRecord,
        placed: &Placed,
    ) -> Result<(), UseCaseError> {
        let found = uow.vms().hold(placed.vm_id).await?;
        let vm = found.ok_or_else(|| Problem::not_found(ErrorCode::VmNotFound, placed.vm_id))?;
        admit(&vm)
    }

    fn has_job(&self) -> bool {
        false
    }

    async fn conclude(
        &self,
        platform: &Platform,
        uow: &mut dyn UnitOfWork,
        ticket: &TicketRecord,
        placed: &Placed,
        by: &RequestContext,
        now: DateTime<Utc>,
    ) -> Result<(), UseCaseError> {
        let requester = ticket.requester_id.as_user();
        let granting = Granting {
            vm: placed.vm_id,
            user: requester.ok_or(UseCaseError::Broken("nobody asked for access to a console"))?,
            environment: ticket.environment,
            ticket: Some(ticket),
            by,
        };
        grants::give(platform, uow, &granting, now).await?;
        finish(uow, ticket, now).await
    }

    async fn execute(&self, _platform: &Platform, _work: &Work) -> Result<Done, Failure> {
        Err(UseCaseError::Broken("access to a console has no job").into())
    }
}

/// A request for the console of a machine stays with its cluster.
pub(crate) fn placed(vm: &VmRecord, wanted: OperationPayload) -> Placed {
    Placed {
        cluster: vm.cluster_id,
        vm_id: vm.id,
        storage_class: None,
        template: None,
        size: None,
        numbers: None,
        operation: Some(wanted),
        warnings: Vec::new(),
    }
}

/// INVALID_STATE_TRANSITION for a machine that is being deleted.
fn admit(vm: &VmRecord) -> Result<(), UseCaseError> {
    if APPROVABLE.contains(&vm.status) {
        return Ok(());
    }
    let refusal = InvalidTransition {
        from: vm.status,
        operation: RequestType::VncAccess.operation_type(),
        allowed: APPROVABLE,
    };
    Err(UseCaseError::invalid_transition("vm", &refusal))
}

/// Nothing is left to be done: ticket and event are COMPLETED, by way of EXECUTING.
async fn finish(uow: &mut dyn UnitOfWork, ticket: &TicketRecord, now: DateTime<Utc>) -> Result<(), UseCaseError> {
    let refused = |error: InvalidTransition<TicketStatus>| UseCaseError::invalid_transition("ticket", &error);
    move_ticket(uow, ticket, TicketStatus::Approved.start().map_err(refused)?, now).await?;
    move_ticket(uow, ticket, TicketStatus::Executing.complete().map_err(refused)?, now).await?;
    let done = EventStatus::Processing
        .complete()
        .map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    if uow.events().transition(ticket.event_id, done, None, now).await? {
        Ok(())
    } else {
        Err(UseCaseError::Broken("the event of an approved ticket is not processed"))
    }
}

async fn move_ticket(
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    step: Transition<TicketStatus>,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    if !uow.tickets().transition(ticket.id, step, now).await? {
        return Err(UseCaseError::Broken(
            "a ticket moved in the transaction that approved it",
        ));
    }
    let history = NewStep {
        from: Some(step.from()),
        to: step.to(),
        actor: ActorId::system("console"),
        kind: ActorKind::System,
        reason: None,
    };
    Ok(uow.tickets().add_step(ticket.id, &history, now).await?)
}
