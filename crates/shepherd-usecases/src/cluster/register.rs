//! An administrator registers a cluster.

use serde_json::json;
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::RepositoryError;
use shepherd_ports::clusters::NewCluster;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use zeroize::Zeroizing;

use super::credentials;
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError};

/// What is asked for.
pub struct RegisterCluster {
    /// At most 63 characters of a DNS label, unique, immutable.
    pub name: String,
    /// Shown to people.
    pub display_name: Option<String>,
    /// YAML.
    pub kubeconfig: Zeroizing<String>,
    /// Test unless said otherwise.
    pub environment: Environment,
    /// 0 to 1000.
    pub scheduling_weight: i32,
    /// Counts only where the configuration allows it, too.
    pub allow_insecure_tls: bool,
}

/// Registers the cluster with status UNKNOWN; the next health pass looks at it.
///
/// # Errors
/// FORBIDDEN, VALIDATION_FAILED, INVALID_KUBECONFIG, CLUSTER_NAME_EXISTS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: RegisterCluster,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<ClusterId>, UseCaseError> {
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
    check_fields(&command)?;
    let accepted = platform
        .intake
        .accept(&command.kubeconfig, command.allow_insecure_tls)?;
    let id: ClusterId = platform.ids.id();
    let cluster = NewCluster {
        id,
        name: command.name,
        display_name: command.display_name,
        api_server_url: accepted.api_server_url,
        kubeconfig: platform
            .cipher
            .seal(&credentials::place(id), accepted.reduced.as_bytes())?,
        environment: command.environment,
        scheduling_weight: command.scheduling_weight,
        allow_insecure_tls: command.allow_insecure_tls,
        created_by: caller.context.actor.clone(),
    };
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    uow.clusters().insert(&cluster).await.map_err(|error| match &error {
        RepositoryError::Unique { .. } => Problem::new(ErrorCode::ClusterNameExists)
            .with("name", cluster.name.as_str())
            .into(),
        RepositoryError::ForeignKey { .. }
        | RepositoryError::Busy(_)
        | RepositoryError::Unavailable(_)
        | RepositoryError::Other(_) => UseCaseError::from(error),
    })?;
    let entry = AuditEntry::new(AuditAction::ClusterRegister, "cluster", id)
        .named(&cluster.name)
        .environment(cluster.environment)
        .details(json!({"api_server_url": cluster.api_server_url, "allow_insecure_tls": cluster.allow_insecure_tls}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    idempotency::store(platform, &mut *uow, request, &id).await?;
    uow.commit().await?;
    Ok(Answer::fresh(id))
}

fn check_fields(command: &RegisterCluster) -> Result<(), Problem> {
    let mut errors = Vec::new();
    let name = &command.name;
    let label = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if name.is_empty() {
        errors.push(FieldError::new("name", FieldCode::Required));
    } else if name.chars().count() > 63 {
        errors.push(FieldError::new("name", FieldCode::TooLong).with("max_length", 63));
    } else if !label {
        errors.push(FieldError::new("name", FieldCode::InvalidFormat));
    }
    if command
        .display_name
        .as_ref()
        .is_some_and(|name| name.chars().count() > 255)
    {
        errors.push(FieldError::new("display_name", FieldCode::TooLong).with("max_length", 255));
    }
    if !(0..=1000).contains(&command.scheduling_weight) {
        errors.push(
            FieldError::new("scheduling_weight", FieldCode::OutOfRange)
                .with("min", 0)
                .with("max", 1000),
        );
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(errors))
    }
}
