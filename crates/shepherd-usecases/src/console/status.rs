//! How the caller stands with the console of a machine.

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::{TicketId, VmId};
use shepherd_domain::problem::ErrorCode;
use shepherd_domain::ticket::TicketStatus;
use shepherd_ports::consoles::ConsoleStanding;
use shepherd_ports::context::Caller;

use super::token::Source;
use super::{Opened, open};
use crate::{Platform, UseCaseError, vm};

/// Where a person stands.
pub enum Standing {
    /// There is no access: nothing was asked for, or what was given has ended.
    NotRequested,
    /// A request waits for an approver.
    Pending(TicketId),
    /// There is access now.
    Opened(Box<Opened>),
    /// The last request was rejected or cancelled, or failed.
    Rejected(TicketId),
}

/// Answers it, and with access a token.
///
/// # Errors
/// FORBIDDEN, VM_NOT_FOUND; with access VM_NOT_RUNNING, RATE_LIMIT_EXCEEDED{console_tokens}.
pub async fn execute(platform: &Platform, caller: &Caller, id: VmId) -> Result<Standing, UseCaseError> {
    let vm = vm::visible(platform, caller, Permission::VncAccess, ResourceAction::Operate, id).await?;
    let user = caller.subject.user();
    let mut found = platform.read.console_standing(vm.id, user, platform.now()).await?;
    let Some(grant) = found.live.take() else {
        return Ok(without_access(&found));
    };
    super::require_running(&vm)?;
    match open(platform, caller, &vm, grant, Source::ConsoleStatus).await {
        Ok(opened) => Ok(Standing::Opened(Box::new(opened))),
        // It ended since it was looked at.
        Err(UseCaseError::Problem(problem)) if problem.code == ErrorCode::ConsoleGrantNotFound => {
            Ok(without_access(&found))
        }
        Err(error) => Err(error),
    }
}

fn without_access(found: &ConsoleStanding) -> Standing {
    let Some(asked) = &found.asked else {
        return Standing::NotRequested;
    };
    let granted_since = found.granted_at.is_some_and(|granted| granted > asked.created_at);
    match asked.status {
        TicketStatus::Submitted | TicketStatus::PendingApproval | TicketStatus::Approved | TicketStatus::Executing => {
            Standing::Pending(asked.ticket_id)
        }
        TicketStatus::Rejected | TicketStatus::Cancelled | TicketStatus::Failed if granted_since => {
            Standing::NotRequested
        }
        TicketStatus::Rejected | TicketStatus::Cancelled | TicketStatus::Failed => Standing::Rejected(asked.ticket_id),
        // Its grant has expired or was revoked.
        TicketStatus::Completed => Standing::NotRequested,
    }
}
