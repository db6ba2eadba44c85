//! Recording what became of an operation, in one transaction each.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::ActorId;
use shepherd_domain::audit::AuditEntry;
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::VmId;
use shepherd_domain::notification::Severity;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::redaction::redact_and_truncate;
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_domain::transition::Transition;
use shepherd_ports::events::NewEvent;
use shepherd_ports::metrics::OperationEnd;
use shepherd_ports::queue::{EventJob, JobVerdict};
use shepherd_ports::tickets::{NewStep, TicketRecord};
use shepherd_ports::{RepositoryError, RequestContext, UnitOfWork};

use super::Failure;
use super::claim::worker;
use super::ending::{self, Ending};
use super::operation::{Done, Operation, Work};
use super::tell;
use crate::batch::settle;
use crate::{Platform, UseCaseError};

/// Most characters of `last_error`.
const MAX_ERROR: usize = 512;

/// Success: machine, revision, event, fact, ticket, history, audit and notification.
pub(super) async fn succeed(
    platform: &Platform,
    operation: &dyn Operation,
    work: &Work,
    done: Done,
) -> Result<(), UseCaseError> {
    let now = platform.now();
    let mut uow = platform.begin().await?;
    settle::lock(&mut *uow, work.ticket.parent_ticket_id).await?;
    let ticket_step = TicketStatus::Executing
        .complete()
        .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?;
    if !uow.tickets().transition(work.ticket.id, ticket_step, now).await? {
        // A second run of the same job recorded it first.
        return Ok(());
    }
    ending::count(&mut *uow, &work.ticket, OperationEnd::Completed, now);
    operation.succeed(platform, &mut *uow, work, &done).await?;
    let event_step = EventStatus::Processing
        .complete()
        .map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    uow.events().transition(work.event.id, event_step, None, now).await?;
    let details = json!({"ticket_number": work.ticket.number, "attempt": work.attempt});
    let by = worker();
    let event_type = operation.facts().0;
    fact(platform, &mut *uow, work, event_type, details.clone(), &by.actor, now).await?;
    history(
        &mut *uow,
        &work.ticket,
        ticket_step,
        None,
        (&by, ActorKind::Worker),
        now,
    )
    .await?;
    let entry = AuditEntry::new(operation.audits().0, "vm", work.vm.id)
        .named(&work.vm.name)
        .ticket(work.ticket.id)
        .environment(work.ticket.environment)
        .details(details);
    platform.audit(&mut *uow, &by, now, [entry]).await?;
    let title = format!(
        "{}: {} done",
        work.vm.name,
        work.ticket.request_type.operation_type().to_lowercase()
    );
    tell::owner(
        platform,
        &mut *uow,
        work,
        Severity::Info,
        &title,
        &format!("{} was carried out.", work.ticket.number),
        None,
        now,
    )
    .await?;
    settle::settle(
        platform,
        &mut *uow,
        work.ticket.parent_ticket_id,
        (&by, ActorKind::Worker),
        now,
    )
    .await?;
    Ok(uow.commit().await?)
}

/// Anything but success: postponed, or failed for good.
pub(super) async fn fail(
    platform: &Platform,
    operation: &dyn Operation,
    work: &Work,
    failure: Failure,
) -> Result<JobVerdict, UseCaseError> {
    let settings = platform.settings().execution.clone();
    let now = platform.now();
    match failure {
        Failure::Store(error) => Err(error),
        Failure::TargetGone => target_gone(platform, operation, &work.ticket, work.vm.id).await,
        Failure::Permanent(problem, detail) => {
            give_up(platform, operation, work, &problem, &detail, End::Refused).await?;
            Ok(JobVerdict::Done)
        }
        Failure::Transient(problem, detail) => transient(platform, operation, work, problem, &detail).await,
        Failure::Unavailable(problem, detail) => {
            let limit = settings.snooze_limit;
            wait(platform, operation, work, problem, &detail, settings.snooze, limit, now).await
        }
        Failure::InProgress(problem, again_in) => {
            let limit = settings.operation_timeout;
            wait(platform, operation, work, problem, "", again_in, limit, now).await
        }
    }
}

