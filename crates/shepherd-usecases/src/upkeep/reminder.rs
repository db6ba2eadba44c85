//! Approvers are reminded of what they have not decided (requests.md §12).

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_ports::upkeep::OverdueTicket;

use crate::{Platform, UseCaseError};

/// Tickets of one transaction.
const BATCH: u32 = 200;

/// Reminds of every ticket that has waited for another whole period since it was submitted; answers of how many. A
/// ticket is marked in the transaction of its notifications, so each period reminds of it once.
pub(super) async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    let period = TimeDelta::days(i64::from(platform.settings().upkeep.reminder_days));
    let mut reminded = 0;
    loop {
        let now = platform.now();
        let mut uow = platform.begin().await?;
        let overdue = uow.upkeep().claim_overdue(period, now, BATCH).await?;
        let messages = overdue.iter().map(|ticket| reminder(platform, ticket, now)).collect();
        platform
            .notifications
            .send_many(uow.notifications(), messages, now)
            .await?;
        uow.commit().await?;
        reminded += u64::try_from(overdue.len()).unwrap_or(u64::MAX);
        if overdue.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
            return Ok(reminded);
        }
    }
}

/// The same audience as when the ticket was submitted, as of now.
fn reminder(platform: &Platform, ticket: &OverdueTicket, now: DateTime<Utc>) -> (Audience, NotificationDraft) {
    let self_approval = platform.settings().self_approval.permits(ticket.environment);
    let audience = Audience::EligibleApprovers {
        ticket: ticket.id,
        except: ticket.requester_id.as_user().filter(|_| !self_approval),
    };
    let days = (now - ticket.created_at).num_days();
    let requester = ticket.requester_name.as_deref().unwrap_or("somebody");
    let operation = ticket.request_type.operation_type();
    let title = format!("{} has waited for a decision for {days} days", ticket.number);
    let message = format!("The request of {requester} ({operation}) has not been decided yet.");
    let draft = NotificationDraft::new(NotificationType::ApprovalPending, Severity::Urgent, &title, &message)
        .about("approval_ticket", ticket.id)
        .params(json!({
            "ticket_number": ticket.number, "operation": operation, "environment": ticket.environment,
            "requester": ticket.requester_name, "days_pending": days,
        }));
    (audience, draft)
}
