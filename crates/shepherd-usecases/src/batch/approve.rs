//! A batch is approved: every child that waits goes to the one place that was chosen, all in one transaction.
//!
//! What the cluster and the catalogue say about the children is looked at before, a few at a time, with no transaction
//! open. A child that was decided meanwhile undoes the whole approval: the approver saw another batch.

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::TicketId;
use shepherd_domain::page::PageRequest;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_domain::ticket::{RequestType, TicketStatus};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::{ApprovalColumns, NewStep, TicketFilter, TicketRecord};

use super::settle;
use crate::approval::approve::Choice;
use crate::approval::decide::{self, Approval};
use crate::approval::{not_pending, overtaken, suggest};
use crate::execution::{DryRunResult, Examined, Operations, Placed, specs};
use crate::{Platform, UseCaseError, policy};

/// How many children are looked at together.
const PARALLEL: usize = 4;

/// A child that waits for a decision.
#[derive(Clone, Debug)]
pub(crate) struct WaitingChild {
    /// From 1.
    pub(crate) sequence_no: i32,
    /// Its ticket.
    pub(crate) ticket: TicketRecord,
}

/// A child, and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct PlacedChild {
    /// From 1.
    pub(crate) sequence_no: i32,
    /// Its ticket.
    pub(crate) ticket: TicketRecord,
    /// The place.
    pub(crate) placed: Placed,
}

/// The children of a batch that wait, in their order.
///
/// # Errors
/// When the store fails.
pub(crate) async fn waiting(platform: &Platform, parent: TicketId) -> Result<Vec<WaitingChild>, UseCaseError> {
    let children = platform.read.batch_children(parent).await?;
    let filter = TicketFilter {
        status: Some(TicketStatus::PendingApproval),
        parent_ticket_id: Some(parent),
        include_archived: true,
        ..TicketFilter::default()
    };
    let tickets = platform
        .read
        .list_tickets(EnvironmentSet::ALL, &filter, PageRequest::all())
        .await?;
    let mut waiting: Vec<WaitingChild> = tickets
        .items
        .into_iter()
        .filter_map(|ticket| {
            let child = children.iter().find(|child| child.ticket_id == ticket.id)?;
            let sequence_no = child.sequence_no;
            Some(WaitingChild { sequence_no, ticket })
        })
        .collect();
    waiting.sort_by_key(|child| child.sequence_no);
    Ok(waiting)
}

/// Checks the decision for every child that waits, with no transaction open; may call clusters. A caller must be one of
/// those to whom each child is left; a system is none of them.
///
/// # Errors
/// VALIDATION_FAILED when the choice itself is no good; INVALID_BATCH_ITEMS with the first refusal of each child.
pub(crate) async fn place(
    platform: &Platform,
    operations: &Operations,
    caller: Option<&Caller>,
    parent: &TicketRecord,
    choice: &Choice,
) -> Result<Vec<PlacedChild>, UseCaseError> {
    let children = waiting(platform, parent.id).await?;
    let choice = &common(platform, parent, &children, choice).await?;
    let looks: Vec<_> = children
        .into_iter()
        .map(|child| place_one(platform, operations, caller, child, choice))
        .collect();
    let mut looks = stream::iter(looks).buffered(PARALLEL);
    let mut placed = Vec::new();
    let mut refused = Vec::new();
    while let Some(looked) = looks.next().await {
        match looked? {
            Ok(child) => placed.push(child),
            // The choice is the same for all, so what is wrong with it is said once.
            Err((_, problem)) if problem.code == ErrorCode::ValidationFailed => return Err(problem.into()),
            Err((child, problem)) => refused.push(item(&child, problem)),
        }
    }
    if refused.is_empty() {
        return Ok(placed);
    }
    Err(Problem {
        field_errors: refused,
        ..Problem::new(ErrorCode::InvalidBatchItems)
    }
    .into())
}

/// The choice with the one cluster that takes all children, where they are new machines and none was chosen.
///
/// # Errors
/// VALIDATION_FAILED unless there is exactly one.
async fn common(
    platform: &Platform,
    parent: &TicketRecord,
    children: &[WaitingChild],
    choice: &Choice,
) -> Result<Choice, UseCaseError> {
    if parent.request_type != RequestType::BatchCreate || choice.cluster.is_some() || children.is_empty() {
        return Ok(choice.clone());
    }
    let only = match suggest::only_for(platform, parent).await {
        Ok(only) => only,
        // What a child refers to is gone, and that is said of the child.
        Err(UseCaseError::Problem(_)) => return Ok(choice.clone()),
        Err(error) => return Err(error),
    };
    let only = only.ok_or_else(|| Problem::invalid_field("selected_cluster_id", FieldCode::Required))?;
    Ok(Choice {
        cluster: Some(only),
        ..choice.clone()
    })
}

