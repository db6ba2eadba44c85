//! An unused Service is deleted.

use serde_json::json;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::{ServiceId, SystemId};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;

use crate::confirmation::{self, Confirmation, Target};
use crate::{Platform, UseCaseError};

/// Deletes the Service, synchronously.
///
/// # Errors
/// SYSTEM_NOT_FOUND, SERVICE_NOT_FOUND, FORBIDDEN, CONFIRMATION_*, SERVICE_HAS_VMS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    system: SystemId,
    id: ServiceId,
    given: &Confirmation,
) -> Result<(), UseCaseError> {
    let service = super::visible(
        platform,
        caller,
        Permission::ServiceDelete,
        ResourceAction::Delete,
        system,
        id,
    )
    .await?;
    let id_text = id.to_string();
    let target = Target {
        entity: "service",
        id: &id_text,
        name: &service.name,
        environment: None,
        by_name: false,
    };
    confirmation::check(platform, caller, given, target).await?;

    let now = platform.now();
    let mut uow = platform.begin().await?;
    let used = uow
        .services()
        .lock_and_count_use(id)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::ServiceNotFound, id))?;
    if used.vm_count > 0 || used.pending_request_count > 0 {
        return Err(Problem::new(ErrorCode::ServiceHasVms)
            .with("entity", "service")
            .with("vm_count", used.vm_count)
            .with("child_count", used.vm_count)
            .with("pending_request_count", used.pending_request_count)
            .into());
    }
    uow.services().delete(id).await?;
    uow.events()
        .insert(NewEvent {
            id: platform.ids.id(),
            event_type: EventType::ServiceDeleted,
            aggregate_type: AggregateType::Service,
            aggregate_id: id_text,
            payload: json!({"name": service.name, "system_id": system}),
            status: EventStatus::Completed,
            causation_id: None,
            environment: None,
            created_by: caller.context.actor.clone(),
            at: now,
            trace_id: caller.context.request_id.clone(),
            trace_parent: None,
        })
        .await?;
    let entries = [AuditAction::ServiceDeleteSubmitted, AuditAction::ServiceDeleteExecuted].map(|action| {
        AuditEntry::new(action, "service", id)
            .named(&service.name)
            .parent("system", system)
    });
    platform.audit(&mut *uow, &caller.context, now, entries).await?;
    Ok(uow.commit().await?)
}
