//! An approver says yes, and where.

use serde_json::json;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::problem::{FieldCode, FieldError, Problem};
use shepherd_domain::ticket::{ActorKind, DecidedByKind, TicketStatus};
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::TicketRecord;

use super::TicketRef;
use super::decide::Approval;
use super::modify::{self, Checked, Modification};
use super::places::Places;
use crate::batch::settle;
use crate::execution::Operations;
use crate::vm::request::MAX_REASON;
use crate::{Platform, UseCaseError, policy};

/// What the approver chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// May be absent when exactly one cluster is eligible.
    pub cluster: Option<ClusterId>,
    /// Absent or empty takes the cluster's default.
    pub storage_class: Option<String>,
    /// Absent takes the version the requester saw.
    pub template_version: Option<i32>,
    /// A remark, at most 1024 characters.
    pub comment: Option<String>,
    /// What is to be carried out instead of what was asked for; stored together with the decision.
    pub modification: Option<Modification>,
}

/// Approves: checks and dry run first, then everything in one transaction.
///
/// # Errors
/// In the order of requests.md §5.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    ticket: &TicketRef,
    choice: &Choice,
) -> Result<(), UseCaseError> {
    let mut ticket = super::decidable(platform, caller, ticket).await?;
    if choice
        .comment
        .as_ref()
        .is_some_and(|comment| comment.chars().count() > MAX_REASON)
    {
        return Err(Problem::invalid(vec![
            FieldError::new("comment", FieldCode::TooLong).with("max_length", MAX_REASON),
        ])
        .into());
    }
    let modified = match &choice.modification {
        Some(modification) => Some(modify::check(platform, &ticket, modification.clone()).await?),
        None => None,
    };
    if let Some(modified) = &modified {
        ticket.modified_spec = Some(modified.spec.clone());
    }
    // Also of one that somebody else has stored: whoever decides about it must be one of those it is left to.
    if let Some(spec) = &ticket.modified_spec {
        policy::require_eligible_for(platform, caller, &ticket, spec).await?;
    }
    let places = match Places::find(platform, operations, Some(caller), &ticket, choice).await {
        Ok(places) => places,
        Err(error) => return Err(explain(platform, &ticket, error).await?),
    };
    for warning in places.warnings() {
        tracing::info!(ticket_id = %ticket.id, warning = ?warning.code, "approved with a warning");
    }
    match record(
        platform,
        operations,
        caller,
        &ticket,
        &places,
        choice,
        modified.as_ref(),
    )
    .await
    {
        Err(error @ UseCaseError::Problem(_)) => Err(explain(platform, &ticket, error).await?),
        outcome => outcome,
    }
}

/// What another approver did in the meantime explains a refusal better than the traces it left.
async fn explain(
    platform: &Platform,
    ticket: &TicketRecord,
    refusal: UseCaseError,
) -> Result<UseCaseError, UseCaseError> {
    let now = platform.read.get_ticket(ticket.id).await?;
    if now.is_some_and(|now| now.status == ticket.status) {
        Ok(refusal)
    } else {
        super::lost_race(platform, ticket.id).await
    }
}

async fn record(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    ticket: &TicketRecord,
    places: &Places,
    choice: &Choice,
    modified: Option<&Checked>,
) -> Result<(), UseCaseError> {
    let now = platform.now();
    let step = TicketStatus::PendingApproval
        .approve()
        .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?;
    let approval = Approval {
        context: &caller.context,
        decided_by: DecidedByKind::User,
        kind: ActorKind::User,
        comment: choice.comment.clone(),
        step,
    };
    let mut uow = platform.begin().await?;
    settle::lock(&mut *uow, ticket.parent_ticket_id).await?;
    if let Some(modified) = modified
        && !modify::store(platform, &mut *uow, caller, ticket, modified, None, now).await?
    {
        drop(uow);
        return Err(super::lost_race(platform, ticket.id).await?);
    }
    if !places
        .approve(platform, &mut *uow, operations, ticket, &approval, now)
        .await?
    {
        drop(uow);
        return Err(super::lost_race(platform, ticket.id).await?);
    }
    crate::external_approval::cancel(&mut *uow, ticket.id).await?;
    if let Some(requester) = ticket.requester_id.as_user() {
        let message = format!("{} was approved and will be carried out.", ticket.number);
        let draft = NotificationDraft::new(NotificationType::ApprovalCompleted, Severity::Info, &format!("{} approved", ticket.number), &message)
            .about("approval_ticket", ticket.id)
            .params(json!({"ticket_number": ticket.number, "operation": ticket.request_type.operation_type(), "vm_id": places.vm()}));
        platform
            .notifications
            .send(uow.notifications(), Audience::User(requester), draft, now)
            .await?;
    }
    Ok(uow.commit().await?)
}
