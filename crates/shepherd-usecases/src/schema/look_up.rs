//! Looking a schema up: memory, the table, the cluster, and what stands in for it.

use std::sync::Arc;

use shepherd_domain::schema::{MinorVersion, VmSchema};
use shepherd_ports::RepositoryError;

use super::{KnownSchema, SchemaStatus, ServedSchema, cache, fetch, versions};
use crate::{Platform, UseCaseError};

/// The schema of a version, or what stands in for it.
pub(super) async fn look_up(platform: &Platform, version: MinorVersion) -> Result<ServedSchema, UseCaseError> {
    if let Some(schema) = known(platform, version).await? {
        return Ok(exact(schema));
    }
    let clusters = platform.read.enabled_clusters().await?;
    // What nobody runs is not worth remembering: anybody may ask for any version.
    let runs = versions(&clusters).contains(&version);
    let sources = fetch::sources(clusters, version);
    if let Some(schema) = fetch::for_request(platform, version, &sources).await {
        return Ok(exact(schema));
    }
    let retries = platform.settings().schema.fetch_retries;
    let updating = !sources.is_empty() && !platform.schemas.gave_up(version, retries);
    let mut stand_in = stand_in(platform, version).await?;
    if updating {
        stand_in.status = SchemaStatus::Updating;
    }
    if runs && platform.schemas.is_news(version) {
        let used = stand_in.known.schema.minor_version();
        tracing::warn!(wanted = %version, used, "the schema of another KubeVirt version stands in");
    }
    Ok(stand_in)
}

/// The product's own schema, in the place of another.
pub(super) fn baseline() -> ServedSchema {
    ServedSchema {
        known: KnownSchema {
            schema: cache::baseline(),
            fallback: true,
        },
        status: SchemaStatus::Degraded,
    }
}

fn exact(schema: Arc<VmSchema>) -> ServedSchema {
    ServedSchema {
        known: KnownSchema {
            schema,
            fallback: false,
        },
        status: SchemaStatus::Ready,
    }
}

/// The closest lower stored schema, else the product's own.
async fn stand_in(platform: &Platform, version: MinorVersion) -> Result<ServedSchema, RepositoryError> {
    let mut lower = stored_versions(platform).await?;
    lower.retain(|stored| *stored < version);
    lower.sort_unstable();
    for stored in lower.into_iter().rev() {
        if let Some(schema) = known(platform, stored).await? {
            let known = KnownSchema { schema, fallback: true };
            return Ok(ServedSchema {
                known,
                status: SchemaStatus::Ready,
            });
        }
    }
    Ok(baseline())
}

/// The versions that have a stored schema, in no order.
pub(super) async fn stored_versions(platform: &Platform) -> Result<Vec<MinorVersion>, RepositoryError> {
    let stored = platform.read.stored_schema_versions().await?;
    Ok(stored.iter().filter_map(|version| version.parse().ok()).collect())
}

/// The schema of a version without asking anybody: from memory, or from the table.
pub(super) async fn known(
    platform: &Platform,
    version: MinorVersion,
) -> Result<Option<Arc<VmSchema>>, RepositoryError> {
    if let Some(schema) = platform.schemas.get(version) {
        return Ok(Some(schema));
    }
    let Some(stored) = platform.read.stored_schema(&version.to_string()).await? else {
        return Ok(None);
    };
    match VmSchema::from_json(&stored.minor_version, &stored.schema) {
        Ok(schema) => {
            let schema = Arc::new(schema);
            platform.schemas.put(Arc::clone(&schema));
            Ok(Some(schema))
        }
        Err(error) => {
            tracing::error!(%version, %error, "a stored schema cannot be read");
            Ok(None)
        }
    }
}
