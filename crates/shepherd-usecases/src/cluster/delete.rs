//! An administrator takes an empty cluster off the list; the cluster itself is left alone.

use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::ClusterId;
use shepherd_ports::context::Caller;

use crate::confirmation::{self, Confirmation, Target};
use crate::{Platform, UseCaseError};

/// Deletes the entry, synchronously. All replicas forget its credentials.
///
/// # Errors
/// CLUSTER_NOT_FOUND, FORBIDDEN, CONFIRMATION_*, CLUSTER_HAS_VMS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: ClusterId,
    given: &Confirmation,
) -> Result<(), UseCaseError> {
    let cluster = super::visible(platform, caller, Permission::ClusterManage, id).await?;
    let id_text = id.to_string();
    let target = Target {
        entity: "cluster",
        id: &id_text,
        name: &cluster.name,
        environment: Some(cluster.environment),
        by_name: true,
    };
    confirmation::check(platform, caller, given, target).await?;

    let now = platform.now();
    let mut uow = platform.begin().await?;
    let cluster = super::locked(&mut *uow, caller, Permission::ClusterManage, id, None).await?;
    super::require_unused(&mut *uow, id).await?;
    uow.clusters().delete(id).await?;
    let entry = AuditEntry::new(AuditAction::ClusterDelete, "cluster", id)
        .named(cluster.name)
        .environment(cluster.environment);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
