//! A batch is rejected: every child that waits is rejected with it, for the same reason. The requester hears of it once.

use chrono::{DateTime, Utc};
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::{RequestContext, UnitOfWork};

use super::settle;
use crate::approval::reject;
use crate::{Platform, UseCaseError};

/// What the refusal of a batch writes. `false` when somebody else moved the parent first; then nothing of it may be
/// kept.
///
/// # Errors
/// When the store fails.
pub(crate) async fn apply(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    parent: &TicketRecord,
    reason: &str,
    context: &RequestContext,
    kind: ActorKind,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    settle::lock(uow, parent.id).await?;
    if !reject::record(platform, uow, parent, reason, context, kind, now).await? {
        return Ok(false);
    }
    let waiting = uow
        .batches()
        .children_in(parent.id, &[TicketStatus::PendingApproval])
        .await?;
    for child in &waiting {
        if !reject::record(platform, uow, child, reason, context, kind, now).await? {
            return Err(UseCaseError::Broken("a child moved without the lock of its batch"));
        }
    }
    reject::tell_requester(platform, uow, parent, reason, now).await?;
    settle::settle(platform, uow, parent.id, (context, kind), now).await?;
    Ok(true)
}
