//! Somebody asks for the deletion of a machine.

use serde_json::json;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::VmId;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::policy::{Decision, default_decision};
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_domain::spec::DeletePayload;
use shepherd_domain::ticket::{RequestType, TicketStatus};
use shepherd_domain::{Environment, problem::Params};
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::tickets::{ExistingTicket, Named, NamedUser, NamedVm, NewTicket, TicketContext};
use shepherd_ports::vms::VmRecord;

use super::request::{MAX_REASON, submission_steps};
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
    let reason = reason
        .map(|reason| reason.trim().to_owned())
        .filter(|reason| !reason.is_empty());
    if reason
        .as_ref()
        .is_some_and(|reason| reason.chars().count() > MAX_REASON)
    {
        return Err(Problem::invalid(vec![
            FieldError::new("reason", FieldCode::TooLong).with("max_length", MAX_REASON),
        ])
        .into());
    }
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
    let payload = serde_json::to_value(&payload).map_err(|source| UseCaseError::Stored {
        what: "payload",
        source,
    })?;

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
        context: context(caller, vm),
        at: now,
    };
    let number = match uow.tickets().insert(&ticket, &submission_steps(caller)).await {
        Ok(number) => number,
        Err(error) if error.is_unique("uq_ticket_active_vm_op") => {
            drop(uow);
            let existing = platform.read.open_vm_operation(vm.id, "DELETE").await?;
            return Err(duplicate_problem(existing, "DELETE", &vm.id.to_string(), &vm.namespace).into());
        }
        Err(error) => return Err(error.into()),
    };
    let entry = AuditEntry::new(AuditAction::VmDeleteSubmitted, "vm", vm.id)
        .named(&vm.name)
        .ticket(submitted.ticket_id)
        .environment(vm.environment)
        .details(json!({"ticket_number": number}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    let except = (!platform.settings.self_approval.permits(vm.environment)).then_some(requester);
    let message = format!("{} asks for the deletion of {}.", caller.username, vm.name);
    let draft = NotificationDraft::new(NotificationType::ApprovalPending, Severity::Info, &format!("{number} waits for a decision"), &message)
        .about("approval_ticket", submitted.ticket_id)
        .params(json!({"ticket_number": number, "operation": "DELETE", "environment": vm.environment, "requester": caller.username}));
    platform
        .notifications
        .send(
            uow.notifications(),
            Audience::Approvers {
                environment: vm.environment,
                except,
            },
            draft,
            now,
        )
        .await?;
    uow.commit().await?;
    Ok(submitted)
}

fn context(caller: &Caller, vm: &VmRecord) -> TicketContext {
    TicketContext {
        requester: Some(NamedUser {
            id: caller.subject.user(),
            username: caller.username.clone(),
            display_name: caller.context.actor_name.clone(),
        }),
        system: Some(Named {
            id: vm.system_id.to_string(),
            name: vm.system_name.clone(),
        }),
        service: Some(Named {
            id: vm.service_id.to_string(),
            name: vm.service_name.clone(),
        }),
        namespace: Some(vm.namespace.clone()),
        environment: Some(vm.environment),
        vm: Some(NamedVm {
            id: vm.id,
            name: vm.name.clone(),
            status: vm.status,
        }),
        cpu_cores: vm.cpu_cores,
        memory_mb: vm.memory_mb,
        disk_gb: vm.disk_gb,
        ..TicketContext::default()
    }
}

/// DUPLICATE_PENDING_REQUEST, naming the ticket in the way unless it was settled in the meantime.
pub(super) fn duplicate_problem(
    existing: Option<ExistingTicket>,
    operation: &str,
    resource_id: &str,
    namespace: &str,
) -> Problem {
    let mut params = Params::new();
    if let Some(existing) = existing {
        params.insert("existing_ticket_id".to_owned(), existing.id.to_string().into());
        params.insert("existing_ticket_number".to_owned(), existing.number.into());
    }
    Problem {
        params,
        ..Problem::new(ErrorCode::DuplicatePendingRequest)
    }
    .with("operation", operation)
    .with("resource_id", resource_id)
    .with("namespace", namespace)
}
