//! Batches are looked at. Looking changes nothing: what a batch shows is written whenever one of its children moves.

use shepherd_domain::access::Permission;
use shepherd_domain::ids::TicketId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::batches::{BatchAudience, BatchChild, BatchFilter, BatchRecord};
use shepherd_ports::context::Caller;

use super::affected;
use crate::{Platform, UseCaseError};

/// Most characters of a number, and of what is repeated of something that is none.
const MAX_NUMBER: usize = 64;

/// A batch as a caller names it: by id, or by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchRef {
    /// By id.
    Id(TicketId),
    /// By `BAT-...`.
    Number(String),
}

impl BatchRef {
    /// An id when it reads as one, else a number.
    pub fn parse(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Number(text.chars().take(MAX_NUMBER).collect()), Self::Id)
    }

    /// BATCH_NOT_FOUND about it.
    pub(super) fn not_found(&self) -> Problem {
        match self {
            Self::Id(id) => Problem::not_found(ErrorCode::BatchNotFound, id),
            Self::Number(number) => Problem::not_found(ErrorCode::BatchNotFound, number),
        }
    }
}

/// Own batches, newest first; all of them for platform administrators.
///
/// # Errors
/// When the store fails.
pub async fn list(
    platform: &Platform,
    caller: &Caller,
    filter: &BatchFilter,
    page: PageRequest,
) -> Result<Page<BatchRecord>, UseCaseError> {
    Ok(platform.read.list_batches(&audience(caller), filter, page).await?)
}

/// One batch with its children in their order: for its creator, and for whoever holds `approval:view` in its
/// environment.
///
/// # Errors
/// BATCH_NOT_FOUND.
pub async fn find(
    platform: &Platform,
    caller: &Caller,
    batch: &BatchRef,
) -> Result<(BatchRecord, Vec<BatchChild>), UseCaseError> {
    let audience = audience(caller);
    let found = match batch {
        BatchRef::Id(id) => platform.read.get_batch(&audience, *id).await?,
        BatchRef::Number(number) if affected::is_number(number) => {
            platform.read.batch_by_number(&audience, number).await?
        }
        BatchRef::Number(_) => None,
    };
    let record = found.ok_or_else(|| batch.not_found())?;
    let children = platform.read.batch_children(record.id).await?;
    Ok((record, children))
}

fn audience(caller: &Caller) -> BatchAudience {
    BatchAudience {
        user: caller.subject.user(),
        all: caller.subject.is_platform_admin(),
        approvals: caller.subject.environments(Permission::ApprovalView, None),
    }
}
