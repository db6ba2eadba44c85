//! An administrator registers a namespace.

use serde_json::json;
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::NamespaceId;
use shepherd_domain::problem::{ErrorCode, Problem, Warning};
use shepherd_ports::RepositoryError;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::namespaces::NewNamespace;

use crate::idempotency::{self, Answer};
use crate::system::texts;
use crate::{Platform, UseCaseError};

/// What is asked for.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields of domain.md §3.7")]
pub struct CreateNamespace {
    pub name: String,
    pub environment: Environment,
    pub description: Option<String>,
}

/// What was registered: its id and NAME_LENGTH_WARNING.
pub type Created = (NamespaceId, Vec<Warning>);

/// Registers the namespace. The environment is set explicitly and never inferred.
///
/// # Errors
/// FORBIDDEN, NAME_*, VALIDATION_FAILED, NAMESPACE_NAME_EXISTS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: CreateNamespace,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Created>, UseCaseError> {
    caller.require(Permission::ClusterWrite)?;
    if !caller
        .subject
        .holds(Permission::ClusterWrite, None, Some(command.environment))
    {
        return Err(Problem::new(ErrorCode::Forbidden)
            .with("required_permission", Permission::ClusterWrite.as_str())
            .with("environment", command.environment.as_str())
            .into());
    }
    let name = platform.settings().naming.parse("namespace", &command.name)?;
    texts::check(command.description.as_deref(), None)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    let namespace = NewNamespace {
        id: platform.ids.id(),
        name: name.clone(),
        environment: command.environment,
        description: command.description,
        created_by: caller.context.actor.clone(),
    };
    uow.namespaces()
        .insert(&namespace)
        .await
        .map_err(|error| match &error {
            RepositoryError::Unique { .. } => Problem::new(ErrorCode::NamespaceNameExists)
                .with("name", name.as_str())
                .into(),
            RepositoryError::ForeignKey { .. }
            | RepositoryError::Busy(_)
            | RepositoryError::Unavailable(_)
            | RepositoryError::Other(_) => UseCaseError::from(error),
        })?;
    let entry = AuditEntry::new(AuditAction::NamespaceCreate, "namespace", namespace.id)
        .named(name.as_str())
        .environment(command.environment)
        .details(json!({"environment": command.environment}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    let created: Created = (namespace.id, name.length_warning("namespace").into_iter().collect());
    idempotency::store(platform, &mut *uow, request, &created).await?;
    uow.commit().await?;
    Ok(Answer::fresh(created))
}
