//! Clusters: registration, changes, credentials, and what they have to offer.

pub mod check;
pub mod credentials;
pub mod delete;
pub mod environment;
pub mod gate;
pub mod instance_types;
pub mod namespaces;
pub mod register;
pub mod rotate_credential;
pub mod storage_classes;
pub mod update;

use shepherd_domain::access::Permission;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::providers::ProviderError;

use crate::authorization::{self, Guarded};
use crate::{Platform, UseCaseError};

/// The cluster, if the caller may do this to it.
///
/// # Errors
/// CLUSTER_NOT_FOUND, FORBIDDEN.
pub async fn visible(
    platform: &Platform,
    caller: &Caller,
    permission: Permission,
    id: ClusterId,
) -> Result<ClusterRecord, UseCaseError> {
    caller.require(permission)?;
    let cluster = platform
        .read
        .get_cluster(id)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::ClusterNotFound, id))?;
    require(caller, permission, &cluster)?;
    Ok(cluster)
}

/// The cluster, which nobody else changes until the transaction ends. The caller may do this to it as it is now, and it
/// has the wanted version (when one is given).
///
/// # Errors
/// CLUSTER_NOT_FOUND, FORBIDDEN, PRECONDITION_FAILED{current_version}.
async fn locked(
    uow: &mut dyn UnitOfWork,
    caller: &Caller,
    permission: Permission,
    id: ClusterId,
    version: Option<i64>,
) -> Result<ClusterRecord, UseCaseError> {
    let cluster = uow.clusters().lock(id).await?;
    let cluster = cluster.ok_or_else(|| Problem::not_found(ErrorCode::ClusterNotFound, id))?;
    require(caller, permission, &cluster)?;
    if version.is_some_and(|version| version != cluster.row_version) {
        return Err(Problem::new(ErrorCode::PreconditionFailed)
            .with("current_version", cluster.row_version)
            .into());
    }
    Ok(cluster)
}

fn require(caller: &Caller, permission: Permission, cluster: &ClusterRecord) -> Result<(), Problem> {
    let object = Guarded {
        not_found: ErrorCode::ClusterNotFound,
        id: &cluster.id,
        read: Permission::ClusterRead,
    };
    authorization::require_in(caller, permission, cluster.environment, object)
}

/// Refuses what would pull the cluster away from under its machines.
///
/// # Errors
/// CLUSTER_HAS_VMS.
async fn require_unused(uow: &mut dyn UnitOfWork, id: ClusterId) -> Result<(), UseCaseError> {
    let used = uow.clusters().count_use(id).await?;
    if used.vm_count > 0 || used.pending_request_count > 0 {
        return Err(Problem::new(ErrorCode::ClusterHasVms)
            .with("vm_count", used.vm_count)
            .with("pending_request_count", used.pending_request_count)
            .into());
    }
    Ok(())
}

/// What a caller is told when a cluster could not be asked something.
fn unanswered(platform: &Platform, cluster: &ClusterRecord, error: &ProviderError) -> Problem {
    tracing::info!(cluster = %cluster.name, %error, "a cluster could not be asked");
    let code = if platform.provider.breaker_open(cluster.id) {
        ErrorCode::ClusterDegraded
    } else {
        ErrorCode::ClusterUnreachable
    };
    Problem::new(code).with("cluster", cluster.name.as_str())
}
