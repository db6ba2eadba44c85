//! What a size sets by path, held against what the clusters know.

use shepherd_domain::catalog::InstanceSize;
use shepherd_domain::problem::Problem;

use crate::schema::{self, KnownSchema};
use crate::{Platform, UseCaseError};

/// Holds every override against every schema.
///
/// # Errors
/// SCHEMA_VALIDATION_FAILED{path, kubevirt_version, reason, suggestion} for the first path, of the lowest version, that
/// is unknown or has a value of the wrong type.
pub(crate) fn check(size: &InstanceSize, schemas: &[KnownSchema]) -> Result<(), Problem> {
    for known in schemas {
        for (path, value) in size.spec_overrides.iter() {
            known
                .schema
                .check_path(path, value)
                .map_err(|finding| finding.problem(known.schema.minor_version()))?;
        }
    }
    Ok(())
}

/// Holds the size against the schemas of all enabled clusters. No transaction is open meanwhile: one may be fetched.
///
/// # Errors
/// As [`check`].
pub(super) async fn on_all_clusters(platform: &Platform, size: &InstanceSize) -> Result<(), UseCaseError> {
    // Columns are rendered to paths that every version has.
    if size.spec_overrides.is_empty() {
        return Ok(());
    }
    Ok(check(size, &schema::of_enabled_clusters(platform).await?)?)
}
