//! Checks that are repeated at execution: the world may have changed since the approval.

use shepherd_domain::Environment;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::clusters::ClusterRecord;

use super::Failure;
use crate::Platform;
use crate::cluster::gate;

/// The cluster of an operation, if it can be worked with now.
///
/// # Errors
/// Permanent when it is gone or has another environment; unavailable when it is not HEALTHY.
pub(super) async fn cluster(
    platform: &Platform,
    id: ClusterId,
    environment: Environment,
) -> Result<ClusterRecord, Failure> {
    let Some(cluster) = platform.read.get_cluster(id).await? else {
        return Err(Failure::Permanent(
            Problem::not_found(ErrorCode::ClusterNotFound, id),
            "the cluster is gone".to_owned(),
        ));
    };
    if cluster.environment != environment {
        let problem = Problem::new(ErrorCode::NamespaceClusterEnvMismatch)
            .with("namespace_env", environment.as_str())
            .with("cluster", cluster.name.as_str())
            .with("cluster_env", cluster.environment.as_str());
        return Err(Failure::Permanent(
            problem,
            "the environment of the cluster changed".to_owned(),
        ));
    }
    gate::open(&cluster).map_err(|problem| {
        let why = format!("the cluster is {}, its watch {}", cluster.status, cluster.watch_state);
        Failure::Unavailable(problem, why)
    })?;
    Ok(cluster)
}
