//! The platform gives up on a system, and the ticket goes on in the built-in queue.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_ports::external_approvals::SubmissionRecord;
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::{RepositoryError, RequestContext, UnitOfWork, metrics};

use crate::{Platform, UseCaseError};

/// Who gives up, in audit rows.
const COMPONENT: &str = "external-approval";

/// Ends a submission that leads nowhere, for a reason in fixed words, and tells the approvers. `false` when it had ended
/// or moved on before.
///
/// # Errors
/// When the store fails.
pub(super) async fn execute(
    platform: &Platform,
    submission: &SubmissionRecord,
    reason: &str,
) -> Result<bool, UseCaseError> {
    let Ok(step) = submission.state.fall_back() else {
        return Ok(false);
    };
    let ticket = readable(platform, submission).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if !uow
        .external_approvals()
        .fall_back(submission.id, step, reason, now)
        .await?
    {
        return Ok(false);
    }
    let mut entry = AuditEntry::new(
        AuditAction::ExternalApprovalFallback,
        "approval_ticket",
        submission.ticket_id,
    )
    .ticket(submission.ticket_id)
    .parent(super::RESOURCE, submission.system_id)
    .details(json!({"reason": reason, "attempts": submission.attempts, "state": submission.state}));
    if let Some(ticket) = &ticket {
        entry = entry.named(&ticket.number).environment(ticket.environment);
        let message = format!(
            "{} is not decided by an external system any more: {reason}.",
            ticket.number
        );
        tell_approvers(platform, &mut *uow, ticket, &message, now).await?;
    }
    let context = RequestContext::system(COMPONENT);
    platform.audit(&mut *uow, &context, now, [entry]).await?;
    uow.commit().await?;
    metrics::external_approval_fallback();
    tracing::warn!(ticket_id = %submission.ticket_id, system_id = %submission.system_id, reason, "an external approval fell back");
    Ok(true)
}

/// The ticket, unless its row is damaged, which must not keep the submission open.
async fn readable(platform: &Platform, submission: &SubmissionRecord) -> Result<Option<TicketRecord>, RepositoryError> {
    match platform.read.get_ticket(submission.ticket_id).await {
        Err(error @ RepositoryError::Other(_)) => {
            tracing::error!(ticket_id = %submission.ticket_id, error = &error as &dyn std::error::Error, "a ticket cannot be read");
            Ok(None)
        }
        read => read,
    }
}

/// Tells those who may decide that a ticket waits for them; the requester only when the own request may be decided.
pub(super) async fn tell_approvers(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    message: &str,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let forbidden = !platform.settings().self_approval.permits(ticket.environment);
    let audience = Audience::EligibleApprovers {
        ticket: ticket.id,
        except: ticket.requester_id.as_user().filter(|_| forbidden),
    };
    let title = format!("{} waits for a decision", ticket.number);
    let draft = NotificationDraft::new(NotificationType::ApprovalPending, Severity::Warning, &title, message)
        .about("approval_ticket", ticket.id)
        .params(json!({
            "ticket_number": ticket.number,
            "operation": ticket.request_type.operation_type(),
            "environment": ticket.environment,
        }));
    Ok(platform
        .notifications
        .send(uow.notifications(), audience, draft, now)
        .await?)
}
