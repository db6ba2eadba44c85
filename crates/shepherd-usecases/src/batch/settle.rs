//! What a batch makes of its children (batch.md §4).
//!
//! Whoever changes the status of a child ticket calls [`lock`] before touching any ticket of the batch, and [`settle`]
//! after that, in the same transaction. Under the lock the children are counted again, so the numbers of a batch are
//! never wrong, and transactions that meet at one batch wait for one another instead of for each other's tickets.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::batch::{self, BatchStatus, Outcome, Tally};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::TicketId;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_domain::transition::Transition;
use shepherd_ports::batches::{BatchRecord, ParentMover};
use shepherd_ports::events::{Event, NewEvent};
use shepherd_ports::tickets::{NewStep, TicketRecord};
use shepherd_ports::{RequestContext, UnitOfWork, metrics};

use crate::{Platform, UseCaseError};

/// Locks the batch of a ticket until the transaction ends; a ticket without a parent has none to lock.
///
/// # Errors
/// When the store fails, or a parent has no batch.
pub(crate) async fn lock(
    uow: &mut dyn UnitOfWork,
    parent: impl Into<Option<TicketId>> + Send,
) -> Result<Option<BatchRecord>, UseCaseError> {
    match parent.into() {
        Some(parent) => locked(uow, parent).await.map(Some),
        None => Ok(None),
    }
}

/// Counts the children again and writes what follows: the numbers and the status of the batch, the parent ticket with
/// its history, its event, and, when the batch ended with this, the fact and the news to its creator. Whatever the
/// caller moved of parent and event already stays as it is. A ticket without a parent has nothing to settle.
///
/// # Errors
/// When the store fails, or parent and children contradict each other.
pub(crate) async fn settle(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    parent: impl Into<Option<TicketId>> + Send,
    by: (&RequestContext, ActorKind),
    now: DateTime<Utc>,
) -> Result<Option<BatchStatus>, UseCaseError> {
    let Some(parent) = parent.into() else {
        return Ok(None);
    };
    let before = locked(uow, parent).await?;
    let tally = uow.batches().tally(parent).await?;
    let outcome = batch::aggregate(&tally);
    let ended = outcome.status.is_final() && !before.status.is_final();
    let completed_at = match before.completed_at {
        Some(since) if !ended => Some(since),
        Some(_) | None => Some(now),
    };
    let completed_at = completed_at.filter(|_| outcome.status.is_final());
    uow.batches()
        .settle(parent, &tally, outcome.status, completed_at)
        .await?;

    let found = uow.tickets().find(parent).await?;
    let ticket = found.ok_or(UseCaseError::Broken("a batch has no parent ticket"))?;
    move_ticket(uow, &ticket, outcome, by, now).await?;
    let event = move_event(uow, &ticket, outcome, now).await?;
    if ended {
        let took = metrics::since(before.created_at, now);
        uow.counted().later(move || metrics::batch_parent(took));
        let settled = Settled {
            batch: &before,
            ticket: &ticket,
            tally: &tally,
            outcome,
        };
        settled.record_fact(platform, uow, &event, by.0, now).await?;
        settled.tell_creator(platform, uow, now).await?;
    }
    Ok(Some(outcome.status))
}

async fn locked(uow: &mut dyn UnitOfWork, parent: TicketId) -> Result<BatchRecord, UseCaseError> {
    let found = uow.batches().lock(parent).await?;
    found.ok_or(UseCaseError::Broken("the parent of a ticket is no batch"))
}

async fn move_ticket(
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    outcome: Outcome,
    (context, kind): (&RequestContext, ActorKind),
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let path = batch::parent_path(ticket.status, outcome)
        .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?;
    if path.is_empty() {
        return Ok(());
    }
    let mover = ParentMover::new(context.actor.clone(), kind);
    if !uow.batches().move_parent(ticket.id, &path, &mover, now).await? {
        return Err(UseCaseError::Broken(
            "a parent ticket moved without the lock of its batch",
        ));
    }
    for step in &path {
        let history = history(step, context, kind);
        uow.tickets().add_step(ticket.id, &history, now).await?;
    }
    Ok(())
}

fn history(step: &Transition<TicketStatus>, context: &RequestContext, kind: ActorKind) -> NewStep {
    NewStep {
        from: Some(step.from()),
        to: step.to(),
        actor: context.actor.clone(),
        kind,
        reason: batch::is_retry(step).then(|| batch::RETRY_REASON.to_owned()),
    }
}

