//! What retry and cancel have in common: whose batch it is, which of its children are meant, and what they answer.

use shepherd_domain::batch::BatchStatus;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::TicketId;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::batches::{BatchAudience, BatchRecord};
use shepherd_ports::context::Caller;

use super::read::BatchRef;
use crate::{Platform, UseCaseError};

/// What was done to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affected {
    /// The batch.
    pub batch: TicketId,
    /// How it is doing now.
    pub status: BatchStatus,
    /// The children that it was done to, in their order.
    pub tickets: Vec<TicketId>,
}

/// Most characters of a batch number that are looked for.
const MAX_NUMBER: usize = 32;

/// The batch, by id or number, for its creator and for platform administrators.
///
/// # Errors
/// BATCH_NOT_FOUND.
pub(super) async fn own(platform: &Platform, caller: &Caller, batch: &BatchRef) -> Result<BatchRecord, UseCaseError> {
    let audience = audience(caller);
    let found = match batch {
        BatchRef::Id(id) => platform.read.get_batch(&audience, *id).await?,
        BatchRef::Number(number) if is_number(number) => platform.read.batch_by_number(&audience, number).await?,
        BatchRef::Number(_) => None,
    };
    Ok(found.ok_or_else(|| batch.not_found())?)
}

/// What is no number, such as text that no database takes, is the number of no batch.
pub(super) fn is_number(text: &str) -> bool {
    text.len() <= MAX_NUMBER && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn audience(caller: &Caller) -> BatchAudience {
    BatchAudience {
        user: caller.subject.user(),
        all: caller.subject.is_platform_admin(),
        approvals: EnvironmentSet::EMPTY,
    }
}

/// Whether a child is meant; without a list all are.
pub(super) fn is_wanted(tickets: Option<&[TicketId]>, child: TicketId) -> bool {
    tickets.is_none_or(|tickets| tickets.contains(&child))
}

/// Every ticket that is named must be a child of the batch.
///
/// # Errors
/// VALIDATION_FAILED with NOT_FOUND for each that is none.
pub(super) async fn check_children(
    platform: &Platform,
    batch: TicketId,
    tickets: Option<&[TicketId]>,
) -> Result<(), UseCaseError> {
    let Some(tickets) = tickets else { return Ok(()) };
    let children = platform.read.batch_children(batch).await?;
    let strangers: Vec<FieldError> = tickets
        .iter()
        .enumerate()
        .filter(|(_, ticket)| !children.iter().any(|child| child.ticket_id == **ticket))
        .map(|(index, _)| FieldError::new(format!("ticket_ids[{index}]"), FieldCode::NotFound))
        .collect();
    if strangers.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(strangers).into())
    }
}

/// Nothing was done.
///
/// # Errors
/// When the store fails.
pub(super) async fn none(platform: &Platform, caller: &Caller, batch: TicketId) -> Result<Affected, UseCaseError> {
    let found = platform.read.get_batch(&audience(caller), batch).await?;
    let found = found.ok_or_else(|| Problem::not_found(ErrorCode::BatchNotFound, batch))?;
    Ok(Affected {
        batch,
        status: found.status,
        tickets: Vec::new(),
    })
}
