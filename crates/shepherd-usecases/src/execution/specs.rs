//! The spec of a ticket that is carried out: what an approver put in the place of what was asked for, else that.

use serde_json::Value;
use shepherd_domain::spec::{CreatePayload, CreateSpec, ModifyPayload, ModifySpec, effective_spec};
use shepherd_ports::tickets::TicketRecord;

use super::create_vm::stored;
use crate::{Platform, UseCaseError};

/// What was asked for: the payload of the ticket's event.
pub(crate) async fn payload(platform: &Platform, ticket: &TicketRecord) -> Result<Value, UseCaseError> {
    let event = platform.read.ticket_event(ticket.event_id).await?;
    let (payload, _) = event.ok_or(UseCaseError::Broken("a ticket has no event"))?;
    Ok(payload)
}

/// The spec of a CREATE_VM ticket.
pub(crate) fn create(ticket: &TicketRecord, payload: &Value) -> Result<CreateSpec, UseCaseError> {
    let original: CreatePayload = stored(payload, "payload")?;
    Ok(effective_spec(&original.spec, modified(ticket)?.as_ref()).clone())
}

/// The spec of a MODIFY_VM ticket.
pub(crate) fn modify(ticket: &TicketRecord, payload: &Value) -> Result<ModifySpec, UseCaseError> {
    let original: ModifyPayload = stored(payload, "payload")?;
    Ok(effective_spec(&original.spec, modified(ticket)?.as_ref()).clone())
}

fn modified<S: serde::de::DeserializeOwned>(ticket: &TicketRecord) -> Result<Option<S>, UseCaseError> {
    let spec = ticket.modified_spec.as_ref();
    spec.map(|spec| stored(spec, "modified spec")).transpose()
}
