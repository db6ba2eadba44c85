//! A user creates a System and owns it.

use serde::{Deserialize, Serialize};
use serde_json::json;
use shepherd_domain::access::{Permission, ResourceRole};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::SystemId;
use shepherd_domain::problem::{ErrorCode, Problem, Warning};
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::systems::NewSystem;

use super::texts;
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError};

/// What is asked for.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields of domain.md §3.1")]
pub struct CreateSystem {
    pub name: String,
    pub description: Option<String>,
    pub documentation: Option<String>,
}

/// What was created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// Its id.
    pub id: SystemId,
    /// NAME_LENGTH_WARNING.
    pub warnings: Vec<Warning>,
}

/// Creates the System, the ownership of its creator, the fact and the audit row in one transaction.
///
/// # Errors
/// NAME_INVALID, NAME_RESERVED, NAME_TOO_LONG, VALIDATION_FAILED, SYSTEM_NAME_EXISTS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: CreateSystem,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Created>, UseCaseError> {
    caller.require(Permission::SystemWrite)?;
    let name = platform.settings().naming.parse("system", &command.name)?;
    texts::check(command.description.as_deref(), command.documentation.as_deref())?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    let system = NewSystem {
        id: platform.ids.id(),
        name: name.clone(),
        description: command.description,
        documentation: command.documentation,
        created_by: caller.context.actor.clone(),
    };
    uow.systems().insert(&system).await.map_err(|error| {
        if error.is_unique("uq_systems_name") {
            Problem::new(ErrorCode::SystemNameExists)
                .with("name", name.as_str())
                .into()
        } else {
            UseCaseError::from(error)
        }
    })?;
    uow.systems()
        .add_member(
            platform.ids.id(),
            system.id,
            caller.subject.user(),
            ResourceRole::Owner,
            &caller.context.actor,
        )
        .await?;
    uow.events()
        .insert(NewEvent {
            id: platform.ids.id(),
            event_type: EventType::SystemCreated,
            aggregate_type: AggregateType::System,
            aggregate_id: system.id.to_string(),
            payload: json!({"name": name.as_str()}),
            status: EventStatus::Completed,
            causation_id: None,
            environment: None,
            created_by: caller.context.actor.clone(),
            at: now,
            trace_id: caller.context.request_id.clone(),
            trace_parent: None,
        })
        .await?;
    let entry = AuditEntry::new(AuditAction::SystemCreate, "system", system.id).named(name.as_str());
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    let created = Created {
        id: system.id,
        warnings: name.length_warning("system").into_iter().collect(),
    };
    idempotency::store(platform, &mut *uow, request, &created).await?;
    uow.commit().await?;
    Ok(Answer::fresh(created))
}
