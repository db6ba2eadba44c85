//! A requester withdraws a request that nobody has decided.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::metrics::TicketDecision;
use shepherd_ports::tickets::{NewStep, TicketRecord};
use shepherd_ports::{RequestContext, UnitOfWork};

use super::{TicketRef, decide};
use crate::batch::settle;
use crate::vm::request::MAX_REASON;
use crate::{Platform, UseCaseError, batch, external_approval};

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
    let mut uow = platform.begin().await?;
    let cancelled = apply(platform, &mut *uow, &ticket, reason.as_deref(), &caller.context, now).await?;
    if !cancelled {
        drop(uow);
        return Err(super::lost_race(platform, ticket.id).await?);
    }
    external_approval::cancel(&mut *uow, ticket.id).await?;
    Ok(uow.commit().await?)
}

/// What a withdrawal writes; of a batch for every child that waits, of a child what becomes of its batch. `false` when
/// somebody else moved the ticket first; then nothing of it may be kept.
async fn apply(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    reason: Option<&str>,
    context: &RequestContext,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    if ticket.request_type.is_batch() {
        return batch::cancel::apply(platform, uow, ticket, reason, context, now).await;
    }
    settle::lock(uow, ticket.parent_ticket_id).await?;
    if !record(platform, uow, ticket, reason, context, now).await? {
        return Ok(false);
    }
    let by = (context, ActorKind::User);
    settle::settle(platform, uow, ticket.parent_ticket_id, by, now).await?;
    Ok(true)
}

/// The withdrawal itself: ticket, event, fact, history and audit row. `false` when somebody else moved the ticket first.
///
/// # Errors
/// When the store fails.
pub(crate) async fn record(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    reason: Option<&str>,
    context: &RequestContext,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    let step = TicketStatus::PendingApproval
        .cancel()
        .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?;
    if !uow.tickets().transition(ticket.id, step, now).await? {
        return Ok(false);
    }
    decide::count(uow, ticket, TicketDecision::Cancelled, now);
    let cancel = EventStatus::Pending
        .cancel()
        .map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    uow.events().transition(ticket.event_id, cancel, None, now).await?;
    write_fact(platform, uow, ticket, reason, context, now).await?;
    let history = NewStep {
        from: Some(step.from()),
        to: step.to(),
        actor: context.actor.clone(),
        kind: ActorKind::User,
        reason: reason.map(str::to_owned),
    };
    uow.tickets().add_step(ticket.id, &history, now).await?;
    let entry = audited(ticket, reason);
    platform.audit(uow, context, now, [entry]).await?;
    Ok(true)
}

/// The audit row of a withdrawal.
pub(crate) fn audited(ticket: &TicketRecord, reason: Option<&str>) -> AuditEntry {
    AuditEntry::new(AuditAction::ApprovalCancel, "approval_ticket", ticket.id)
        .named(&ticket.number)
        .ticket(ticket.id)
        .environment(ticket.environment)
        .details(json!({"operation": ticket.request_type.operation_type(), "reason": reason}))
}

/// REQUEST_CANCELLED about what the request was for.
pub(crate) async fn write_fact(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    reason: Option<&str>,
    context: &RequestContext,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    // The items of a batch may have a Service in common, which is then that of the batch as well.
    let service = ticket.service_id.filter(|_| !ticket.request_type.is_batch());
    let (aggregate_type, aggregate_id) = match (ticket.vm_id, service) {
        (Some(vm), _) => (AggregateType::Vm, vm.to_string()),
        (None, Some(service)) => (AggregateType::Service, service.to_string()),
        (None, None) => (AggregateType::Batch, ticket.id.to_string()),
    };
    let event = NewEvent {
        id: platform.ids.id(),
        event_type: EventType::RequestCancelled,
        aggregate_type,
        aggregate_id,
        payload: json!({"ticket_id": ticket.id, "ticket_number": ticket.number, "reason": reason}),
        status: EventStatus::Completed,
        causation_id: Some(ticket.event_id),
        environment: Some(ticket.environment),
        created_by: context.actor.clone(),
        at: now,
        trace_id: context.request_id.clone(),
        trace_parent: None,
    };
    Ok(uow.events().insert(event).await?)
}
