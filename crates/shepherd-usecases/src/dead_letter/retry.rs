//! A job that was given up is tried again.
//!
//! The decision on its ticket stands: nothing is approved, so the rules about who may approve do not apply.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::EventStatus;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_domain::transition::Transition;
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::dead_letters::{DeadLetter, JobId};
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::queue::EventJob;
use shepherd_ports::tickets::{NewStep, TicketRecord};

use super::{effects, lock_batch, not_found, visible};
use crate::batch::settle;
use crate::idempotency::{self, Answer};
use crate::vm::{Submitted, SubmittedStatus};
use crate::{Platform, UseCaseError};

/// Has the work done again, as it was approved. A FAILED ticket is APPROVED again, one time of at most
/// `queue.max_manual_retries`; a ticket that was stuck only gets a job.
///
/// # Errors
/// FORBIDDEN, JOB_NOT_FOUND (also for whoever comes second), RETRY_LIMIT_REACHED{retry_count, max},
/// DUPLICATE_PENDING_REQUEST, VM_NOT_FOUND, INVALID_STATE_TRANSITION.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: JobId,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    caller.require(Permission::JobManage)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let letter = visible(platform, caller, id).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    lock_batch(&mut *uow, &letter).await?;
    if !uow.dead_letters().take(id).await? {
        return Err(not_found(id).into());
    }
    let ticket = ticket_of(&mut *uow, &letter).await?;
    let most = platform.settings().execution.max_manual_retries;
    let brought_back = match ticket.status {
        TicketStatus::Failed => bring_back(&mut *uow, caller, &ticket, most, None, now).await,
        TicketStatus::Approved | TicketStatus::Executing => unstick(&mut *uow, id, &ticket).await,
        TicketStatus::Submitted
        | TicketStatus::PendingApproval
        | TicketStatus::Rejected
        | TicketStatus::Cancelled
        | TicketStatus::Completed => Err(step_of(&ticket, most).err().unwrap_or_else(|| not_found(id).into())),
    };
    if let Err(error) = brought_back {
        drop(uow);
        return Err(explained(platform, &ticket, error).await?);
    }
    enqueue(&mut *uow, &ticket).await?;
    let by = (&caller.context, ActorKind::User);
    settle::settle(platform, &mut *uow, ticket.parent_ticket_id, by, now).await?;
    let retries = ticket.retry_count + i32::from(ticket.status == TicketStatus::Failed);
    let entry = AuditEntry::new(AuditAction::JobRetry, "job", id)
        .named(&ticket.number)
        .ticket(ticket.id)
        .environment(ticket.environment)
        .details(json!({
            "ticket_number": ticket.number, "event_type": letter.event_type, "ticket_status": ticket.status,
            "retry_count": retries, "last_error": letter.last_error,
        }));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    let submitted = Submitted {
        event_id: ticket.event_id,
        ticket_id: ticket.id,
        status: SubmittedStatus::Processing,
        warnings: Vec::new(),
    };
    idempotency::store(platform, &mut *uow, request, &submitted).await?;
    uow.commit().await?;
    Ok(Answer::fresh(submitted))
}

/// A job without a ticket asks for nothing that could be done; it can only be dropped.
async fn ticket_of(uow: &mut dyn UnitOfWork, letter: &DeadLetter) -> Result<TicketRecord, UseCaseError> {
    let missing = || match letter.event_id {
        Some(event) => Problem::not_found(ErrorCode::TicketNotFound, event),
        None => Problem::not_found(ErrorCode::TicketNotFound, letter.job_id),
    };
    let event = letter.event_id.ok_or_else(missing)?;
    Ok(uow.tickets().find_by_event(event).await?.ok_or_else(missing)?)
}

/// The job that does the work again.
pub(crate) async fn enqueue(uow: &mut dyn UnitOfWork, ticket: &TicketRecord) -> Result<(), UseCaseError> {
    let job = EventJob {
        event: ticket.event_id,
        lane: ticket.vm_id.map_or_else(|| ticket.id.to_string(), |vm| vm.to_string()),
        run_at: None,
    };
    Ok(uow.jobs().enqueue(job).await?)
}

/// FAILED to APPROVED, with everything that the failure had changed; so often at `most`.
///
/// # Errors
/// RETRY_LIMIT_REACHED{retry_count, max}, VM_NOT_FOUND, INVALID_STATE_TRANSITION; the guard of open operations.
pub(crate) async fn bring_back(
    uow: &mut dyn UnitOfWork,
    caller: &Caller,
    ticket: &TicketRecord,
    most: u32,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let step = step_of(ticket, most)?;
    if !uow
        .dead_letters()
        .retry_ticket(ticket.id, step, ticket.retry_count)
        .await?
    {
        // Whoever moved it had another letter of the same ticket; trying again tells where it stands.
        return Err(Problem::new(ErrorCode::ServiceBusy).into());
    }
    let again = EventStatus::Failed
        .retry()
        .map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    if !uow.events().transition(ticket.event_id, again, None, now).await? {
        // The event of a machine that is gone was called off.
        effects::required_vm(uow, ticket).await?;
        return Err(UseCaseError::Broken("the event of a failed ticket has not failed"));
    }
    effects::restore(uow, ticket).await?;
    let history = NewStep {
        from: Some(step.from()),
        to: step.to(),
        actor: caller.context.actor.clone(),
        kind: ActorKind::User,
        reason: reason.map(str::to_owned),
    };
    Ok(uow.tickets().add_step(ticket.id, &history, now).await?)
}

/// The move back to APPROVED, or why there is none.
fn step_of(ticket: &TicketRecord, most: u32) -> Result<Transition<TicketStatus>, UseCaseError> {
    let retries = u32::try_from(ticket.retry_count).unwrap_or(0);
    if ticket.status == TicketStatus::Failed && retries >= most {
        return Err(Problem::new(ErrorCode::RetryLimitReached)
            .with("retry_count", ticket.retry_count)
            .with("max", most)
            .into());
    }
    ticket
        .status
        .retry(retries, most)
        .map_err(|error| UseCaseError::invalid_transition("ticket", &error))
}

async fn unstick(uow: &mut dyn UnitOfWork, id: JobId, ticket: &TicketRecord) -> Result<(), UseCaseError> {
    if uow.dead_letters().forget_attempts(ticket.id).await? {
        Ok(())
    } else {
        Err(not_found(id).into())
    }
}

/// DUPLICATE_PENDING_REQUEST for what the guard of open operations refused, naming the ticket in the way unless it was
/// settled in the meantime. Asked for outside the transaction, which the refusal has ended.
pub(crate) async fn explained(
    platform: &Platform,
    ticket: &TicketRecord,
    error: UseCaseError,
) -> Result<UseCaseError, UseCaseError> {
    let is_duplicate = matches!(&error, UseCaseError::Repository(cause) if cause.is_unique("uq_ticket_active_vm_op"));
    let Some(vm) = ticket.vm_id.filter(|_| is_duplicate) else {
        return Ok(error);
    };
    let group = ticket.request_type.operation_group();
    let mut problem = Problem::new(ErrorCode::DuplicatePendingRequest);
    if let Some(existing) = platform.read.open_vm_operation(vm, group).await? {
        problem = problem
            .with("existing_ticket_id", existing.id.to_string())
            .with("existing_ticket_number", existing.number);
    }
    let problem = problem
        .with("operation", ticket.request_type.operation_type())
        .with("resource_id", vm.to_string());
    Ok(match &ticket.namespace {
        Some(namespace) => problem.with("namespace", namespace.as_str()),
        None => problem,
    }
    .into())
}