/// Why this caller may not decide about the child, as it was asked for or as somebody has modified it.
async fn left_to_others(
    platform: &Platform,
    caller: Option<&Caller>,
    ticket: &TicketRecord,
) -> Result<Option<Problem>, UseCaseError> {
    let Some(caller) = caller else { return Ok(None) };
    match require_eligible(platform, caller, ticket).await {
        Ok(()) => Ok(None),
        Err(UseCaseError::Problem(problem)) => Ok(Some(problem)),
        Err(error) => Err(error),
    }
}

async fn require_eligible(platform: &Platform, caller: &Caller, ticket: &TicketRecord) -> Result<(), UseCaseError> {
    policy::require_eligible(platform, caller, ticket).await?;
    match &ticket.modified_spec {
        Some(spec) => policy::require_eligible_for(platform, caller, ticket, spec).await,
        None => Ok(()),
    }
}

/// A place, or the refusal of this child; what fails by itself ends everything.
async fn place_one(
    platform: &Platform,
    operations: &Operations,
    caller: Option<&Caller>,
    child: WaitingChild,
    choice: &Choice,
) -> Result<Result<PlacedChild, (WaitingChild, Problem)>, UseCaseError> {
    if let Some(problem) = left_to_others(platform, caller, &child.ticket).await? {
        return Ok(Err((child, problem)));
    }
    let operation = operations.of_request(child.ticket.request_type)?;
    let payload = specs::payload(platform, &child.ticket).await?;
    match operation.place(platform, &child.ticket, &payload, choice).await {
        Ok(placed) => Ok(Ok(PlacedChild {
            sequence_no: child.sequence_no,
            ticket: child.ticket,
            placed,
        })),
        Err(UseCaseError::Problem(problem)) => Ok(Err((child, problem))),
        Err(error) => Err(error),
    }
}

/// What refuses the approval because of one child.
fn item(child: &WaitingChild, problem: Problem) -> FieldError {
    refusal(child.sequence_no, child.ticket.id, problem)
}

fn refusal(sequence_no: i32, ticket: TicketId, problem: Problem) -> FieldError {
    let Problem { code, params, .. } = problem;
    FieldError {
        params,
        ..FieldError::new(format!("children[{sequence_no}]"), FieldCode::Item(code))
    }
    .with("ticket_id", ticket.to_string())
}

/// Everything there is to say about a decision that nobody makes yet: the refusals of each child, which name it, and
/// the warnings of all.
///
/// # Errors
/// When the store fails.
pub(crate) async fn examine(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    parent: &TicketRecord,
    choice: &Choice,
) -> Result<Examined, UseCaseError> {
    let children = waiting(platform, parent.id).await?;
    let mut all = Examined::default();
    let choice = match common(platform, parent, &children, choice).await {
        Ok(choice) => choice,
        // Without a place there is nothing to look at.
        Err(UseCaseError::Problem(problem)) => {
            all.findings.blocking.push(problem);
            return Ok(all);
        }
        Err(error) => return Err(error),
    };
    let looks: Vec<_> = children
        .into_iter()
        .map(|child| examine_one(platform, operations, caller, child, &choice))
        .collect();
    let mut looks = stream::iter(looks).buffered(PARALLEL);
    while let Some(looked) = looks.next().await {
        let (child, examined) = looked?;
        all.findings.blocking.extend(named(&child, examined.findings.blocking));
        for warning in examined.findings.warnings {
            if !all.findings.warnings.contains(&warning) {
                all.findings.warnings.push(warning);
            }
        }
        all.dry_run = worse(all.dry_run, examined.dry_run);
    }
    Ok(all)
}

async fn examine_one(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    child: WaitingChild,
    choice: &Choice,
) -> Result<(WaitingChild, Examined), UseCaseError> {
    let operation = operations.of_request(child.ticket.request_type)?;
    let payload = specs::payload(platform, &child.ticket).await?;
    let mut examined = operation.examine(platform, &child.ticket, &payload, choice).await?;
    if let Some(refused) = left_to_others(platform, Some(caller), &child.ticket).await? {
        examined.findings.blocking.insert(0, refused);
    }
    Ok((child, examined))
}

fn named(child: &WaitingChild, problems: Vec<Problem>) -> impl Iterator<Item = Problem> {
    let (ticket, sequence_no) = (child.ticket.id.to_string(), child.sequence_no);
    problems.into_iter().map(move |problem| {
        problem
            .with("ticket_id", ticket.as_str())
            .with("sequence_no", sequence_no)
    })
}

/// Of two answers to dry runs the one that is to be known.
fn worse(one: Option<DryRunResult>, other: Option<DryRunResult>) -> Option<DryRunResult> {
    [
        DryRunResult::Rejected,
        DryRunResult::Unreachable,
        DryRunResult::Accepted,
    ]
    .into_iter()
    .find(|answer| one == Some(*answer) || other == Some(*answer))
}