/// Waits without using an attempt; once the limit has passed the wait counts as a failed attempt.
#[expect(
    clippy::too_many_arguments,
    reason = "one private function behind the two kinds of waiting"
)]
async fn wait(
    platform: &Platform,
    operation: &dyn Operation,
    work: &Work,
    problem: Problem,
    detail: &str,
    again_in: std::time::Duration,
    limit: std::time::Duration,
    now: DateTime<Utc>,
) -> Result<JobVerdict, UseCaseError> {
    // Another reason to wait begins another wait.
    let waits_for_the_same = work.ticket.error_code.as_deref() == Some(problem.code.as_str());
    let since = work
        .ticket
        .unavailable_since
        .filter(|_| waits_for_the_same)
        .unwrap_or(now);
    if now - since >= TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX) {
        return transient(platform, operation, work, problem, detail).await;
    }
    postpone(platform, work, &problem, detail, again_in, Some(since)).await
}

async fn transient(
    platform: &Platform,
    operation: &dyn Operation,
    work: &Work,
    problem: Problem,
    detail: &str,
) -> Result<JobVerdict, UseCaseError> {
    let settings = platform.settings().execution.clone();
    if work.attempt >= settings.max_attempts {
        return exhausted(platform, operation, work, problem, detail).await;
    }
    let index = usize::try_from(work.attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let delay = settings
        .retry_delays
        .get(index)
        .or(settings.retry_delays.last())
        .copied()
        .unwrap_or_default();
    // Up to a tenth more, so that what failed together is not tried together.
    let tenth = u64::try_from(delay.as_millis() / 10).unwrap_or(0);
    let jitter =
        std::time::Duration::from_millis(u64::try_from(platform.ids.next() & 0xffff).unwrap_or(0) * tenth / 0xffff);
    postpone(platform, work, &problem, detail, delay + jitter, None).await
}

async fn postpone(
    platform: &Platform,
    work: &Work,
    problem: &Problem,
    detail: &str,
    delay: std::time::Duration,
    snoozed_at: Option<DateTime<Utc>>,
) -> Result<JobVerdict, UseCaseError> {
    let next = platform.now() + TimeDelta::from_std(delay).unwrap_or(TimeDelta::MAX);
    let detail = redact_and_truncate(detail, MAX_ERROR);
    let mut uow = platform.begin().await?;
    if !uow
        .tickets()
        .postpone(work.ticket.id, problem, &detail, next, snoozed_at)
        .await?
    {
        return Ok(JobVerdict::Done);
    }
    uow.jobs()
        .enqueue(EventJob {
            event: work.event.id,
            lane: work.vm.id.to_string(),
            run_at: Some(next),
        })
        .await?;
    uow.commit().await?;
    tracing::warn!(event_id = %work.event.id, ticket_id = %work.ticket.id, vm = %work.vm.name, attempt = work.attempt, %problem, detail,
        next_attempt_at = %next, waiting = snoozed_at.is_some(), "will be tried again");
    Ok(JobVerdict::Done)
}

/// No attempt is left: failed for good, and the job stays as a dead letter. What cannot be recorded as it should be, for
/// a reason that will not pass, is recorded as little as possible: the job must not begin again.
pub(super) async fn exhausted(
    platform: &Platform,
    operation: &dyn Operation,
    work: &Work,
    problem: Problem,
    detail: &str,
) -> Result<JobVerdict, UseCaseError> {
    let moved = match give_up(platform, operation, work, &problem, detail, End::Exhausted).await {
        Err(error) if !passes(&error) => {
            tracing::error!(event_id = %work.event.id, ticket_id = %work.ticket.id, error = &error as &dyn std::error::Error,
                "a failure could not be recorded; its ticket alone fails");
            give_up_barely(platform, work, &problem, detail).await?
        }
        outcome => outcome?,
    };
    if moved {
        Ok(JobVerdict::DeadLetter(problem.code.to_string()))
    } else {
        Ok(JobVerdict::Done)
    }
}

/// The outcome of an attempt could not be recorded. While the store is away that is nobody's fault: the attempt is given
/// back, and the queue tries again. Any other reason will be there the next time too, so the attempt counts, and with
/// the last one the work is given up.
///
/// # Errors
/// The error itself, when the queue is to try again.
pub(super) async fn unrecorded(
    platform: &Platform,
    operation: &dyn Operation,
    work: &Work,
    error: UseCaseError,
) -> Result<JobVerdict, UseCaseError> {
    if passes(&error) {
        refund(platform, work).await;
        return Err(error);
    }
    if work.attempt < platform.settings().execution.max_attempts {
        return Err(error);
    }
    tracing::error!(event_id = %work.event.id, ticket_id = %work.ticket.id, attempt = work.attempt,
        error = &error as &dyn std::error::Error, "the outcome of the last attempt could not be recorded");
    let problem = Problem::new(ErrorCode::InternalError).with("reason", "OutcomeNotRecorded");
    exhausted(platform, operation, work, problem, &error.to_string()).await
}

/// Whether the same may succeed later without anybody doing anything.
fn passes(error: &UseCaseError) -> bool {
    matches!(
        error,
        UseCaseError::Repository(RepositoryError::Busy(_) | RepositoryError::Unavailable(_))
    )
}

/// Why nothing is tried any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Trying again cannot help.
    Refused,
    /// Every attempt failed: the job stays as a dead letter, and administrators hear of it.
    Exhausted,
}

