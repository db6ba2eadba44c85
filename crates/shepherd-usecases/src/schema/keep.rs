//! A schema that was fetched is stored together with what it makes of the catalogue.

use std::sync::Arc;

use shepherd_domain::schema::VmSchema;
use shepherd_ports::schemas::NewSchema;

use super::look_up;
use super::revalidate::{self, Alert};
use crate::{Platform, UseCaseError};

/// Stores a schema, re-validates sizes and templates, and remembers it. Where another replica was faster, its schema is
/// the answer, and the catalogue is left to it.
pub(super) async fn keep(platform: &Platform, schema: VmSchema) -> Result<Arc<VmSchema>, UseCaseError> {
    let schema = Arc::new(schema);
    let document = schema.to_json();
    let row = NewSchema {
        minor_version: schema.minor_version().to_owned(),
        sha256: platform.digests.sha256_hex(document.to_string().as_bytes()),
        schema: document,
        fetched_at: platform.now(),
    };
    let findings = if platform.settings().schema.validate_on_version_change {
        let against = revalidate::schemas(platform, Some(&schema)).await?;
        Some(revalidate::judge(platform, &against).await?)
    } else {
        None
    };
    let mut uow = platform.begin().await?;
    let stored = uow.schemas().insert(&row).await?;
    if let Some(findings) = findings.filter(|_| stored) {
        revalidate::record(platform, &mut *uow, &findings, Alert::OfAll).await?;
    }
    uow.commit().await?;
    if !stored && let Some(first) = look_up::known(platform, schema.version()).await? {
        return Ok(first);
    }
    platform.schemas.put(Arc::clone(&schema));
    Ok(schema)
}
