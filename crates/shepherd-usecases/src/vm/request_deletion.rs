//! Somebody asks for the deletion of a machine.

use serde_json::json;
use shepherd_domain::Environment;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::VmId;
use shepherd_domain::policy::{Decision, default_decision};
use shepherd_domain::spec::DeletePayload;
use shepherd_domain::ticket::{RequestType, TicketStatus};
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::tickets::NewTicket;
use shepherd_ports::vms::VmRecord;

use super::submission::{self, Waiting};
use super::{Submitted, SubmittedStatus};
use crate::confirmation::{self, Confirmation, Target};
use crate::{Platform, UseCaseError};

/// Submits the request.
///
/// # Errors
/// VM_NOT_FOUND, FORBIDDEN, CONFIRMATION_*, INVALID_STATE_TRANSITION, DUPLICATE_PENDING_REQUEST.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: VmId,
    given: &Confirmation,
    reason: Option<String>,
) -> Result<Submitted, UseCaseError> {
    let vm = super::visible(platform, caller, Permission::VmDelete, ResourceAction::Delete, id).await?;
    let reason = submission::optional_reason(reason)?;
    let id_text = id.to_string();
    let by_name = vm.environment == Environment::Prod;
    let target = Target {
        entity: "vm",
        id: &id_text,
        name: &vm.name,
        environment: Some(vm.environment),
        by_name,
    };
    confirmation::check(platform, caller, given, target).await?;
    vm.status
        .delete(vm.ticket_failed)
        .map_err(|error| UseCaseError::invalid_transition("vm", &error))?;
    match default_decision(RequestType::DeleteVm, vm.environment) {
        Decision::RequiresApproval => submit(platform, caller, &vm, reason).await,
        Decision::AutoApproved => Err(UseCaseError::Broken("the matrix approves no deletion by itself")),
    }
}

async fn submit(
    platform: &Platform,
    caller: &Caller,
    vm: &VmRecord,
    reason: Option<String>,
) -> Result<Submitted, UseCaseError> {
    let now = platform.now();
    let requester = caller.subject.user();
    let submitted = Submitted {
        event_id: platform.ids.id(),
        ticket_id: platform.ids.id(),
        status: SubmittedStatus::PendingApproval,
        warnings: Vec::new(),
    };
    let payload = DeletePayload {
        schema: 1,
        vm_id: vm.id,
        vm_name: vm.name.clone(),
        namespace: vm.namespace.clone(),
        requester,
        reason: reason.clone(),
    };
    let payload = submission::stored_payload(&payload)?;

    let mut uow = platform.begin().await?;
    uow.events()
        .insert(NewEvent {
            id: submitted.event_id,
            event_type: EventType::VmDeletionRequested,
            aggregate_type: AggregateType::Vm,
            aggregate_id: vm.id.to_string(),
            payload,
            status: EventStatus::Pending,
            causation_id: None,
            environment: Some(vm.environment),
            created_by: caller.context.actor.clone(),
            at: now,
            trace_id: caller.context.request_id.clone(),
        })
        .await?;
    let ticket = NewTicket {
        id: submitted.ticket_id,
        event_id: submitted.event_id,
        request_type: RequestType::DeleteVm,
        status: TicketStatus::PendingApproval,
        environment: vm.environment,
        requester,
        reason,
        system_id: Some(vm.system_id),
        service_id: Some(vm.service_id),
        vm_id: Some(vm.id),
        template_id: None,
        instance_size_id: None,
        namespace: Some(vm.namespace.clone()),
        context: submission::context_of(caller, vm),
        at: now,
    };
    let number = match uow
        .tickets()
        .insert(&ticket, &submission::submission_steps(caller))
        .await
    {
        Ok(number) => number,
        Err(error) if error.is_unique("uq_ticket_active_vm_op") => {
            drop(uow);
            let existing = platform.read.open_vm_operation(vm.id, "DELETE").await?;
            return Err(submission::duplicate_problem(existing, "DELETE", &vm.id.to_string(), &vm.namespace).into());
        }
        Err(error) => return Err(error.into()),
    };
    let entry = AuditEntry::new(AuditAction::VmDeleteSubmitted, "vm", vm.id)
        .named(&vm.name)
        .ticket(submitted.ticket_id)
        .environment(vm.environment)
        .details(json!({"ticket_number": number}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    let message = format!("{} asks for the deletion of {}.", caller.username, vm.name);
    let waiting = Waiting {
        ticket: submitted.ticket_id,
        number: &number,
        operation: "DELETE",
        environment: vm.environment,
        message: &message,
    };
    submission::tell_approvers(platform, &mut *uow, caller, waiting, now).await?;
    uow.commit().await?;
    Ok(submitted)
}
