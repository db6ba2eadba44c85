//! Somebody wants to know whether a request for a machine would be accepted. Nothing is stored.

use shepherd_domain::access::Permission;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::problem::Warning;
use shepherd_domain::spec::EffectiveNumbers;
use shepherd_ports::context::Caller;

use super::request::{self, RequestVm};
use crate::{Platform, UseCaseError};

/// A request that would be accepted.
#[derive(Clone, Debug)]
pub struct Validated {
    /// Findings that would not stop it.
    pub warnings: Vec<Warning>,
    /// What the machine would get.
    pub numbers: EffectiveNumbers,
    /// The cluster that judged it; none when there is none, or it did not answer.
    pub checked_cluster: Option<ClusterId>,
}

/// Checks the request as its submission would, on the named cluster or the one that would be picked first. Whether the
/// same is waiting for a decision already is not looked at.
///
/// # Errors
/// As the submission; CLUSTER_NOT_FOUND, and whatever keeps the named cluster from taking the machine.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: &RequestVm,
    cluster: Option<ClusterId>,
) -> Result<Validated, UseCaseError> {
    caller.require(Permission::VmCreate)?;
    let examined = request::examine(platform, caller, command, cluster).await?;
    Ok(Validated {
        numbers: examined.numbers(),
        warnings: examined.previewed.warnings,
        checked_cluster: examined.previewed.cluster,
    })
}
