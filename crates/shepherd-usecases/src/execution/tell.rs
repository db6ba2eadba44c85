//! Who hears of the outcome of an operation, in the transaction that records it.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::problem::Problem;
use shepherd_ports::UnitOfWork;
use shepherd_ports::tickets::TicketRecord;

use super::operation::Work;
use crate::{Platform, UseCaseError};

/// Tells the owner of the machine what became of an operation.
#[expect(clippy::too_many_arguments, reason = "the parts of one notification")]
pub(super) async fn owner(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    work: &Work,
    severity: Severity,
    title: &str,
    message: &str,
    problem: Option<&Problem>,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let audience = Audience::VmOwner {
        owner: work.vm.created_by.as_user(),
        system: work.vm.system_id,
    };
    let draft = NotificationDraft::new(NotificationType::VmStatusChange, severity, title, message).about("vm", work.vm.id).params(json!({
        "vm_name": work.vm.name, "operation": work.ticket.request_type.operation_type(), "ticket_number": work.ticket.number,
        "error_code": problem.map(|problem| problem.code),
    }));
    Ok(platform
        .notifications
        .send(uow.notifications(), audience, draft, now)
        .await?)
}

/// Tells whoever asked for an operation that its machine is gone; nobody knows any more who owned it.
pub(super) async fn target_gone(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    problem: &Problem,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let Some(requester) = ticket.requester_id.as_user() else {
        return Ok(());
    };
    let operation = ticket.request_type.operation_type();
    let title = format!("{}: {} failed", ticket.number, operation.to_lowercase());
    let message = "The machine does not exist any more.";
    let draft = NotificationDraft::new(NotificationType::VmStatusChange, Severity::Warning, &title, message)
        .about("approval_ticket", ticket.id)
        .params(json!({"operation": operation, "ticket_number": ticket.number, "error_code": problem.code}));
    Ok(platform
        .notifications
        .send(uow.notifications(), Audience::User(requester), draft, now)
        .await?)
}

/// Tells administrators of a job that nothing will try again by itself.
pub(super) async fn administrators(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    work: &Work,
    problem: &Problem,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let operation = work.ticket.request_type.operation_type();
    let title = format!("{} is a dead letter", work.ticket.number);
    let message = format!(
        "{operation} of {} failed in every attempt: {}.",
        work.vm.name, problem.code
    );
    let draft = NotificationDraft::new(NotificationType::SystemAlert, Severity::Warning, &title, &message)
        .about("approval_ticket", work.ticket.id)
        .params(json!({
            "code": "DEAD_LETTER", "ticket_number": work.ticket.number, "operation": operation,
            "vm_name": work.vm.name, "error_code": problem.code,
        }));
    Ok(platform
        .notifications
        .send(uow.notifications(), Audience::PlatformAdmins, draft, now)
        .await?)
}
