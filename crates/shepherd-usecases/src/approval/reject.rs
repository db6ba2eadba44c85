//! An approver says no, and why.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::EventStatus;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::problem::{FieldCode, FieldError, Problem};
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_ports::context::Caller;
use shepherd_ports::metrics::TicketDecision;
use shepherd_ports::tickets::{NewStep, TicketRecord};
use shepherd_ports::{RequestContext, UnitOfWork};

use super::{TicketRef, decide};
use crate::batch::settle;
use crate::vm::request::MAX_REASON;
use crate::{Platform, UseCaseError, batch, external_approval};

/// Rejects. Platform administrators may reject what a policy leaves to others, so that no ticket waits for nobody.
///
/// # Errors
/// TICKET_NOT_FOUND, FORBIDDEN, TICKET_NOT_PENDING, APPROVER_NOT_ELIGIBLE, SELF_APPROVAL_FORBIDDEN, VALIDATION_FAILED
/// without a reason.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    ticket: &TicketRef,
    reason: &str,
) -> Result<(), UseCaseError> {
    let ticket = super::rejectable(platform, caller, ticket).await?;
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Problem::invalid_field("reason", FieldCode::Required).into());
    }
    if reason.chars().count() > MAX_REASON {
        return Err(Problem::invalid(vec![
            FieldError::new("reason", FieldCode::TooLong).with("max_length", MAX_REASON),
        ])
        .into());
    }
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if !apply(
        platform,
        &mut *uow,
        &ticket,
        reason,
        &caller.context,
        ActorKind::User,
        now,
    )
    .await?
    {
        drop(uow);
        return Err(super::lost_race(platform, ticket.id).await?);
    }
    external_approval::cancel(&mut *uow, ticket.id).await?;
    Ok(uow.commit().await?)
}

/// What a refusal writes, whoever gives it: ticket, event, history, audit row, and the news to the requester; of a batch
/// the same for every child that waits, of a child what becomes of its batch. `false` when somebody else moved the
/// ticket first; then nothing of it may be kept.
///
/// # Errors
/// When the store fails.
pub(crate) async fn apply(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    reason: &str,
    context: &RequestContext,
    kind: ActorKind,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    if ticket.request_type.is_batch() {
        return batch::reject::apply(platform, uow, ticket, reason, context, kind, now).await;
    }
    settle::lock(uow, ticket.parent_ticket_id).await?;
    if !record(platform, uow, ticket, reason, context, kind, now).await? {
        return Ok(false);
    }
    tell_requester(platform, uow, ticket, reason, now).await?;
    settle::settle(platform, uow, ticket.parent_ticket_id, (context, kind), now).await?;
    Ok(true)
}

/// The refusal itself: ticket, event, history and audit row. `false` when somebody else moved the ticket first.
///
/// # Errors
/// When the store fails.
pub(crate) async fn record(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    reason: &str,
    context: &RequestContext,
    kind: ActorKind,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    let step = TicketStatus::PendingApproval
        .reject()
        .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?;
    if !uow
        .tickets()
        .reject(ticket.id, step, &context.actor, reason, now)
        .await?
    {
        return Ok(false);
    }
    decide::count(uow, ticket, TicketDecision::Rejected, now);
    let cancel = EventStatus::Pending
        .cancel()
        .map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    uow.events().transition(ticket.event_id, cancel, None, now).await?;
    let history = NewStep {
        from: Some(step.from()),
        to: step.to(),
        actor: context.actor.clone(),
        kind,
        reason: Some(reason.to_owned()),
    };
    uow.tickets().add_step(ticket.id, &history, now).await?;
    let entry = AuditEntry::new(AuditAction::ApprovalReject, "approval_ticket", ticket.id)
        .named(&ticket.number)
        .ticket(ticket.id)
        .environment(ticket.environment)
        .details(json!({"operation": ticket.request_type.operation_type(), "reason": reason}));
    platform.audit(uow, context, now, [entry]).await?;
    Ok(true)
}

/// The requester hears of it.
pub(crate) async fn tell_requester(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    if let Some(requester) = ticket.requester_id.as_user() {
        let message = format!("{} was rejected: {reason}", ticket.number);
        let draft = NotificationDraft::new(NotificationType::ApprovalRejected, Severity::Warning, &format!("{} rejected", ticket.number), &message)
            .about("approval_ticket", ticket.id)
            .params(json!({"ticket_number": ticket.number, "operation": ticket.request_type.operation_type(), "reason": reason}));
        platform
            .notifications
            .send(uow.notifications(), Audience::User(requester), draft, now)
            .await?;
    }
    Ok(())
}