async fn move_event(
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    outcome: Outcome,
    now: DateTime<Utc>,
) -> Result<Event, UseCaseError> {
    let found = uow.events().find(ticket.event_id).await?;
    let event = found.ok_or(UseCaseError::Broken("a parent ticket has no event"))?;
    let path =
        batch::event_path(event.status, outcome).map_err(|error| UseCaseError::invalid_transition("event", &error))?;
    for step in path {
        if !uow.events().transition(event.id, step, None, now).await? {
            return Err(UseCaseError::Broken("the event of a batch moved without its lock"));
        }
    }
    Ok(event)
}

/// A batch none of whose children is open any more.
struct Settled<'a> {
    /// As it was before.
    batch: &'a BatchRecord,
    /// As it was before.
    ticket: &'a TicketRecord,
    tally: &'a Tally,
    outcome: Outcome,
}

impl Settled<'_> {
    /// The fact that follows from the work event; there is none of a batch of which nothing was carried out or tried.
    async fn record_fact(
        &self,
        platform: &Platform,
        uow: &mut dyn UnitOfWork,
        event: &Event,
        context: &RequestContext,
        now: DateTime<Utc>,
    ) -> Result<(), UseCaseError> {
        let Some(event_type) = self.fact() else { return Ok(()) };
        let fact = NewEvent {
            id: platform.ids.id(),
            event_type,
            aggregate_type: AggregateType::Batch,
            aggregate_id: self.batch.id.to_string(),
            payload: self.details(),
            status: EventStatus::Completed,
            causation_id: Some(event.id),
            environment: Some(self.batch.environment),
            created_by: context.actor.clone(),
            at: now,
            trace_id: event.trace_id.clone(),
            trace_parent: None,
        };
        Ok(uow.events().insert(fact).await?)
    }

    fn fact(&self) -> Option<EventType> {
        let (completed, failed) = self.batch.batch_type.facts();
        match self.outcome.status {
            BatchStatus::Completed | BatchStatus::PartialSuccess => Some(completed),
            BatchStatus::Failed if self.tally.failed > 0 => Some(failed),
            BatchStatus::Failed | BatchStatus::Cancelled | BatchStatus::PendingApproval | BatchStatus::InProgress => {
                None
            }
        }
    }

    /// One notification. Whoever rejected the parent itself has told the creator why.
    async fn tell_creator(
        &self,
        platform: &Platform,
        uow: &mut dyn UnitOfWork,
        now: DateTime<Utc>,
    ) -> Result<(), UseCaseError> {
        let Some(creator) = self.batch.created_by.as_user() else {
            return Ok(());
        };
        if self.ticket.status == TicketStatus::Rejected {
            return Ok(());
        }
        let counters = self.tally.counters();
        let number = &self.batch.number;
        let (severity, what) = match self.outcome.status {
            BatchStatus::Completed => (Severity::Info, "completed"),
            BatchStatus::Cancelled => (Severity::Info, "cancelled"),
            BatchStatus::PartialSuccess => (Severity::Warning, "partly completed"),
            BatchStatus::Failed if self.outcome.parent == TicketStatus::Rejected => (Severity::Warning, "rejected"),
            BatchStatus::Failed | BatchStatus::PendingApproval | BatchStatus::InProgress => {
                (Severity::Warning, "failed")
            }
        };
        let kind = match self.outcome.parent {
            TicketStatus::Rejected => NotificationType::ApprovalRejected,
            TicketStatus::Submitted
            | TicketStatus::PendingApproval
            | TicketStatus::Approved
            | TicketStatus::Cancelled
            | TicketStatus::Executing
            | TicketStatus::Completed
            | TicketStatus::Failed => NotificationType::VmStatusChange,
        };
        let message = format!(
            "{} of {} succeeded, {} failed, {} were cancelled.",
            counters.success, self.tally.children, counters.failed, counters.cancelled
        );
        let draft = NotificationDraft::new(kind, severity, &format!("{number} {what}"), &message)
            .about("batch", self.batch.id)
            .params(self.details());
        Ok(platform
            .notifications
            .send(uow.notifications(), Audience::User(creator), draft, now)
            .await?)
    }

    fn details(&self) -> serde_json::Value {
        let counters = self.tally.counters();
        json!({
            "batch_number": self.batch.number, "ticket_number": self.ticket.number,
            "operation": self.batch.batch_type.operation(), "status": self.outcome.status,
            "child_count": self.tally.children, "success_count": counters.success, "failed_count": counters.failed,
            "rejected_count": counters.rejected, "cancelled_count": counters.cancelled,
        })
    }
}
