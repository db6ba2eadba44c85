//! A ticket as a system sees it.

use serde_json::{Value, json};
use shepherd_domain::redaction::redact;
use shepherd_ports::external_approvals::TicketForApproval;
use shepherd_ports::tickets::TicketRecord;

use crate::{Platform, UseCaseError};

/// Where systems send what they decided, below the portal.
const CALLBACK_PATH: &str = "/api/v1/webhooks/approval-callback";

/// Names and numbers as they were at submission; what is asked for as the ticket has it, without anything secret.
///
/// # Errors
/// When the store fails.
pub(super) async fn describe(platform: &Platform, ticket: &TicketRecord) -> Result<TicketForApproval, UseCaseError> {
    let (payload, _) = platform
        .read
        .ticket_event(ticket.event_id)
        .await?
        .ok_or(UseCaseError::Broken("a ticket has no event"))?;
    let spec = ticket.modified_spec.clone().unwrap_or_else(|| spec_of(payload));
    let requester = ticket.context_snapshot.requester.as_ref();
    Ok(TicketForApproval {
        ticket_id: ticket.id,
        ticket_number: ticket.number.clone(),
        operation: ticket.request_type.operation_type(),
        callback_url: format!("{}{CALLBACK_PATH}", platform.settings().portal_url),
        requester: json!({
            "id": ticket.requester_id,
            "username": requester.map(|requester| &requester.username),
            "display_name": requester.and_then(|requester| requester.display_name.as_ref()),
        }),
        request_details: redact(json!({"reason": ticket.reason, "spec": spec})),
        resource_summary: redact(summary(ticket)?),
        environment: ticket.environment,
        created_at: ticket.created_at,
    })
}

/// The spec of a payload that has one; what is asked of an existing machine is all of it.
fn spec_of(payload: Value) -> Value {
    match payload {
        Value::Object(mut fields) => fields.remove("spec").unwrap_or(Value::Object(fields)),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => other,
    }
}

fn summary(ticket: &TicketRecord) -> Result<Value, UseCaseError> {
    let mut context = serde_json::to_value(&ticket.context_snapshot).map_err(|source| UseCaseError::Stored {
        what: "context",
        source,
    })?;
    if let Some(fields) = context.as_object_mut() {
        // Who asks stands beside it, and warnings are for those who choose a cluster.
        fields.remove("requester");
        fields.remove("warnings");
    }
    Ok(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_the_spec_or_all_there_is() {
        assert_eq!(
            spec_of(json!({"schema": 1, "spec": {"disk_gb": 9}})),
            json!({"disk_gb": 9})
        );
        assert_eq!(spec_of(json!({"vm_id": "a"})), json!({"vm_id": "a"}));
    }
}
