//! A job that was given up is dropped.
//!
//! The ticket of most has FAILED already and stays so. One that is stuck in APPROVED or EXECUTING would wait for ever
//! for a job that is gone: it ends FAILED in the same transaction.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::dead_letters::{DeadLetter, JobId};
use shepherd_ports::tickets::TicketRecord;

use super::{lock_batch, not_found, visible};
use crate::execution::ending::{self, Ending};
use crate::execution::{Operations, Work};
use crate::{Platform, UseCaseError};

/// What is said of the failure of a ticket whose job was dropped.
const DETAIL: &str = "the job was dropped";

/// Drops the job.
///
/// # Errors
/// FORBIDDEN, JOB_NOT_FOUND (also for whoever comes second).
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    id: JobId,
) -> Result<(), UseCaseError> {
    caller.require(Permission::JobManage)?;
    let letter = visible(platform, caller, id).await?;
    let discard = Discard {
        platform,
        operations,
        caller,
        letter,
    };
    match discard.attempt(Thoroughness::Whole).await {
        // What cannot be recorded as it should be is perhaps why the job is dead. The ticket must end all the same.
        Err(error) if error.is_lasting() => {
            tracing::error!(job_id = %id, error = &error as &dyn std::error::Error,
                "the end of a ticket could not be recorded; the ticket alone fails");
            discard.attempt(Thoroughness::Bare).await
        }
        outcome => outcome,
    }
}

/// How much of the end of a stuck ticket is recorded.
#[derive(Clone, Copy)]
enum Thoroughness {
    /// All that belongs to a failure.
    Whole,
    /// Ticket, history and event.
    Bare,
}

struct Discard<'a> {
    platform: &'a Platform,
    operations: &'a Operations,
    caller: &'a Caller,
    letter: DeadLetter,
}

impl Discard<'_> {
    async fn attempt(&self, thoroughness: Thoroughness) -> Result<(), UseCaseError> {
        let (platform, id) = (self.platform, self.letter.job_id);
        let now = platform.now();
        let mut uow = platform.begin().await?;
        lock_batch(&mut *uow, &self.letter).await?;
        if !uow.dead_letters().take(id).await? {
            return Err(not_found(id).into());
        }
        let ticket = match self.letter.event_id {
            Some(event) => uow.tickets().find_by_event(event).await?,
            None => None,
        };
        if let Some(ticket) = ticket.as_ref().filter(|ticket| is_stuck(ticket)) {
            self.end(&mut *uow, ticket, thoroughness, now).await?;
        }
        let mut entry = AuditEntry::new(AuditAction::JobDiscard, "job", id).details(json!({
            "event_id": self.letter.event_id, "event_type": self.letter.event_type,
            "ticket_status": ticket.as_ref().map(|ticket| ticket.status), "last_error": self.letter.last_error,
        }));
        if let Some(ticket) = &ticket {
            entry = entry
                .named(&ticket.number)
                .ticket(ticket.id)
                .environment(ticket.environment);
        }
        platform.audit(&mut *uow, &self.caller.context, now, [entry]).await?;
        Ok(uow.commit().await?)
    }

    async fn end(
        &self,
        uow: &mut dyn UnitOfWork,
        ticket: &TicketRecord,
        thoroughness: Thoroughness,
        now: DateTime<Utc>,
    ) -> Result<(), UseCaseError> {
        let problem = problem_of(ticket);
        let ending = Ending {
            context: &self.caller.context,
            kind: ActorKind::User,
            problem: &problem,
            detail: DETAIL,
        };
        let ended = match thoroughness {
            Thoroughness::Whole => self.end_whole(uow, ticket, &ending, now).await?,
            Thoroughness::Bare => ending::record_bare(self.platform, uow, ticket, &ending, now).await?,
        };
        if ended {
            Ok(())
        } else {
            // It was settled between two looks; the next one tells how.
            Err(Problem::new(ErrorCode::ServiceBusy).into())
        }
    }

    async fn end_whole(
        &self,
        uow: &mut dyn UnitOfWork,
        ticket: &TicketRecord,
        ending: &Ending<'_>,
        now: DateTime<Utc>,
    ) -> Result<bool, UseCaseError> {
        let operation = self.operations.of_request(ticket.request_type)?;
        let event = uow.events().find(ticket.event_id).await?;
        let (Some(event), Some(vm_id)) = (event, ticket.vm_id) else {
            return ending::record_bare(self.platform, uow, ticket, ending, now).await;
        };
        let Some(vm) = uow.vms().find(vm_id).await? else {
            let by = (ending.context, ending.kind);
            return ending::record_gone(self.platform, uow, operation, ticket, vm_id, by, now).await;
        };
        let work = Work {
            event,
            ticket: ticket.clone(),
            vm,
            attempt: u32::try_from(ticket.attempt_count).unwrap_or(0),
        };
        ending::record(self.platform, uow, operation, &work, ending, now).await
    }
}

fn is_stuck(ticket: &TicketRecord) -> bool {
    match ticket.status {
        TicketStatus::Approved | TicketStatus::Executing => true,
        TicketStatus::Submitted
        | TicketStatus::PendingApproval
        | TicketStatus::Rejected
        | TicketStatus::Cancelled
        | TicketStatus::Completed
        | TicketStatus::Failed => false,
    }
}

/// The error of the last attempt that could be recorded, or that there was none.
fn problem_of(ticket: &TicketRecord) -> Problem {
    let code = ticket
        .error_code
        .as_deref()
        .and_then(|code| code.parse().ok())
        .unwrap_or(ErrorCode::InternalError);
    Problem::new(code).with("reason", "JobDropped")
}
