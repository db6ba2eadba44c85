//! An administrator gives a cluster new credentials.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::ClusterId;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;

use super::credentials;
use crate::{Platform, UseCaseError};

/// Seals the new credentials in the place of the old ones. All replicas use them from now on; the status is UNKNOWN
/// until the next health pass, which is due at once.
///
/// # Errors
/// CLUSTER_NOT_FOUND, FORBIDDEN, INVALID_KUBECONFIG.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: ClusterId,
    kubeconfig: &str,
) -> Result<ClusterRecord, UseCaseError> {
    let cluster = super::visible(platform, caller, Permission::ClusterManage, id).await?;
    let accepted = platform.intake.accept(kubeconfig, cluster.allow_insecure_tls)?;
    let sealed = platform
        .cipher
        .seal(&credentials::place(id), accepted.reduced.as_bytes())?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let before = super::locked(&mut *uow, caller, Permission::ClusterManage, id, None).await?;
    let after = uow
        .clusters()
        .set_credentials(id, &accepted.api_server_url, &sealed)
        .await?
        .ok_or(UseCaseError::Broken("a locked cluster is gone"))?;
    let entry = AuditEntry::new(AuditAction::ClusterCredentialRotate, "cluster", id)
        .named(before.name)
        .environment(before.environment)
        .details(json!({"api_server_url": {"old": before.api_server_url, "new": after.api_server_url}}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(after)
}
