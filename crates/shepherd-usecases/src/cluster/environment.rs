//! An administrator moves an empty cluster to the other environment.

use serde_json::json;
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;

use crate::{Platform, UseCaseError};

/// Changes the environment; the caller has the right to it in both.
///
/// # Errors
/// CLUSTER_NOT_FOUND, FORBIDDEN, PRECONDITION_FAILED{current_version}, CLUSTER_HAS_VMS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: ClusterId,
    environment: Environment,
    version: Option<i64>,
) -> Result<ClusterRecord, UseCaseError> {
    super::visible(platform, caller, Permission::ClusterWrite, id).await?;
    if !caller.subject.holds(Permission::ClusterWrite, None, Some(environment)) {
        return Err(Problem::new(ErrorCode::Forbidden)
            .with("required_permission", Permission::ClusterWrite.as_str())
            .with("environment", environment.as_str())
            .into());
    }
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let before = super::locked(&mut *uow, caller, Permission::ClusterWrite, id, version).await?;
    if before.environment == environment {
        return Ok(before);
    }
    super::require_unused(&mut *uow, id).await?;
    let after = uow
        .clusters()
        .set_environment(id, environment)
        .await?
        .ok_or(UseCaseError::Broken("a locked cluster is gone"))?;
    let entry = AuditEntry::new(AuditAction::ClusterUpdate, "cluster", id)
        .named(before.name.as_str())
        .environment(environment)
        .details(json!({"environment": {"old": before.environment, "new": environment}}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(after)
}
