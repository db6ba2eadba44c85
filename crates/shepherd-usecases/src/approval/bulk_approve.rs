//! Several tickets are approved with one choice, each by itself: what one of them refuses stops none of the others.

use std::collections::HashSet;

use shepherd_domain::access::Permission;
use shepherd_domain::ids::TicketId;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::context::Caller;

use super::TicketRef;
use super::approve::{self, Choice};
use crate::execution::Operations;
use crate::{Platform, UseCaseError};

/// What became of one of the tickets.
#[derive(Debug)]
pub struct Decided {
    /// The ticket.
    pub ticket: TicketId,
    /// Whether it is approved, or why not.
    pub outcome: Result<(), UseCaseError>,
}

/// Approves in the given order, each ticket in a transaction of its own.
///
/// # Errors
/// FORBIDDEN; VALIDATION_FAILED when no ticket is named or one is named twice; BATCH_SIZE_EXCEEDED{operation, size,
/// max_size}. What refuses a single ticket is said of that ticket.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    tickets: &[TicketId],
    choice: &Choice,
) -> Result<Vec<Decided>, UseCaseError> {
    caller.require(Permission::ApprovalApprove)?;
    check(platform, tickets)?;
    let mut all = Vec::with_capacity(tickets.len());
    for ticket in tickets {
        let outcome = approve::execute(platform, operations, caller, &TicketRef::Id(*ticket), choice).await;
        all.push(Decided {
            ticket: *ticket,
            outcome,
        });
    }
    Ok(all)
}

fn check(platform: &Platform, tickets: &[TicketId]) -> Result<(), Problem> {
    if tickets.is_empty() {
        return Err(Problem::invalid_field("ticket_ids", FieldCode::Required));
    }
    let max = platform.settings().batch.max_approve;
    if tickets.len() > max {
        return Err(Problem::new(ErrorCode::BatchSizeExceeded)
            .with("operation", "APPROVE")
            .with("size", tickets.len())
            .with("max_size", max));
    }
    let mut seen = HashSet::new();
    let repeated: Vec<FieldError> = tickets
        .iter()
        .enumerate()
        .filter(|(_, ticket)| !seen.insert(**ticket))
        .map(|(index, _)| {
            FieldError::new(format!("ticket_ids[{index}]"), FieldCode::UnknownValue).with("reason", "duplicate")
        })
        .collect();
    if repeated.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(repeated))
    }
}
