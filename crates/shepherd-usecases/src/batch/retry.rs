//! Failed children of a batch are carried out again, as they were approved: nothing is decided anew, so place and
//! snapshots stay and the rules about who may approve do not apply.

use serde_json::json;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::batch::RETRY_REASON;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::TicketId;
use shepherd_domain::page::PageRequest;
use shepherd_domain::problem::ErrorCode;
use shepherd_domain::ticket::{ActorKind, RequestType, TicketStatus};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::{TicketFilter, TicketRecord};

use super::affected::{self, Affected};
use super::read::BatchRef;
use super::settle;
use crate::authorization::{self, Guarded};
use crate::dead_letter::{is_restorable, retry};
use crate::{Platform, UseCaseError, vm};

/// Retries the children that failed, or those of them that are named. Left out are children that were retried
/// `queue.max_manual_retries` times, those that the caller may not operate any more, and those whose machine is gone, has
/// gone on or is being operated on by another request.
///
/// # Errors
/// BATCH_NOT_FOUND for everybody but the creator and platform administrators; VALIDATION_FAILED about a ticket that is
/// no child of it; DUPLICATE_PENDING_REQUEST when another request for a machine comes in at the same moment.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    batch: &BatchRef,
    tickets: Option<&[TicketId]>,
) -> Result<Affected, UseCaseError> {
    let batch = affected::own(platform, caller, batch).await?;
    affected::check_children(platform, batch.id, tickets).await?;
    let allowed = retriable(platform, caller, batch.id, tickets).await?;
    let most = platform.settings().execution.max_manual_retries;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    settle::lock(&mut *uow, batch.id).await?;
    let failed = uow.batches().children_in(batch.id, &[TicketStatus::Failed]).await?;
    let wanted = failed
        .iter()
        .filter(|child| allowed.contains(&child.id) && has_retries_left(child, most));
    let mut ids = Vec::new();
    for child in restorable(&mut *uow, wanted).await? {
        if let Err(error) = retry::bring_back(&mut *uow, caller, child, most, Some(RETRY_REASON), now).await {
            drop(uow);
            return Err(retry::explained(platform, child, error).await?);
        }
        // The job that was given up is not to be retried beside the new one.
        uow.dead_letters().take_all(child.event_id).await?;
        retry::enqueue(&mut *uow, child).await?;
        ids.push(child.id);
    }
    if ids.is_empty() {
        drop(uow);
        return affected::none(platform, caller, batch.id).await;
    }
    let entry = AuditEntry::new(AuditAction::VmBatchRetry, "batch", batch.id)
        .named(&batch.number)
        .ticket(batch.id)
        .environment(batch.environment)
        .details(json!({"ticket_ids": ids, "affected_count": ids.len()}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    let by = (&caller.context, ActorKind::User);
    let settled = settle::settle(platform, &mut *uow, batch.id, by, now).await?;
    uow.commit().await?;
    Ok(Affected {
        batch: batch.id,
        status: settled.unwrap_or(batch.status),
        tickets: ids,
    })
}

/// The failed children that are meant, that the caller may still operate, and that nothing else is done to.
async fn retriable(
    platform: &Platform,
    caller: &Caller,
    batch: TicketId,
    tickets: Option<&[TicketId]>,
) -> Result<Vec<TicketId>, UseCaseError> {
    let filter = TicketFilter {
        status: Some(TicketStatus::Failed),
        parent_ticket_id: Some(batch),
        include_archived: true,
        ..TicketFilter::default()
    };
    let failed = platform
        .read
        .list_tickets(EnvironmentSet::ALL, &filter, PageRequest::all())
        .await?;
    let mut allowed = Vec::new();
    for child in failed.items {
        if affected::is_wanted(tickets, child.id)
            && may_operate(platform, caller, &child).await?
            && !is_busy(platform, &child).await?
        {
            allowed.push(child.id);
        }
    }
    Ok(allowed)
}

/// Whether the caller could ask for this today.
async fn may_operate(platform: &Platform, caller: &Caller, child: &TicketRecord) -> Result<bool, UseCaseError> {
    if child.request_type == RequestType::CreateVm {
        return Ok(may_create(caller, child));
    }
    let Some(id) = child.vm_id else { return Ok(false) };
    let (permission, action) = if child.request_type == RequestType::DeleteVm {
        (Permission::VmDelete, ResourceAction::Delete)
    } else {
        (Permission::VmOperate, ResourceAction::Operate)
    };
    match vm::visible(platform, caller, permission, action, id).await {
        Ok(_) => Ok(true),
        Err(UseCaseError::Problem(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn may_create(caller: &Caller, child: &TicketRecord) -> bool {
    let (Some(system), Some(service)) = (child.system_id, child.service_id) else {
        return false;
    };
    let object = Guarded {
        not_found: ErrorCode::ServiceNotFound,
        id: &service,
        read: Permission::ServiceRead,
    };
    let create = Permission::VmCreate;
    authorization::require(caller, create, ResourceAction::Create, system, object).is_ok()
        && caller.subject.holds(create, Some(system), Some(child.environment))
}

/// Whether another request of the same kind is open for the machine.
async fn is_busy(platform: &Platform, child: &TicketRecord) -> Result<bool, UseCaseError> {
    let Some(machine) = child.vm_id.filter(|_| child.request_type != RequestType::CreateVm) else {
        return Ok(false);
    };
    let group = child.request_type.operation_group();
    Ok(platform.read.open_vm_operation(machine, group).await?.is_some())
}

fn has_retries_left(child: &TicketRecord, most: u32) -> bool {
    u32::try_from(child.retry_count).is_ok_and(|retries| retries < most)
}

/// Those whose machine can be brought back to where the approval had put it. The machines are held in their own order,
/// so that two who need the same ones do not wait for each other.
async fn restorable<'a>(
    uow: &mut dyn UnitOfWork,
    children: impl Iterator<Item = &'a TicketRecord> + Send,
) -> Result<Vec<&'a TicketRecord>, UseCaseError> {
    let mut children: Vec<(usize, &TicketRecord)> = children.enumerate().collect();
    children.sort_by_key(|(_, child)| child.vm_id);
    let mut found = Vec::new();
    for (place, child) in children {
        if is_restorable(uow, child).await? {
            found.push((place, child));
        }
    }
    found.sort_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, child)| child).collect())
}