/// What the approval of a batch writes: the parent with its approver, every child as if it were approved by itself, and
/// what becomes of the batch. `false` when somebody else moved the parent first; then nothing of it may be kept.
///
/// # Errors
/// INVALID_BATCH_ITEMS with what the checks inside the transaction refuse; TICKET_NOT_PENDING and PRECONDITION_FAILED
/// about a child that is not any more what was looked at.
pub(crate) async fn apply(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    operations: &Operations,
    parent: &TicketRecord,
    children: &[PlacedChild],
    approval: &Approval<'_>,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    settle::lock(uow, parent.id).await?;
    let columns = columns(parent, children, approval, now);
    if !uow.tickets().approve(parent.id, approval.step, &columns).await? {
        return Ok(false);
    }
    decide::count_approval(uow, parent, approval.decided_by, now);
    require_unchanged(uow, parent, children, approval.step.from()).await?;
    hold_machines(uow, children).await?;
    let history = NewStep {
        from: Some(approval.step.from()),
        to: approval.step.to(),
        actor: approval.context.actor.clone(),
        kind: approval.kind,
        reason: approval.comment.clone(),
    };
    uow.tickets().add_step(parent.id, &history, now).await?;
    let entry = AuditEntry::new(AuditAction::ApprovalApprove, "approval_ticket", parent.id)
        .named(&parent.number)
        .ticket(parent.id)
        .environment(parent.environment)
        .details(json!({
            "operation": parent.request_type.operation_type(), "child_count": children.len(),
            "cluster_id": columns.cluster, "storage_class": columns.storage_class,
        }));
    platform.audit(uow, approval.context, now, [entry]).await?;
    for child in in_order(children) {
        approve_child(platform, uow, operations, child, approval, now).await?;
    }
    settle::settle(platform, uow, parent.id, (approval.context, approval.kind), now).await?;
    Ok(true)
}

async fn approve_child(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    operations: &Operations,
    child: &PlacedChild,
    approval: &Approval<'_>,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let operation = operations.of_request(child.ticket.request_type)?;
    match decide::record(platform, uow, operation, &child.ticket, &child.placed, approval, now).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let found = uow.tickets().find(child.ticket.id).await?;
            Err(overtaken(found.as_ref().unwrap_or(&child.ticket)).into())
        }
        Err(UseCaseError::Problem(problem)) => Err(Problem {
            field_errors: vec![refusal(child.sequence_no, child.ticket.id, problem)],
            ..Problem::new(ErrorCode::InvalidBatchItems)
        }
        .into()),
        Err(error) => Err(error),
    }
}

/// The children that wait are those that were looked at. Nothing can move them from here on: their batch is locked.
async fn require_unchanged(
    uow: &mut dyn UnitOfWork,
    parent: &TicketRecord,
    children: &[PlacedChild],
    status: TicketStatus,
) -> Result<(), UseCaseError> {
    let now = uow.batches().children_in(parent.id, &[status]).await?;
    for child in children {
        if !now.iter().any(|waiting| waiting.id == child.ticket.id) {
            let found = uow.tickets().find(child.ticket.id).await?;
            let status = found.map_or(child.ticket.status, |found| found.status);
            return Err(not_pending(child.ticket.id, status).into());
        }
    }
    // Children never come back to their approval, so there cannot be more than were looked at.
    Ok(())
}

/// Two approvals of the same machines meet at the first of them, not crosswise.
async fn hold_machines(uow: &mut dyn UnitOfWork, children: &[PlacedChild]) -> Result<(), UseCaseError> {
    let existing = children
        .iter()
        .filter(|child| child.ticket.request_type != RequestType::CreateVm);
    let mut machines: Vec<_> = existing.map(|child| child.placed.vm_id).collect();
    machines.sort();
    for machine in machines {
        uow.vms().hold(machine).await?;
    }
    Ok(())
}

/// By Service, because each gives out its numbers to one transaction at a time; within a Service in the order of the
/// batch, so that numbers follow it.
fn in_order(children: &[PlacedChild]) -> Vec<&PlacedChild> {
    let mut ordered: Vec<&PlacedChild> = children.iter().collect();
    ordered.sort_by_key(|child| {
        let creates = child.ticket.request_type == RequestType::CreateVm;
        (child.ticket.service_id.filter(|_| creates), child.sequence_no)
    });
    ordered
}

/// What the children have in common is said of the parent.
fn columns(
    parent: &TicketRecord,
    children: &[PlacedChild],
    approval: &Approval<'_>,
    now: DateTime<Utc>,
) -> ApprovalColumns {
    ApprovalColumns {
        approver: approval.context.actor.clone(),
        decided_by: approval.decided_by,
        comment: approval.comment.clone(),
        at: now,
        cluster: shared(children.iter().map(|child| Some(child.placed.cluster))),
        template_version: shared(
            children
                .iter()
                .map(|child| child.placed.template.as_ref().map(|template| template.version)),
        ),
        storage_class: shared(children.iter().map(|child| child.placed.storage_class.clone())),
        template_snapshot: None,
        size_snapshot: None,
        vm_id: None,
        judged_spec: parent.modified_spec.clone(),
    }
}

/// The value that all have, if all have the same.
fn shared<T: PartialEq>(mut values: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = values.next()??;
    values.all(|value| value.as_ref() == Some(&first)).then_some(first)
}
