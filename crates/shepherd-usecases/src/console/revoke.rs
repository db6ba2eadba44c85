//! Access to a console ends before its time.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::ConsoleGrantId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::consoles::Revocation;
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;

use crate::{Platform, UseCaseError};

/// Revokes a grant with its tokens; consoles that are open by it are closed when they look at it the next time. A
/// grant that was revoked before stays as it is.
///
/// # Errors
/// FORBIDDEN, CONSOLE_GRANT_NOT_FOUND.
pub async fn execute(platform: &Platform, caller: &Caller, id: ConsoleGrantId) -> Result<(), UseCaseError> {
    caller.require(Permission::VncManage)?;
    let now = platform.now();
    let actor = &caller.context.actor;
    let mut uow = platform.begin().await?;
    let grant = match uow.consoles().revoke(id, actor, now).await? {
        Revocation::Revoked(grant) => grant,
        Revocation::AlreadyRevoked => return Ok(()),
        Revocation::NotFound => return Err(Problem::not_found(ErrorCode::ConsoleGrantNotFound, id).into()),
    };
    let event = NewEvent {
        id: platform.ids.id(),
        event_type: EventType::VncTokenRevoked,
        aggregate_type: AggregateType::Vm,
        aggregate_id: grant.vm_id.to_string(),
        payload: json!({"grant_id": grant.id, "user_id": grant.user_id, "ticket_id": grant.ticket_id}),
        status: EventStatus::Completed,
        causation_id: None,
        environment: Some(grant.environment),
        created_by: actor.clone(),
        at: now,
        trace_id: caller.context.request_id.clone(),
        trace_parent: None,
    };
    uow.events().insert(event).await?;
    let entry = AuditEntry::new(AuditAction::VncRevoke, "console_grant", grant.id)
        .parent("vm", grant.vm_id)
        .environment(grant.environment)
        .details(
            json!({"grant_id": grant.id, "user_id": grant.user_id, "ticket_id": grant.ticket_id, "revoker": actor}),
        );
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
