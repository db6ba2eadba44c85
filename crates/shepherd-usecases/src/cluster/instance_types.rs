//! Instance types and preferences of a cluster, asked for when somebody wants to know.

use shepherd_domain::access::Permission;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::infrastructure::{InstanceType, Preference};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::providers::ProviderError;

use super::namespaces;
use crate::{Platform, UseCaseError};

/// Instance types of the whole cluster, and those of a namespace when it is named.
///
/// # Errors
/// CLUSTER_NOT_FOUND, FORBIDDEN, VALIDATION_FAILED, CAPABILITY_NOT_SUPPORTED, CLUSTER_UNREACHABLE, CLUSTER_DEGRADED.
pub async fn instance_types(
    platform: &Platform,
    caller: &Caller,
    id: ClusterId,
    namespace: Option<&str>,
) -> Result<Vec<InstanceType>, UseCaseError> {
    let cluster = asked(platform, caller, id, namespace).await?;
    let provider = &platform.instance_types;
    let refused = |error| refused(platform, &cluster, "instancetypes", &error);
    let mut found = provider.list_cluster_instance_types(id).await.map_err(refused)?;
    if let Some(namespace) = namespace {
        found.extend(provider.list_instance_types(id, namespace).await.map_err(refused)?);
    }
    Ok(found)
}

/// Preferences of the whole cluster, and those of a namespace when it is named.
///
/// # Errors
/// As [`instance_types`].
pub async fn preferences(
    platform: &Platform,
    caller: &Caller,
    id: ClusterId,
    namespace: Option<&str>,
) -> Result<Vec<Preference>, UseCaseError> {
    let cluster = asked(platform, caller, id, namespace).await?;
    let provider = &platform.instance_types;
    let refused = |error| refused(platform, &cluster, "preferences", &error);
    let mut found = provider.list_cluster_preferences(id).await.map_err(refused)?;
    if let Some(namespace) = namespace {
        found.extend(provider.list_preferences(id, namespace).await.map_err(refused)?);
    }
    Ok(found)
}

async fn asked(
    platform: &Platform,
    caller: &Caller,
    id: ClusterId,
    namespace: Option<&str>,
) -> Result<ClusterRecord, UseCaseError> {
    let cluster = super::visible(platform, caller, Permission::ClusterRead, id).await?;
    if let Some(namespace) = namespace {
        namespaces::check_name("namespace", namespace)?;
    }
    Ok(cluster)
}

fn refused(platform: &Platform, cluster: &ClusterRecord, capability: &str, error: &ProviderError) -> Problem {
    if matches!(error, ProviderError::Unsupported(_)) {
        return Problem::new(ErrorCode::CapabilityNotSupported)
            .with("capability", capability)
            .with("cluster", cluster.name.as_str());
    }
    super::unanswered(platform, cluster, error)
}
