//! A requester withdraws a request that nobody has decided.

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::tickets::NewStep;

use super::TicketRef;
use crate::vm::request::MAX_REASON;
use crate::{Platform, UseCaseError, external_approval};

/// Cancels.
///
/// # Errors
/// TICKET_NOT_FOUND, TICKET_CANCEL_FORBIDDEN for everybody else who sees it, TICKET_NOT_PENDING.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    ticket: &TicketRef,
    reason: Option<String>,
) -> Result<(), UseCaseError> {
    let ticket = super::visible(platform, caller, ticket).await?;
    if ticket.requester_id.as_user() != Some(caller.subject.user()) {
        return Err(Problem::new(ErrorCode::TicketCancelForbidden)
            .with("ticket_id", ticket.id.to_string())
            .into());
    }
    if reason
        .as_ref()
        .is_some_and(|reason| reason.chars().count() > MAX_REASON)
    {
        return Err(Problem::invalid(vec![
            FieldError::new("reason", FieldCode::TooLong).with("max_length", MAX_REASON),
        ])
        .into());
    }
    super::require_pending(&ticket)?;
    let now = platform.now();
    let step = TicketStatus::PendingApproval
        .cancel()
        .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?;
    let mut uow = platform.begin().await?;
    if !uow.tickets().transition(ticket.id, step, now).await? {
        drop(uow);
        return Err(super::lost_race(platform, ticket.id).await?);
    }
    let cancel = EventStatus::Pending
        .cancel()
        .map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    uow.events().transition(ticket.event_id, cancel, None, now).await?;
    let (aggregate_type, aggregate_id) = match (ticket.vm_id, ticket.service_id) {
        (Some(vm), _) => (AggregateType::Vm, vm.to_string()),
        (None, Some(service)) => (AggregateType::Service, service.to_string()),
        (None, None) => (AggregateType::Batch, ticket.id.to_string()),
    };
    uow.events()
        .insert(NewEvent {
            id: platform.ids.id(),
            event_type: EventType::RequestCancelled,
            aggregate_type,
            aggregate_id,
            payload: json!({"ticket_id": ticket.id, "ticket_number": ticket.number, "reason": reason}),
            status: EventStatus::Completed,
            causation_id: Some(ticket.event_id),
            environment: Some(ticket.environment),
            created_by: caller.context.actor.clone(),
            at: now,
            trace_id: caller.context.request_id.clone(),
        })
        .await?;
    let history = NewStep {
        from: Some(step.from()),
        to: step.to(),
        actor: caller.context.actor.clone(),
        kind: ActorKind::User,
        reason: reason.clone(),
    };
    uow.tickets().add_step(ticket.id, &history, now).await?;
    let entry = AuditEntry::new(AuditAction::ApprovalCancel, "approval_ticket", ticket.id)
        .named(&ticket.number)
        .ticket(ticket.id)
        .environment(ticket.environment)
        .details(json!({"operation": ticket.request_type.operation_type(), "reason": reason}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    external_approval::cancel(&mut *uow, ticket.id).await?;
    Ok(uow.commit().await?)
}
