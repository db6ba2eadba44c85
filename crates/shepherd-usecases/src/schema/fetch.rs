//! Asking a cluster for the schema it serves.

use std::sync::Arc;
use std::time::Duration;

use shepherd_domain::cluster::ClusterStatus;
use shepherd_domain::schema::{MinorVersion, SchemaError, VmSchema};
use shepherd_ports::RepositoryError;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::providers::ProviderError;

use super::cache::Asking;
use super::{keep, look_up, version_of};
use crate::{Platform, UseCaseError};

/// Longest time that a request waits for a cluster; the loop has `schema.fetch_timeout`.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no schema.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The cluster did not answer with one.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// It took too long.
    #[error("timed out")]
    Timeout,
    /// It runs another version by now.
    #[error("the cluster runs KubeVirt {0} by now")]
    OtherVersion(String),
    /// What it answered is no schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// It could not be stored.
    #[error("the schema could not be stored")]
    Store(#[from] UseCaseError),
}

impl From<RepositoryError> for FetchError {
    fn from(error: RepositoryError) -> Self {
        Self::Store(error.into())
    }
}

/// The clusters that can be asked for a version, the healthy ones first.
pub(super) fn sources(clusters: Vec<ClusterRecord>, version: MinorVersion) -> Vec<ClusterRecord> {
    let mut sources: Vec<ClusterRecord> = clusters
        .into_iter()
        .filter(|cluster| cluster.status != ClusterStatus::Unreachable && version_of(cluster) == Some(version))
        .collect();
    sources.sort_by_key(|cluster| cluster.status != ClusterStatus::Healthy);
    sources
}

/// Asks on behalf of a request: shortly, and not again while the last failure is recent.
pub(super) async fn for_request(
    platform: &Platform,
    version: MinorVersion,
    sources: &[ClusterRecord],
) -> Option<Arc<VmSchema>> {
    let first = sources.first()?;
    if platform.schemas.rests(version, Asking::Request, platform.now()) {
        return None;
    }
    let patience = platform.settings().schema.fetch_timeout.min(REQUEST_PATIENCE);
    let fetched = tokio::time::timeout(patience, fetch(platform, version, first)).await;
    match fetched.unwrap_or(Err(FetchError::Timeout)) {
        Ok(schema) => Some(schema),
        Err(error) => {
            let retries = platform.settings().schema.fetch_retries;
            platform
                .schemas
                .failed(version, Asking::Request, retries, platform.now());
            tracing::info!(%version, cluster = %first.name, error = &error as &dyn std::error::Error, "a request goes on without the schema of a cluster");
            None
        }
    }
}

/// Reads the schema of a version from a cluster and stores it, unless somebody did so meanwhile. One at a time for
/// each version: whoever comes second finds what the first one stored.
pub(super) async fn fetch(
    platform: &Platform,
    version: MinorVersion,
    cluster: &ClusterRecord,
) -> Result<Arc<VmSchema>, FetchError> {
    let gate = platform.schemas.gate(version);
    let _turn = gate.lock().await;
    if let Some(schema) = look_up::known(platform, version).await? {
        return Ok(schema);
    }
    let asked = platform.cluster_schemas.vm_schema(cluster.id);
    let answer = tokio::time::timeout(platform.settings().schema.fetch_timeout, asked)
        .await
        .unwrap_or_else(|_| Err(ProviderError::Timeout("vm_schema".to_owned())))?;
    if answer.minor_version.parse::<MinorVersion>() != Ok(version) {
        return Err(FetchError::OtherVersion(answer.minor_version));
    }
    let schema = VmSchema::from_json(&answer.minor_version, &answer.schema)?;
    Ok(keep::keep(platform, schema).await?)
}
