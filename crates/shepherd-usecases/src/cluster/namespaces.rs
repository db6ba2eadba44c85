//! Kubernetes namespaces of a cluster: whether one exists, and making one before the first machine needs it.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::{ClusterId, EventId};
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::namespaces::NamespaceRecord;
use shepherd_ports::providers::{EnsuredNamespace, ProviderError};

use crate::{Platform, UseCaseError};

/// Most characters of a Kubernetes namespace.
const MAX_NAME: usize = 63;

/// Whether the cluster has a namespace of this name, registered or not.
///
/// # Errors
/// CLUSTER_NOT_FOUND, FORBIDDEN, VALIDATION_FAILED, NAMESPACE_PERMISSION_DENIED, CLUSTER_UNREACHABLE, CLUSTER_DEGRADED.
pub async fn exists(platform: &Platform, caller: &Caller, id: ClusterId, name: &str) -> Result<bool, UseCaseError> {
    let cluster = super::visible(platform, caller, Permission::ClusterRead, id).await?;
    check_name("name", name)?;
    let found = platform.provider.namespace_exists(id, name).await;
    found.map_err(|error| {
        refused(name, &cluster.name, &error)
            .unwrap_or_else(|| super::unanswered(platform, &cluster, &error))
            .into()
    })
}

/// Makes a registered namespace on the cluster unless it is there.
///
/// # Errors
/// CLUSTER_NOT_FOUND, FORBIDDEN, NAMESPACE_NOT_REGISTERED, NAMESPACE_DISABLED, NAMESPACE_CLUSTER_ENV_MISMATCH,
/// NAMESPACE_PERMISSION_DENIED, NAMESPACE_QUOTA_EXCEEDED, NAMESPACE_NAME_INVALID, CLUSTER_UNREACHABLE,
/// CLUSTER_DEGRADED.
pub async fn create(
    platform: &Platform,
    caller: &Caller,
    id: ClusterId,
    name: &str,
) -> Result<EnsuredNamespace, UseCaseError> {
    let cluster = super::visible(platform, caller, Permission::ClusterWrite, id).await?;
    let namespace = registered(platform, caller, &cluster, name).await?;
    let ensured = platform
        .provider
        .ensure_namespace(id, &namespace.name, namespace.environment, None)
        .await
        .map_err(|error| {
            refused(name, &cluster.name, &error).unwrap_or_else(|| super::unanswered(platform, &cluster, &error))
        })?;
    if ensured == EnsuredNamespace::Existed {
        return Ok(ensured);
    }
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let by = caller.context.actor.clone();
    let fact = created(platform, &cluster, name, namespace.environment, by);
    uow.events().insert(fact).await?;
    let entry = AuditEntry::new(AuditAction::NamespaceCreate, "namespace", namespace.id)
        .named(namespace.name)
        .environment(namespace.environment)
        .details(json!({"cluster_id": cluster.id, "cluster": cluster.name}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(ensured)
}

async fn registered(
    platform: &Platform,
    caller: &Caller,
    cluster: &ClusterRecord,
    name: &str,
) -> Result<NamespaceRecord, UseCaseError> {
    let mut uow = platform.begin().await?;
    let found = uow.namespaces().hold(name).await?;
    drop(uow);
    // To a caller who may not see it, it is not there.
    let seen = found.filter(|namespace| {
        let environment = Some(namespace.environment);
        caller.subject.holds(Permission::ClusterRead, None, environment)
    });
    let namespace = seen.ok_or_else(|| Problem::new(ErrorCode::NamespaceNotRegistered).with("namespace", name))?;
    if !namespace.enabled {
        return Err(Problem::new(ErrorCode::NamespaceDisabled)
            .with("namespace", name)
            .into());
    }
    if namespace.environment != cluster.environment {
        return Err(Problem::new(ErrorCode::NamespaceClusterEnvMismatch)
            .with("namespace", name)
            .with("namespace_env", namespace.environment.as_str())
            .with("cluster", cluster.name.as_str())
            .with("cluster_env", cluster.environment.as_str())
            .into());
    }
    Ok(namespace)
}

/// Checks a name before it becomes part of an address.
///
/// # Errors
/// VALIDATION_FAILED.
pub(super) fn check_name(field: &str, name: &str) -> Result<(), Problem> {
    let fits = (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if fits {
        Ok(())
    } else {
        Err(Problem::invalid_field(field, FieldCode::InvalidFormat))
    }
}

/// The verdict of a cluster about a namespace, which trying again does not change; `None` when there was none.
pub(crate) fn refused(namespace: &str, cluster: &str, error: &ProviderError) -> Option<Problem> {
    let problem = |code| Problem::new(code).with("namespace", namespace).with("cluster", cluster);
    match error {
        ProviderError::Forbidden(_) => Some(
            problem(ErrorCode::NamespacePermissionDenied)
                .with("hint", format!("kubectl create namespace {namespace}"))
                .with(
                    "options",
                    json!([
                        "create the namespace by hand",
                        "permit the platform to create namespaces"
                    ]),
                ),
        ),
        ProviderError::Quota(_) => Some(problem(ErrorCode::NamespaceQuotaExceeded)),
        ProviderError::Invalid { message, .. } => Some(
            Problem::new(ErrorCode::NamespaceNameInvalid)
                .with("namespace", namespace)
                .with("reason", message.as_str()),
        ),
        ProviderError::NotFound(_)
        | ProviderError::AlreadyExists(_)
        | ProviderError::Conflict(_)
        | ProviderError::Throttled { .. }
        | ProviderError::Timeout(_)
        | ProviderError::Unreachable(_)
        | ProviderError::Unsupported(_)
        | ProviderError::Schema(_)
        | ProviderError::Unavailable(_) => None,
    }
}

/// The fact that the platform made a namespace.
pub(crate) fn created(
    platform: &Platform,
    cluster: &ClusterRecord,
    namespace: &str,
    environment: Environment,
    by: ActorId,
) -> NewEvent {
    NewEvent {
        id: platform.ids.id::<EventId>(),
        event_type: EventType::NamespaceCreated,
        aggregate_type: AggregateType::Namespace,
        aggregate_id: namespace.to_owned(),
        payload: json!({"cluster_id": cluster.id, "cluster": cluster.name, "namespace": namespace}),
        status: EventStatus::Completed,
        causation_id: None,
        environment: Some(environment),
        created_by: by,
        at: platform.now(),
        trace_id: None,
        trace_parent: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_kubernetes_would_take_are_asked_for() {
        for name in ["a", "dev", "0-9", &"x".repeat(63)] {
            assert!(check_name("name", name).is_ok(), "{name}");
        }
        let long = "x".repeat(64);
        for name in ["", "-a", "a-", "Dev", "a.b", "a/b", "..", "a?b", "a%2fb", "ü", &long] {
            assert!(check_name("name", name).is_err(), "{name}");
        }
    }
}
