//! Claiming a job (requests.md §11, the table "situation at claim").

use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::EventStatus;
use shepherd_domain::ids::EventId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_domain::{ActorId, ids::VmId};
use shepherd_ports::RequestContext;
use shepherd_ports::queue::JobVerdict;
use shepherd_ports::tickets::{NewStep, TicketRecord};

use super::outcome;
use super::{Operations, Work};
use crate::batch::settle;
use crate::{Platform, UseCaseError};

/// The actor of everything a worker does.
pub(super) fn worker() -> RequestContext {
    RequestContext::system("worker")
}

/// What there is to do.
pub(super) enum Claim {
    /// Nothing; the job is finished.
    Nothing(&'static str),
    /// The claim itself settled it.
    Settled(JobVerdict),
    /// This.
    Work(Box<Work>),
}

/// Moves the ticket to EXECUTING, counts the attempt, and reads what the operation needs.
pub(super) async fn execute(platform: &Platform, operations: &Operations, id: EventId) -> Result<Claim, UseCaseError> {
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let Some(event) = uow.events().find(id).await? else {
        return Ok(Claim::Nothing("the event does not exist"));
    };
    let Some(mut ticket) = uow.tickets().find_by_event(id).await? else {
        return Ok(Claim::Nothing("the event has no ticket"));
    };
    // The process died between recording that nothing is left to try and keeping the job as a dead letter.
    let attempts = u32::try_from(ticket.attempt_count).unwrap_or(0);
    if ticket.status == TicketStatus::Failed && attempts >= platform.settings().execution.max_attempts {
        let code = ticket.error_code.unwrap_or_default();
        return Ok(Claim::Settled(JobVerdict::DeadLetter(code)));
    }
    if event.status != EventStatus::Processing {
        return Ok(Claim::Nothing("the event is not being processed"));
    }
    match ticket.status {
        TicketStatus::Approved => {
            if !start(platform, &mut *uow, &ticket).await? {
                return Ok(Claim::Nothing("another worker moved the ticket"));
            }
        }
        TicketStatus::Executing => {}
        TicketStatus::Submitted
        | TicketStatus::PendingApproval
        | TicketStatus::Rejected
        | TicketStatus::Cancelled
        | TicketStatus::Completed
        | TicketStatus::Failed => return Ok(Claim::Nothing("the ticket is not approved")),
    }
    let Some(attempts) = uow.tickets().count_attempt(ticket.id, now).await? else {
        return Ok(Claim::Nothing("another worker moved the ticket"));
    };
    let Some(vm_id) = ticket.vm_id else {
        return Err(UseCaseError::Broken("an approved ticket has no machine"));
    };
    let vm = uow.vms().find(vm_id).await?;
    uow.commit().await?;

    ticket.status = TicketStatus::Executing;
    let attempt = u32::try_from(attempts).unwrap_or(u32::MAX);
    let Some(vm) = vm else {
        return gone(platform, operations, ticket, vm_id).await;
    };
    let work = Work {
        event,
        ticket,
        vm,
        attempt,
    };
    // Attempts count when they begin, so an operation that kills its worker is bounded as well.
    if attempt > platform.settings().execution.max_attempts {
        let operation = operations.of_request(work.ticket.request_type)?;
        let problem = last_problem(&work.ticket);
        return outcome::exhausted(
            platform,
            operation,
            &work,
            problem,
            "every attempt ended with its worker",
        )
        .await
        .map(Claim::Settled);
    }
    Ok(Claim::Work(Box::new(work)))
}

async fn start(
    platform: &Platform,
    uow: &mut dyn shepherd_ports::UnitOfWork,
    ticket: &TicketRecord,
) -> Result<bool, UseCaseError> {
    let now = platform.now();
    settle::lock(uow, ticket.parent_ticket_id).await?;
    let step = ticket
        .status
        .start()
        .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?;
    if !uow.tickets().transition(ticket.id, step, now).await? {
        return Ok(false);
    }
    let history = NewStep {
        from: Some(step.from()),
        to: step.to(),
        actor: ActorId::system("worker"),
        kind: ActorKind::Worker,
        reason: None,
    };
    uow.tickets().add_step(ticket.id, &history, now).await?;
    let mut entry = AuditEntry::new(AuditAction::VmExecutionStarted, "approval_ticket", ticket.id)
        .named(&ticket.number)
        .ticket(ticket.id)
        .environment(ticket.environment);
    if let Some(vm) = ticket.vm_id {
        entry = entry.parent("vm", vm);
    }
    platform.audit(uow, &worker(), now, [entry]).await?;
    let by = (&worker(), ActorKind::Worker);
    settle::settle(platform, uow, ticket.parent_ticket_id, by, now).await?;
    Ok(true)
}

async fn gone(
    platform: &Platform,
    operations: &Operations,
    ticket: TicketRecord,
    vm: VmId,
) -> Result<Claim, UseCaseError> {
    let operation = operations.of_request(ticket.request_type)?;
    outcome::target_gone(platform, operation, &ticket, vm)
        .await
        .map(Claim::Settled)
}

fn last_problem(ticket: &TicketRecord) -> Problem {
    let code = ticket
        .error_code
        .as_deref()
        .and_then(|code| code.parse().ok())
        .unwrap_or(ErrorCode::InternalError);
    Problem::new(code).with("reason", "WorkerDied")
}
