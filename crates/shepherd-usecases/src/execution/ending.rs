//! How work ends without success: what is written in the transaction of whoever ends it, the worker that gives it up
//! or a person who drops its job.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::audit::AuditEntry;
use shepherd_domain::event::EventStatus;
use shepherd_domain::ids::VmId;
use shepherd_domain::notification::Severity;
use shepherd_domain::problem::Problem;
use shepherd_domain::ticket::ActorKind;
use shepherd_ports::metrics::{self, OperationEnd};
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::{RequestContext, UnitOfWork};

use super::operation::{Operation, Work, vm_not_found};
use super::outcome::{fact, history};
use super::tell;
use crate::batch::settle;
use crate::{Platform, UseCaseError};

/// Who ends it, and why.
pub(crate) struct Ending<'a> {
    /// The actor, and the marks of the audit rows.
    pub(crate) context: &'a RequestContext,
    /// What kind of actor it is.
    pub(crate) kind: ActorKind,
    /// Why, for the ticket and for those who are told.
    pub(crate) problem: &'a Problem,
    /// The last error, redacted and cut.
    pub(crate) detail: &'a str,
}

/// FAILED: ticket, what the operation says of its machine, event, fact, history, audit and notification. `false` when
/// somebody else moved the ticket first; then nothing was written.
///
/// # Errors
/// When the store fails, or something stored is damaged.
pub(crate) async fn record(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    operation: &dyn Operation,
    work: &Work,
    ending: &Ending<'_>,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    let Ending { context, problem, .. } = ending;
    if !fail_ticket(uow, &work.ticket, ending, now).await? {
        return Ok(false);
    }
    operation.give_up(platform, uow, work, problem).await?;
    fail_event(uow, &work.ticket, ending, now).await?;
    let details = json!({"ticket_number": work.ticket.number, "attempt": work.attempt, "error_code": problem.code, "error_params": problem.params});
    let event_type = operation.facts().1;
    fact(platform, uow, work, event_type, details.clone(), &context.actor, now).await?;
    let entry = AuditEntry::new(operation.audits().1, "vm", work.vm.id)
        .named(&work.vm.name)
        .ticket(work.ticket.id)
        .environment(work.ticket.environment)
        .details(details)
        .failed();
    platform.audit(uow, context, now, [entry]).await?;
    let operation_type = work.ticket.request_type.operation_type().to_lowercase();
    let title = format!("{}: {operation_type} failed", work.vm.name);
    let message = format!("{} failed: {}.", work.ticket.number, problem.code);
    tell::owner(
        platform,
        uow,
        work,
        Severity::Warning,
        &title,
        &message,
        Some(problem),
        now,
    )
    .await?;
    let by = (*context, ending.kind);
    settle::settle(platform, uow, work.ticket.parent_ticket_id, by, now).await?;
    Ok(true)
}

/// FAILED with VM_NOT_FOUND, the event CANCELLED: there is nothing left that the operation could be done to. `false`
/// when somebody else moved the ticket first.
///
/// # Errors
/// When the store fails.
pub(crate) async fn record_gone(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    operation: &dyn Operation,
    ticket: &TicketRecord,
    vm: VmId,
    by: (&RequestContext, ActorKind),
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    let (context, kind) = by;
    let problem = vm_not_found(vm);
    let ending = Ending {
        context,
        kind,
        problem: &problem,
        detail: "the machine is gone",
    };
    if !fail_ticket(uow, ticket, &ending, now).await? {
        return Ok(false);
    }
    let cancel = EventStatus::Processing
        .cancel()
        .map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    uow.events()
        .transition(ticket.event_id, cancel, Some(&problem), now)
        .await?;
    // What hung on it, such as the wish to call it off, has lost its object too.
    for follower in uow.events().open_followers(vm, ticket.event_id).await? {
        uow.events().transition(follower, cancel, Some(&problem), now).await?;
    }
    let entry = AuditEntry::new(operation.audits().1, "vm", vm)
        .ticket(ticket.id)
        .environment(ticket.environment)
        .failed();
    platform.audit(uow, context, now, [entry]).await?;
    tell::target_gone(platform, uow, ticket, &problem, now).await?;
    settle::settle(platform, uow, ticket.parent_ticket_id, by, now).await?;
    Ok(true)
}

/// The least that keeps a ticket from being stuck for ever, for when even [`record`] is refused: ticket, history, event
/// and what becomes of its batch. `false` when somebody else moved the ticket first.
///
/// # Errors
/// When the store fails.
pub(crate) async fn record_bare(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    ending: &Ending<'_>,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    if !fail_ticket(uow, ticket, ending, now).await? {
        return Ok(false);
    }
    fail_event(uow, ticket, ending, now).await?;
    let by = (ending.context, ending.kind);
    settle::settle(platform, uow, ticket.parent_ticket_id, by, now).await?;
    Ok(true)
}

async fn fail_ticket(
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    ending: &Ending<'_>,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    settle::lock(uow, ticket.parent_ticket_id).await?;
    let step = ticket
        .status
        .fail()
        .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?;
    if !uow
        .tickets()
        .fail(ticket.id, step, ending.problem, ending.detail)
        .await?
    {
        return Ok(false);
    }
    let reason = Some(ending.problem.code.to_string());
    history(uow, ticket, step, reason, (ending.context, ending.kind), now).await?;
    count(uow, ticket, OperationEnd::Failed, now);
    Ok(true)
}

/// Counts the end of an operation once it is kept.
pub(super) fn count(uow: &mut dyn UnitOfWork, ticket: &TicketRecord, end: OperationEnd, now: DateTime<Utc>) {
    let (request, cluster) = (ticket.request_type, ticket.selected_cluster_id);
    let took = metrics::since(ticket.decided_at.unwrap_or(ticket.created_at), now);
    let is_child = ticket.parent_ticket_id.is_some();
    uow.counted().later(move || {
        metrics::vm_operation(request, end, cluster, took);
        if is_child {
            metrics::batch_child(request, end);
        }
    });
}

async fn fail_event(
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    ending: &Ending<'_>,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let step = EventStatus::Processing
        .fail()
        .map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    uow.events()
        .transition(ticket.event_id, step, Some(ending.problem), now)
        .await?;
    Ok(())
}
