//! The approval gateway: the only component that decides tickets.
//!
//! Each kind of request has one [`Operation`](crate::execution::Operation); a new kind is a new operation, not a new
//! branch here.

pub mod approve;
pub mod bulk_approve;
pub mod cancel;
pub(crate) mod decide;
pub mod detail;
pub mod modify;
pub(crate) mod places;
pub mod preview;
pub mod reject;
pub mod suggest;
pub mod workbench;

use shepherd_domain::access::Permission;
use shepherd_domain::ids::TicketId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::ticket::TicketStatus;
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::TicketRecord;

use crate::{Platform, UseCaseError, policy};

/// A ticket as a caller names it: by id, or by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketRef {
    /// By id.
    Id(TicketId),
    /// By `TKT-...`.
    Number(String),
}

impl TicketRef {
    /// An id when it reads as one, else a number.
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Number(text.to_owned()), Self::Id)
    }

    fn not_found(&self) -> Problem {
        match self {
            Self::Id(id) => Problem::not_found(ErrorCode::TicketNotFound, id),
            Self::Number(number) => {
                Problem::not_found(ErrorCode::TicketNotFound, number.chars().take(64).collect::<String>())
            }
        }
    }
}

fn is_number(text: &str) -> bool {
    text.len() <= 32
        && text
            .strip_prefix("TKT-")
            .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

async fn find(platform: &Platform, ticket: &TicketRef) -> Result<TicketRecord, UseCaseError> {
    let found = match ticket {
        TicketRef::Id(id) => platform.read.get_ticket(*id).await?,
        TicketRef::Number(number) if is_number(number) => platform.read.ticket_by_number(number).await?,
        TicketRef::Number(_) => None,
    };
    found.ok_or_else(|| ticket.not_found().into())
}

/// The ticket, if the caller may see it: the requester, and whoever holds `approval:view` in its environment.
///
/// # Errors
/// TICKET_NOT_FOUND.
pub async fn visible(platform: &Platform, caller: &Caller, ticket: &TicketRef) -> Result<TicketRecord, UseCaseError> {
    let record = find(platform, ticket).await?;
    let own = record.requester_id.as_user() == Some(caller.subject.user());
    if own
        || caller
            .subject
            .holds(Permission::ApprovalView, None, Some(record.environment))
    {
        Ok(record)
    } else {
        Err(ticket.not_found().into())
    }
}

/// The ticket, if the caller may decide it now.
async fn decidable(platform: &Platform, caller: &Caller, ticket: &TicketRef) -> Result<TicketRecord, UseCaseError> {
    let record = pending(platform, caller, ticket).await?;
    policy::require_eligible(platform, caller, &record).await?;
    forbid_self_approval(platform, caller, &record)?;
    Ok(record)
}

/// The ticket, if the caller may reject it now: as [`decidable`], and besides any platform administrator. Whom a policy
/// names may be gone, disabled, or without the role by now, and no ticket is left that nobody can end; but only
/// those it names approve. Whoever asked is bound by the rule about own requests, as an administrator too.
async fn rejectable(platform: &Platform, caller: &Caller, ticket: &TicketRef) -> Result<TicketRecord, UseCaseError> {
    let record = pending(platform, caller, ticket).await?;
    if !caller.subject.is_platform_admin() {
        policy::require_eligible(platform, caller, &record).await?;
    }
    forbid_self_approval(platform, caller, &record)?;
    Ok(record)
}

/// The ticket, if it waits and the caller decides tickets of its environment.
async fn pending(platform: &Platform, caller: &Caller, ticket: &TicketRef) -> Result<TicketRecord, UseCaseError> {
    caller.require(Permission::ApprovalApprove)?;
    let record = visible(platform, caller, ticket).await?;
    if !caller
        .subject
        .holds(Permission::ApprovalApprove, None, Some(record.environment))
    {
        return Err(Problem::new(ErrorCode::Forbidden)
            .with("required_permission", Permission::ApprovalApprove.as_str())
            .with("environment", record.environment.as_str())
            .into());
    }
    require_pending(&record)?;
    Ok(record)
}

/// # Errors
/// SELF_APPROVAL_FORBIDDEN{ticket_id, mode}.
fn forbid_self_approval(platform: &Platform, caller: &Caller, ticket: &TicketRecord) -> Result<(), Problem> {
    if !self_approval_blocked(platform, caller, ticket) {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::SelfApprovalForbidden)
        .with("ticket_id", ticket.id.to_string())
        .with("mode", platform.settings().self_approval.to_string()))
}

/// Whether the caller asked for it and so must leave the decision to others.
fn self_approval_blocked(platform: &Platform, caller: &Caller, ticket: &TicketRecord) -> bool {
    let own = ticket.requester_id.as_user() == Some(caller.subject.user());
    own && !platform.settings().self_approval.permits(ticket.environment)
}

fn require_pending(ticket: &TicketRecord) -> Result<(), Problem> {
    if ticket.status == TicketStatus::PendingApproval {
        Ok(())
    } else {
        Err(not_pending(ticket.id, ticket.status))
    }
}

pub(crate) fn not_pending(id: TicketId, status: TicketStatus) -> Problem {
    Problem::new(ErrorCode::TicketNotPending)
        .with("ticket_id", id.to_string())
        .with("status", status.as_str())
}

/// PRECONDITION_FAILED{current_version}: the ticket is not any more what it was when it was looked at.
pub(crate) fn overtaken(ticket: &TicketRecord) -> Problem {
    Problem::new(ErrorCode::PreconditionFailed).with("current_version", ticket.row_version)
}

/// The answer to whoever lost a race: the status the winner left, or the version when the ticket is still pending.
async fn lost_race(platform: &Platform, id: TicketId) -> Result<UseCaseError, UseCaseError> {
    let now = platform.read.get_ticket(id).await?;
    Ok(now
        .map_or_else(
            || Problem::not_found(ErrorCode::TicketNotFound, id),
            |ticket| match require_pending(&ticket) {
                Ok(()) => overtaken(&ticket),
                Err(decided) => decided,
            },
        )
        .into())
}
