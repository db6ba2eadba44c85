//! Whether a cluster can be asked for something now.

use shepherd_domain::cluster::{ClusterStatus, WatchState};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::clusters::ClusterRecord;

/// Refuses work for a cluster that could not do it: reads stay possible, work waits.
///
/// # Errors
/// CLUSTER_UNHEALTHY while its health is anything but HEALTHY, CLUSTER_REBUILDING while its watch lists anew,
/// CLUSTER_DEGRADED while its breaker is open.
pub fn open(cluster: &ClusterRecord) -> Result<(), Problem> {
    if !cluster.enabled {
        // Nobody looks at it, so what was found last says nothing; its machines are still operated and deleted.
        return Ok(());
    }
    if cluster.status != ClusterStatus::Healthy {
        return Err(Problem::new(ErrorCode::ClusterUnhealthy)
            .with("cluster", cluster.name.as_str())
            .with("status", cluster.status.as_str()));
    }
    let code = match cluster.watch_state {
        WatchState::Rebuilding => ErrorCode::ClusterRebuilding,
        WatchState::Degraded => ErrorCode::ClusterDegraded,
        WatchState::Starting | WatchState::Live => return Ok(()),
    };
    Err(Problem::new(code).with("cluster", cluster.name.as_str()))
}
