//! Recording what became of an operation, in one transaction each.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::audit::AuditEntry;
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::VmId;
use shepherd_domain::notification::Severity;
use shepherd_domain::problem::Problem;
use shepherd_domain::redaction::redact_and_truncate;
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_domain::transition::Transition;
use shepherd_ports::UnitOfWork;
use shepherd_ports::events::{Event, NewEvent};
use shepherd_ports::queue::{EventJob, JobVerdict};
use shepherd_ports::tickets::{NewStep, TicketRecord};

use super::Failure;
use super::claim::worker;
use super::operation::{Done, Operation, Work, vm_not_found};
use super::tell;
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
    let ticket_step = TicketStatus::Executing
        .complete()
        .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?;
    if !uow.tickets().transition(work.ticket.id, ticket_step, now).await? {
        // A second run of the same job recorded it first.
        return Ok(());
    }
    operation.succeed(platform, &mut *uow, work, &done).await?;
    let event_step = EventStatus::Processing
        .complete()
        .map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    uow.events().transition(work.event.id, event_step, None, now).await?;
    let details = json!({"ticket_number": work.ticket.number, "attempt": work.attempt});
    fact(platform, &mut *uow, work, operation.facts().0, details.clone(), now).await?;
    history(&mut *uow, &work.ticket, ticket_step, None, now).await?;
    let entry = AuditEntry::new(operation.audits().0, "vm", work.vm.id)
        .named(&work.vm.name)
        .ticket(work.ticket.id)
        .environment(work.ticket.environment)
        .details(details);
    platform.audit(&mut *uow, &worker(), now, [entry]).await?;
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
    Ok(uow.commit().await?)
}

/// Anything but success: postponed, or failed for good.
pub(super) async fn fail(
    platform: &Platform,
    operation: &dyn Operation,
    work: &Work,
    failure: Failure,
) -> Result<JobVerdict, UseCaseError> {
    let settings = &platform.settings.execution;
    let now = platform.now();
    match failure {
        Failure::Store(error) => Err(error),
        Failure::TargetGone => target_gone(platform, operation, &work.event, &work.ticket, work.vm.id).await,
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
    let settings = &platform.settings.execution;
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

/// No attempt is left: failed for good, and the job stays as a dead letter.
pub(super) async fn exhausted(
    platform: &Platform,
    operation: &dyn Operation,
    work: &Work,
    problem: Problem,
    detail: &str,
) -> Result<JobVerdict, UseCaseError> {
    if give_up(platform, operation, work, &problem, detail, End::Exhausted).await? {
        Ok(JobVerdict::DeadLetter(problem.code.to_string()))
    } else {
        Ok(JobVerdict::Done)
    }
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
    let ticket_step = TicketStatus::Executing
        .fail()
        .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?;
    if !uow
        .tickets()
        .fail(work.ticket.id, ticket_step, problem, &detail)
        .await?
    {
        return Ok(false);
    }
    operation.give_up(platform, &mut *uow, work, problem).await?;
    let event_step = EventStatus::Processing
        .fail()
        .map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    uow.events()
        .transition(work.event.id, event_step, Some(problem), now)
        .await?;
    let details = json!({"ticket_number": work.ticket.number, "attempt": work.attempt, "error_code": problem.code, "error_params": problem.params});
    fact(platform, &mut *uow, work, operation.facts().1, details.clone(), now).await?;
    history(
        &mut *uow,
        &work.ticket,
        ticket_step,
        Some(problem.code.to_string()),
        now,
    )
    .await?;
    let entry = AuditEntry::new(operation.audits().1, "vm", work.vm.id)
        .named(&work.vm.name)
        .ticket(work.ticket.id)
        .environment(work.ticket.environment)
        .details(details)
        .failed();
    platform.audit(&mut *uow, &worker(), now, [entry]).await?;
    let title = format!(
        "{}: {} failed",
        work.vm.name,
        work.ticket.request_type.operation_type().to_lowercase()
    );
    tell::owner(
        platform,
        &mut *uow,
        work,
        Severity::Warning,
        &title,
        &format!("{} failed: {}.", work.ticket.number, problem.code),
        Some(problem),
        now,
    )
    .await?;
    if end == End::Exhausted {
        tell::administrators(platform, &mut *uow, work, problem, now).await?;
    }
    uow.commit().await?;
    tracing::warn!(event_id = %work.event.id, ticket_id = %work.ticket.id, vm = %work.vm.name, %problem, detail, "failed for good");
    Ok(true)
}

/// The row is gone: there is nothing left that the operation could be done to.
pub(super) async fn target_gone(
    platform: &Platform,
    operation: &dyn Operation,
    event: &Event,
    ticket: &TicketRecord,
    vm: VmId,
) -> Result<JobVerdict, UseCaseError> {
    let now = platform.now();
    let problem = vm_not_found(vm);
    let mut uow = platform.begin().await?;
    let step = TicketStatus::Executing
        .fail()
        .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?;
    if !uow
        .tickets()
        .fail(ticket.id, step, &problem, "the machine is gone")
        .await?
    {
        return Ok(JobVerdict::Done);
    }
    let cancel = EventStatus::Processing
        .cancel()
        .map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    uow.events().transition(event.id, cancel, Some(&problem), now).await?;
    // What hung on it, such as the wish to call it off, has lost its object too.
    for follower in uow.events().open_followers(vm, event.id).await? {
        uow.events().transition(follower, cancel, Some(&problem), now).await?;
    }
    history(&mut *uow, ticket, step, Some(problem.code.to_string()), now).await?;
    let entry = AuditEntry::new(operation.audits().1, "vm", vm)
        .ticket(ticket.id)
        .environment(ticket.environment)
        .failed();
    platform.audit(&mut *uow, &worker(), now, [entry]).await?;
    tell::target_gone(platform, &mut *uow, ticket, &problem, now).await?;
    uow.commit().await?;
    Ok(JobVerdict::Done)
}

async fn fact(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    work: &Work,
    event_type: EventType,
    payload: serde_json::Value,
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
        created_by: worker().actor,
        at: now,
        trace_id: work.event.trace_id.clone(),
    };
    Ok(uow.events().insert(event).await?)
}

async fn history(
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    step: Transition<TicketStatus>,
    reason: Option<String>,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let step = NewStep {
        from: Some(step.from()),
        to: step.to(),
        actor: worker().actor,
        kind: ActorKind::Worker,
        reason,
    };
    Ok(uow.tickets().add_step(ticket.id, &step, now).await?)
}

/// The work is done but could not be recorded: the attempt is given back, so that a sick store cannot use up attempts at
/// work that succeeded.
pub(super) async fn refund(platform: &Platform, work: &Work) {
    let refunded = async {
        let mut uow = platform.begin().await?;
        uow.tickets().refund_attempt(work.ticket.id).await?;
        uow.commit().await
    };
    if let Err(error) = refunded.await {
        tracing::warn!(ticket_id = %work.ticket.id, error = &error as &dyn std::error::Error, "an attempt could not be given back");
    }
}
