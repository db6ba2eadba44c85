//! An empty System is deleted; its memberships go with it.

use serde_json::json;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::SystemId;
use shepherd_domain::page::PageRequest;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;

use crate::confirmation::{self, Confirmation, Target};
use crate::{Platform, UseCaseError};

/// Deletes the System, synchronously.
///
/// # Errors
/// SYSTEM_NOT_FOUND, FORBIDDEN, CONFIRMATION_*, SYSTEM_HAS_SERVICES.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: SystemId,
    given: &Confirmation,
) -> Result<(), UseCaseError> {
    let system = super::visible(platform, caller, Permission::SystemDelete, ResourceAction::Delete, id).await?;
    let id_text = id.to_string();
    let target = Target {
        entity: "system",
        id: &id_text,
        name: &system.name,
        environment: None,
        by_name: true,
    };
    confirmation::check(platform, caller, given, target).await?;

    let now = platform.now();
    let mut uow = platform.begin().await?;
    let services = uow
        .systems()
        .lock_and_count_services(id)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::SystemNotFound, id))?;
    if services > 0 {
        drop(uow);
        let first = PageRequest::new(1, 10).unwrap_or_default();
        let children: Vec<String> = platform
            .read
            .list_services(id, None, first)
            .await?
            .items
            .into_iter()
            .map(|service| service.name)
            .collect();
        return Err(Problem::new(ErrorCode::SystemHasServices)
            .with("entity", "system")
            .with("children", children)
            .with("child_count", services)
            .with("pending_request_count", 0)
            .into());
    }
    uow.systems().delete(id).await?;
    uow.events()
        .insert(NewEvent {
            id: platform.ids.id(),
            event_type: EventType::SystemDeleted,
            aggregate_type: AggregateType::System,
            aggregate_id: id_text,
            payload: json!({"name": system.name}),
            status: EventStatus::Completed,
            causation_id: None,
            environment: None,
            created_by: caller.context.actor.clone(),
            at: now,
            trace_id: caller.context.request_id.clone(),
            trace_parent: None,
        })
        .await?;
    let entries = [AuditAction::SystemDeleteSubmitted, AuditAction::SystemDeleteExecuted]
        .map(|action| AuditEntry::new(action, "system", id).named(&system.name));
    platform.audit(&mut *uow, &caller.context, now, entries).await?;
    Ok(uow.commit().await?)
}
