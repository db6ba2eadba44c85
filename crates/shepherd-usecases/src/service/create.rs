//! A member creates a Service.

use serde::{Deserialize, Serialize};
use serde_json::json;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::{ServiceId, SystemId};
use shepherd_domain::problem::{ErrorCode, Problem, Warning};
use shepherd_ports::RepositoryError;
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::services::NewService;

use crate::idempotency::{self, Answer};
use crate::system::texts;
use crate::{Platform, UseCaseError};

/// What is asked for.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields of domain.md §3.2")]
pub struct CreateService {
    pub system: SystemId,
    pub name: String,
    pub description: Option<String>,
    pub documentation: Option<String>,
}

/// What was created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// Its id.
    pub id: ServiceId,
    /// NAME_LENGTH_WARNING.
    pub warnings: Vec<Warning>,
}

/// Creates the Service.
///
/// # Errors
/// SYSTEM_NOT_FOUND, FORBIDDEN, NAME_*, VALIDATION_FAILED, SERVICE_NAME_EXISTS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: CreateService,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Created>, UseCaseError> {
    super::in_system(
        caller,
        Permission::ServiceCreate,
        ResourceAction::Create,
        command.system,
    )?;
    let system = platform
        .read
        .get_system(command.system)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::SystemNotFound, command.system))?;
    let name = platform.settings().naming.parse("service", &command.name)?;
    texts::check(command.description.as_deref(), command.documentation.as_deref())?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    let service = NewService {
        id: platform.ids.id(),
        system_id: command.system,
        name: name.clone(),
        description: command.description,
        documentation: command.documentation,
        created_by: caller.context.actor.clone(),
    };
    uow.services().insert(&service).await.map_err(|error| match &error {
        RepositoryError::Unique { .. } => Problem::new(ErrorCode::ServiceNameExists)
            .with("name", name.as_str())
            .into(),
        RepositoryError::ForeignKey { .. } => Problem::not_found(ErrorCode::SystemNotFound, command.system).into(),
        RepositoryError::Busy(_) | RepositoryError::Unavailable(_) | RepositoryError::Other(_) => {
            UseCaseError::from(error)
        }
    })?;
    uow.events()
        .insert(NewEvent {
            id: platform.ids.id(),
            event_type: EventType::ServiceCreated,
            aggregate_type: AggregateType::Service,
            aggregate_id: service.id.to_string(),
            payload: json!({"name": name.as_str(), "system_id": system.id, "system_name": system.name}),
            status: EventStatus::Completed,
            causation_id: None,
            environment: None,
            created_by: caller.context.actor.clone(),
            at: now,
            trace_id: caller.context.request_id.clone(),
            trace_parent: None,
        })
        .await?;
    let entry = AuditEntry::new(AuditAction::ServiceCreate, "service", service.id)
        .named(name.as_str())
        .parent("system", system.id);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    let created = Created {
        id: service.id,
        warnings: name.length_warning("service").into_iter().collect(),
    };
    idempotency::store(platform, &mut *uow, request, &created).await?;
    uow.commit().await?;
    Ok(Answer::fresh(created))
}
