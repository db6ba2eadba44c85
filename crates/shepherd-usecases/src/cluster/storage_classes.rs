//! The storage classes that were last found on a cluster.

use chrono::{DateTime, TimeDelta, Utc};
use shepherd_domain::access::Permission;
use shepherd_domain::cluster::StorageClass;
use shepherd_domain::ids::ClusterId;
use shepherd_ports::context::Caller;

use crate::{Platform, UseCaseError};

/// Age from which they may not be true any more.
const STALE: TimeDelta = TimeDelta::hours(24);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// By name; the default is the cluster's own.
    pub classes: Vec<StorageClass>,
    /// When that was.
    pub updated_at: Option<DateTime<Utc>>,
    /// Whether that is too long ago, or never was.
    pub stale: bool,
}

/// The storage classes of a cluster.
///
/// # Errors
/// CLUSTER_NOT_FOUND, FORBIDDEN.
pub async fn execute(platform: &Platform, caller: &Caller, id: ClusterId) -> Result<Found, UseCaseError> {
    let cluster = super::visible(platform, caller, Permission::ClusterRead, id).await?;
    let own_default = cluster.detected_default_storage_class;
    let classes = cluster.storage_classes.into_iter().map(|name| StorageClass {
        default: own_default.as_ref() == Some(&name),
        name,
    });
    let updated_at = cluster.storage_classes_updated_at;
    Ok(Found {
        classes: classes.collect(),
        updated_at,
        stale: updated_at.is_none_or(|at| platform.now() - at > STALE),
    })
}
