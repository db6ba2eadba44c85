//! Where a request goes that is approved: one place, or of a batch one for each child that waits.

use chrono::{DateTime, Utc};
use shepherd_domain::ids::VmId;
use shepherd_domain::problem::Warning;
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::TicketRecord;

use super::approve::Choice;
use super::decide::{self, Approval};
use crate::batch::approve::PlacedChild;
use crate::execution::{Operations, Placed, specs};
use crate::{Platform, UseCaseError, batch};

/// The place or the places.
pub(crate) enum Places {
    /// Of a request of its own, or of a child that is decided by itself.
    One(Box<Placed>),
    /// Of the children of a batch, in their order.
    Each(Vec<PlacedChild>),
}

impl Places {
    /// Checks a decision, with no transaction open; of a batch also whether its children are left to the caller, unless
    /// a system decides.
    ///
    /// # Errors
    /// The first refusal; of a batch INVALID_BATCH_ITEMS with the first refusal of every child.
    pub(crate) async fn find(
        platform: &Platform,
        operations: &Operations,
        caller: Option<&Caller>,
        ticket: &TicketRecord,
        choice: &Choice,
    ) -> Result<Self, UseCaseError> {
        if ticket.request_type.is_batch() {
            let children = batch::approve::place(platform, operations, caller, ticket, choice).await?;
            return Ok(Self::Each(children));
        }
        let payload = specs::payload(platform, ticket).await?;
        let operation = operations.of_request(ticket.request_type)?;
        let placed = operation.place(platform, ticket, &payload, choice).await?;
        Ok(Self::One(Box::new(placed)))
    }

    /// Approves, with all that an approval writes. `false` when somebody else moved the ticket first; then nothing of it
    /// may be kept.
    ///
    /// # Errors
    /// What the checks inside the transaction refuse; of a batch TICKET_NOT_PENDING about a child that was decided
    /// meanwhile.
    pub(crate) async fn approve(
        &self,
        platform: &Platform,
        uow: &mut dyn UnitOfWork,
        operations: &Operations,
        ticket: &TicketRecord,
        approval: &Approval<'_>,
        now: DateTime<Utc>,
    ) -> Result<bool, UseCaseError> {
        match self {
            Self::One(placed) => {
                let operation = operations.of_request(ticket.request_type)?;
                decide::apply(platform, uow, operation, ticket, placed, approval, now).await
            }
            Self::Each(children) => {
                batch::approve::apply(platform, uow, operations, ticket, children, approval, now).await
            }
        }
    }

    /// Findings that did not stop the approval.
    pub(crate) fn warnings(&self) -> Vec<&Warning> {
        match self {
            Self::One(placed) => placed.warnings.iter().collect(),
            Self::Each(children) => children.iter().flat_map(|child| &child.placed.warnings).collect(),
        }
    }

    /// The machine, when there is one only.
    pub(crate) fn vm(&self) -> Option<VmId> {
        match self {
            Self::One(placed) => Some(placed.vm_id),
            Self::Each(_) => None,
        }
    }
}
