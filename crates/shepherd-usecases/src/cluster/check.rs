//! Somebody wants to know how a cluster is now.

use shepherd_domain::access::Permission;
use shepherd_domain::cluster::ClusterStatus;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;

use crate::controllers::health;
use crate::{Platform, UseCaseError};

/// Looks at the cluster, disabled or not, and answers it as it is then. What was found is stored in any case.
///
/// # Errors
/// CLUSTER_NOT_FOUND, FORBIDDEN; CLUSTER_UNREACHABLE when it does not answer.
pub async fn execute(platform: &Platform, caller: &Caller, id: ClusterId) -> Result<ClusterRecord, UseCaseError> {
    let cluster = super::visible(platform, caller, Permission::ClusterWrite, id).await?;
    match health::look_now(platform, &cluster).await? {
        ClusterStatus::Unreachable => Err(Problem::new(ErrorCode::ClusterUnreachable)
            .with("cluster", cluster.name)
            .into()),
        ClusterStatus::Unknown | ClusterStatus::Healthy | ClusterStatus::Unhealthy => {
            super::visible(platform, caller, Permission::ClusterWrite, id).await
        }
    }
}
