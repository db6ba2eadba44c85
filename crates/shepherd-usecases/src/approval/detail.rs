//! One ticket with its whole story.

use serde_json::Value;
use shepherd_domain::access::Permission;
use shepherd_domain::ticket::TicketStatus;
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::{HistoryStep, TicketRecord};

use super::workbench::{self, Assessment};
use super::{TicketRef, visible};
use crate::external_approval::standing::{self, Standing};
use crate::{Platform, UseCaseError};

/// A ticket as its requester and its approvers look at it.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The ticket.
    pub ticket: TicketRecord,
    /// Every state it has been in, oldest first.
    pub history: Vec<HistoryStep>,
    /// What was asked for.
    pub original_spec: Value,
    /// What is carried out.
    pub effective_spec: Value,
    /// What there is to say about it now; for those who may view approvals of its environment, while it is pending.
    pub assessment: Option<Assessment>,
    /// Where it stands with the external system that it was handed to.
    pub external_approval: Option<Standing>,
    /// Whether the caller may view approvals of its environment, and so also who may decide.
    pub as_approver: bool,
}

/// Reads a ticket.
///
/// # Errors
/// TICKET_NOT_FOUND.
pub async fn execute(platform: &Platform, caller: &Caller, ticket: &TicketRef) -> Result<Detail, UseCaseError> {
    let ticket = visible(platform, caller, ticket).await?;
    let history = platform.read.ticket_history(ticket.id).await?;
    let (payload, _) = platform
        .read
        .ticket_event(ticket.event_id)
        .await?
        .ok_or(UseCaseError::Broken("a ticket has no event"))?;
    let original_spec = payload.get("spec").cloned().unwrap_or(payload);
    let effective_spec = ticket.modified_spec.clone().unwrap_or_else(|| original_spec.clone());
    let as_approver = caller
        .subject
        .holds(Permission::ApprovalView, None, Some(ticket.environment));
    let assessment = if as_approver && ticket.status == TicketStatus::PendingApproval {
        workbench::assess(platform, caller, std::slice::from_ref(&ticket))
            .await?
            .pop()
    } else {
        None
    };
    let external_approval = standing::of(platform, ticket.id).await?;
    Ok(Detail {
        external_approval,
        ticket,
        history,
        original_spec,
        effective_spec,
        assessment,
        as_approver,
    })
}
