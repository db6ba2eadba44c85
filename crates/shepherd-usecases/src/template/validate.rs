//! An administrator asks whether a stored version would pass the validation now. Nothing changes by asking.

use shepherd_domain::ids::{ClusterId, TemplateId};
use shepherd_ports::context::Caller;

use super::validation::{Checks, Verdict};
use crate::{Platform, UseCaseError};

/// Runs all steps of the validation, the last one on `cluster` when one is given.
///
/// # Errors
/// TEMPLATE_NOT_FOUND, FORBIDDEN, CLUSTER_NOT_FOUND.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: TemplateId,
    cluster: Option<ClusterId>,
) -> Result<Verdict, UseCaseError> {
    let template = super::changeable(platform, caller, id).await?;
    let mut checks = match cluster {
        Some(cluster) => Checks::on(platform, cluster).await?,
        None => Checks::prepare(platform).await?,
    };
    Ok(checks.run(platform, &template.spec).await)
}