/// Answers whether this run moved the ticket; another one may have settled it first.
async fn give_up(
    platform: &Platform,
    operation: &dyn Operation,
    work: &Work,
    problem: &Problem,
    detail: &str,
    end: End,
) -> Result<bool, UseCaseError> {
    let now = platform.now();
    let detail = redact_and_truncate(detail, MAX_ERROR);
    let mut uow = platform.begin().await?;
    let ending = Ending {
        context: &worker(),
        kind: ActorKind::Worker,
        problem,
        detail: &detail,
    };
    if !ending::record(platform, &mut *uow, operation, work, &ending, now).await? {
        return Ok(false);
    }
    if end == End::Exhausted {
        tell::administrators(platform, &mut *uow, work, problem, now).await?;
    }
    uow.commit().await?;
    tracing::warn!(event_id = %work.event.id, ticket_id = %work.ticket.id, vm = %work.vm.name, %problem, detail, "failed for good");
    Ok(true)
}

async fn give_up_barely(
    platform: &Platform,
    work: &Work,
    problem: &Problem,
    detail: &str,
) -> Result<bool, UseCaseError> {
    let detail = redact_and_truncate(detail, MAX_ERROR);
    let mut uow = platform.begin().await?;
    let ending = Ending {
        context: &worker(),
        kind: ActorKind::Worker,
        problem,
        detail: &detail,
    };
    if !ending::record_bare(platform, &mut *uow, &work.ticket, &ending, platform.now()).await? {
        return Ok(false);
    }
    uow.commit().await?;
    Ok(true)
}

/// The row is gone: there is nothing left that the operation could be done to.
pub(super) async fn target_gone(
    platform: &Platform,
    operation: &dyn Operation,
    ticket: &TicketRecord,
    vm: VmId,
) -> Result<JobVerdict, UseCaseError> {
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let by = (&worker(), ActorKind::Worker);
    if ending::record_gone(platform, &mut *uow, operation, ticket, vm, by, now).await? {
        uow.commit().await?;
    }
    Ok(JobVerdict::Done)
}

/// The fact that follows from the work event.
pub(super) async fn fact(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    work: &Work,
    event_type: EventType,
    payload: serde_json::Value,
    actor: &ActorId,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let event = NewEvent {
        id: platform.ids.id(),
        event_type,
        aggregate_type: AggregateType::Vm,
        aggregate_id: work.vm.id.to_string(),
        payload,
        status: EventStatus::Completed,
        causation_id: Some(work.event.id),
        environment: Some(work.ticket.environment),
        created_by: actor.clone(),
        at: now,
        trace_id: work.event.trace_id.clone(),
        trace_parent: None,
    };
    Ok(uow.events().insert(event).await?)
}

/// The step in the history of the ticket.
pub(super) async fn history(
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    step: Transition<TicketStatus>,
    reason: Option<String>,
    by: (&RequestContext, ActorKind),
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let step = NewStep {
        from: Some(step.from()),
        to: step.to(),
        actor: by.0.actor.clone(),
        kind: by.1,
        reason,
    };
    Ok(uow.tickets().add_step(ticket.id, &step, now).await?)
}

/// Gives an attempt back, so that a sick store cannot use up attempts at work that succeeded.
async fn refund(platform: &Platform, work: &Work) {
    let refunded = async {
        let mut uow = platform.begin().await?;
        uow.tickets().refund_attempt(work.ticket.id).await?;
        uow.commit().await
    };
    if let Err(error) = refunded.await {
        tracing::warn!(ticket_id = %work.ticket.id, error = &error as &dyn std::error::Error, "an attempt could not be given back");
    }
}
