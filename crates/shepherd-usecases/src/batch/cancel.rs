//! What waits of a batch is withdrawn: all of it through its parent ticket, or any of it through the batch. What is
//! approved or under way goes on.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::TicketId;
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::{RequestContext, UnitOfWork};

use super::affected::{self, Affected};
use super::read::BatchRef;
use super::settle;
use crate::approval::cancel;
use crate::{Platform, UseCaseError, external_approval};

/// Withdraws the children that wait, or those of them that are named. With the last one the batch ends.
///
/// # Errors
/// BATCH_NOT_FOUND for everybody but the creator and platform administrators; VALIDATION_FAILED about a ticket that is
/// no child of it.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    batch: &BatchRef,
    tickets: Option<&[TicketId]>,
) -> Result<Affected, UseCaseError> {
    let batch = affected::own(platform, caller, batch).await?;
    affected::check_children(platform, batch.id, tickets).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    settle::lock(&mut *uow, batch.id).await?;
    let waiting = uow
        .batches()
        .children_in(batch.id, &[TicketStatus::PendingApproval])
        .await?;
    let wanted: Vec<&TicketRecord> = waiting
        .iter()
        .filter(|child| affected::is_wanted(tickets, child.id))
        .collect();
    if wanted.is_empty() {
        drop(uow);
        return affected::none(platform, caller, batch.id).await;
    }
    for child in &wanted {
        withdraw(platform, &mut *uow, child, None, &caller.context, now).await?;
    }
    let ids: Vec<TicketId> = wanted.iter().map(|child| child.id).collect();
    let entry = AuditEntry::new(AuditAction::VmBatchCancel, "batch", batch.id)
        .named(&batch.number)
        .ticket(batch.id)
        .environment(batch.environment)
        .details(json!({"ticket_ids": ids, "affected_count": ids.len()}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    let by = (&caller.context, ActorKind::User);
    let settled = settle::settle(platform, &mut *uow, batch.id, by, now).await?;
    // Nothing is left that an external system could consent to.
    if wanted.len() == waiting.len() {
        external_approval::cancel(&mut *uow, batch.id).await?;
    }
    uow.commit().await?;
    Ok(Affected {
        batch: batch.id,
        status: settled.unwrap_or(batch.status),
        tickets: ids,
    })
}

/// What the withdrawal of a parent ticket writes. `false` when somebody decided it first; then nothing of it may be
/// kept. What becomes of the parent follows from its children, some of which may have been rejected before.
///
/// # Errors
/// When the store fails.
pub(crate) async fn apply(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    parent: &TicketRecord,
    reason: Option<&str>,
    context: &RequestContext,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    settle::lock(uow, parent.id).await?;
    let found = uow.tickets().find(parent.id).await?;
    if found.is_none_or(|found| found.status != TicketStatus::PendingApproval) {
        return Ok(false);
    }
    let waiting = uow
        .batches()
        .children_in(parent.id, &[TicketStatus::PendingApproval])
        .await?;
    for child in &waiting {
        withdraw(platform, uow, child, reason, context, now).await?;
    }
    cancel::write_fact(platform, uow, parent, reason, context, now).await?;
    let entry = cancel::audited(parent, reason);
    platform.audit(uow, context, now, [entry]).await?;
    settle::settle(platform, uow, parent.id, (context, ActorKind::User), now).await?;
    Ok(true)
}

async fn withdraw(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    child: &TicketRecord,
    reason: Option<&str>,
    context: &RequestContext,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    if cancel::record(platform, uow, child, reason, context, now).await? {
        Ok(())
    } else {
        Err(UseCaseError::Broken("a child moved without the lock of its batch"))
    }
}
