//! Schemas of virtual machines: where they come from, and what they refuse (catalog.md §3).
//!
//! A schema is looked for in memory, in `kubevirt_schemas`, and on a cluster that runs the version. Where none is to be
//! had, the closest lower stored one stands in, or the product's own. Whichever it is, what it refuses is refused.
//!
//! - `look_up` answers from what is known; `fetch` asks a cluster; `keep` stores what it said
//! - `revalidate` holds sizes and templates against a new schema
//! - [`update`] keeps the stored schemas in step with the clusters, by itself

mod cache;
mod fetch;
mod keep;
mod look_up;
mod revalidate;
pub mod update;

use std::collections::BTreeSet;
use std::sync::Arc;

use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_domain::schema::{MinorVersion, VmSchema};
use shepherd_ports::clusters::ClusterRecord;

pub use cache::SchemaCache;

use crate::{Platform, UseCaseError};

/// A schema to validate against.
#[derive(Clone, Debug)]
pub struct KnownSchema {
    /// The schema.
    pub schema: Arc<VmSchema>,
    /// Whether it stands in for the one that was wanted.
    pub fallback: bool,
}

/// How far the wanted schema is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaStatus {
    /// It is served, or a stored one of a lower version stands in for good.
    Ready,
    /// A cluster runs the version and is still being asked.
    Updating,
    /// Only the product's own schema is there.
    Degraded,
}

impl SchemaStatus {
    /// The name in the header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Updating => "updating",
            Self::Degraded => "degraded",
        }
    }
}

/// A schema as it is served.
#[derive(Clone, Debug)]
pub struct ServedSchema {
    /// The schema.
    pub known: KnownSchema,
    /// How far the wanted one is.
    pub status: SchemaStatus,
}

/// The schema of the newest version that is stored or runs on an enabled cluster.
///
/// # Errors
/// When the store fails.
pub async fn newest(platform: &Platform) -> Result<KnownSchema, UseCaseError> {
    Ok(served_newest(platform).await?.known)
}

/// The schema of a version of KubeVirt, for example `1.6.2`. A text that is no version has the product's own.
///
/// # Errors
/// When the store fails.
pub async fn of_version(platform: &Platform, kubevirt_version: &str) -> Result<KnownSchema, UseCaseError> {
    match kubevirt_version.parse::<MinorVersion>() {
        Ok(version) => Ok(look_up::look_up(platform, version).await?.known),
        Err(_) => Ok(look_up::baseline().known),
    }
}

/// The schemas of all enabled clusters, one for each minor version; the product's own alone when there are none.
///
/// # Errors
/// When the store fails.
pub async fn of_enabled_clusters(platform: &Platform) -> Result<Vec<KnownSchema>, UseCaseError> {
    let mut schemas = Vec::new();
    for version in versions(&platform.read.enabled_clusters().await?) {
        schemas.push(look_up::look_up(platform, version).await?.known);
    }
    if schemas.is_empty() {
        schemas.push(look_up::baseline().known);
    }
    Ok(schemas)
}

/// The schema somebody asks for by version, or the newest.
///
/// # Errors
/// VALIDATION_FAILED when the version is none; SCHEMA_NOT_AVAILABLE when it is older than everything known.
pub async fn serve(platform: &Platform, kubevirt_version: Option<&str>) -> Result<ServedSchema, UseCaseError> {
    let Some(text) = kubevirt_version else {
        return served_newest(platform).await;
    };
    let malformed = |_| Problem::invalid_field("kubevirt_version", FieldCode::InvalidFormat);
    let version = text.parse::<MinorVersion>().map_err(malformed)?;
    let served = look_up::look_up(platform, version).await?;
    if served.known.schema.version() > version {
        return Err(Problem::not_found(ErrorCode::SchemaNotAvailable, version).into());
    }
    Ok(served)
}

async fn served_newest(platform: &Platform) -> Result<ServedSchema, UseCaseError> {
    let mut all = versions(&platform.read.enabled_clusters().await?);
    all.extend(look_up::stored_versions(platform).await?);
    match all.last() {
        Some(newest) => look_up::look_up(platform, *newest).await,
        None => Ok(look_up::baseline()),
    }
}

/// The minor versions that clusters run, as far as they are known.
fn versions(clusters: &[ClusterRecord]) -> BTreeSet<MinorVersion> {
    clusters.iter().filter_map(version_of).collect()
}

fn version_of(cluster: &ClusterRecord) -> Option<MinorVersion> {
    cluster.kubevirt_version.as_deref()?.parse().ok()
}
