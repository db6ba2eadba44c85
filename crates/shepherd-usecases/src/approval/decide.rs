//! What an approval writes, whoever gives it: an approver, or the policy in the transaction of the submission.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::EventStatus;
use shepherd_domain::ticket::{ActorKind, DecidedByKind, TicketStatus};
use shepherd_domain::transition::Transition;
use shepherd_ports::metrics::{self, TicketDecision};
use shepherd_ports::queue::EventJob;
use shepherd_ports::tickets::{ApprovalColumns, NewStep, TicketRecord};
use shepherd_ports::{RequestContext, UnitOfWork};

use crate::batch::settle;
use crate::execution::{Operation, Placed};
use crate::{Platform, UseCaseError};

/// Who approves, and from where the ticket moves.
pub(crate) struct Approval<'a> {
    /// The actor of the decision and the marks of its audit rows.
    pub(crate) context: &'a RequestContext,
    /// What kind of decision it is.
    pub(crate) decided_by: DecidedByKind,
    /// The same, in the history.
    pub(crate) kind: ActorKind,
    /// A remark.
    pub(crate) comment: Option<String>,
    /// The move of the ticket.
    pub(crate) step: Transition<TicketStatus>,
}

/// Approves a request of its own, or a child that is decided by itself; then its batch follows. `false` when somebody
/// else moved the ticket first; then nothing of it may be kept.
///
/// # Errors
/// What the operation's checks inside the transaction refuse.
pub(crate) async fn apply(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    operation: &dyn Operation,
    ticket: &TicketRecord,
    placed: &Placed,
    approval: &Approval<'_>,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    settle::lock(uow, ticket.parent_ticket_id).await?;
    if !record(platform, uow, operation, ticket, placed, approval, now).await? {
        return Ok(false);
    }
    let by = (approval.context, approval.kind);
    settle::settle(platform, uow, ticket.parent_ticket_id, by, now).await?;
    Ok(true)
}

/// What an approval writes: ticket, history, event, effects, audit rows and job. `false` when somebody else moved the
/// ticket first.
///
/// # Errors
/// What the operation's checks inside the transaction refuse.
pub(crate) async fn record(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    operation: &dyn Operation,
    ticket: &TicketRecord,
    placed: &Placed,
    approval: &Approval<'_>,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    let step = approval.step;
    operation.recheck(uow, ticket, placed).await?;
    if !uow
        .tickets()
        .approve(ticket.id, step, &columns(ticket, placed, approval, now))
        .await?
    {
        return Ok(false);
    }
    count_approval(uow, ticket, approval.decided_by, now);
    operation.effects(uow, ticket, placed).await?;
    // What the policy approves was submitted as being processed.
    if step.from() == TicketStatus::PendingApproval {
        let begin = EventStatus::Pending
            .begin()
            .map_err(|error| UseCaseError::invalid_transition("event", &error))?;
        if !uow.events().transition(ticket.event_id, begin, None, now).await? {
            return Err(UseCaseError::Broken("the event of a pending ticket is not pending"));
        }
    }
    let history = NewStep {
        from: Some(step.from()),
        to: step.to(),
        actor: approval.context.actor.clone(),
        kind: approval.kind,
        reason: approval.comment.clone(),
    };
    uow.tickets().add_step(ticket.id, &history, now).await?;
    audit(platform, uow, operation, ticket, placed, approval, now).await?;
    if operation.has_job() {
        uow.jobs()
            .enqueue(EventJob {
                event: ticket.event_id,
                lane: placed.vm_id.to_string(),
                run_at: None,
            })
            .await?;
    } else {
        operation
            .conclude(platform, uow, ticket, placed, approval.context, now)
            .await?;
    }
    Ok(true)
}

/// Counts an approval once it is kept.
pub(crate) fn count_approval(uow: &mut dyn UnitOfWork, ticket: &TicketRecord, by: DecidedByKind, now: DateTime<Utc>) {
    let decision = match by {
        DecidedByKind::User | DecidedByKind::External => TicketDecision::Approved,
        DecidedByKind::Policy => TicketDecision::AutoApproved,
    };
    count(uow, ticket, decision, now);
}

/// Counts a decision once it is kept. The items of a batch count with it, as they do among tickets that wait.
pub(crate) fn count(uow: &mut dyn UnitOfWork, ticket: &TicketRecord, decision: TicketDecision, now: DateTime<Utc>) {
    if ticket.parent_ticket_id.is_some() {
        return;
    }
    let waited = metrics::since(ticket.created_at, now);
    uow.counted().later(move || metrics::ticket_decision(decision, waited));
}

fn columns(ticket: &TicketRecord, placed: &Placed, approval: &Approval<'_>, now: DateTime<Utc>) -> ApprovalColumns {
    ApprovalColumns {
        approver: approval.context.actor.clone(),
        decided_by: approval.decided_by,
        comment: approval.comment.clone(),
        at: now,
        cluster: Some(placed.cluster),
        template_version: placed.template.as_ref().map(|template| template.version),
        storage_class: placed.storage_class.clone(),
        template_snapshot: placed
            .template
            .as_ref()
            .map(shepherd_ports::templates::TemplateRecord::snapshot),
        size_snapshot: placed.size.as_ref().map(|size| json!(size)),
        vm_id: Some(placed.vm_id),
        judged_spec: ticket.modified_spec.clone(),
    }
}

async fn audit(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    operation: &dyn Operation,
    ticket: &TicketRecord,
    placed: &Placed,
    approval: &Approval<'_>,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let approved = AuditEntry::new(AuditAction::ApprovalApprove, "approval_ticket", ticket.id)
        .named(&ticket.number)
        .ticket(ticket.id)
        .environment(ticket.environment)
        .details(json!({"operation": ticket.request_type.operation_type(), "cluster_id": placed.cluster, "storage_class": placed.storage_class,
            "template_version": placed.template.as_ref().map(|template| template.version), "vm_id": placed.vm_id, "warnings": placed.warnings}));
    platform.audit(uow, approval.context, now, [approved]).await?;
    if let Some(action) = operation.approval_audit() {
        let entry = AuditEntry::new(action, "vm", placed.vm_id)
            .ticket(ticket.id)
            .environment(ticket.environment);
        platform.audit(uow, approval.context, now, [entry]).await?;
    }
    Ok(())
}
