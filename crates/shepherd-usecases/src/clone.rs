//! Clones of machines. Whoever sees one of the two machines sees the clone.

pub mod create;

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::CloneId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::clones::CloneRecord;
use shepherd_ports::context::Caller;

use crate::{Platform, UseCaseError, vm};

/// The clone, if the caller may see its source or what it makes.
///
/// # Errors
/// FORBIDDEN without `vm:read`, CLONE_NOT_FOUND.
pub async fn visible(platform: &Platform, caller: &Caller, id: CloneId) -> Result<CloneRecord, UseCaseError> {
    caller.require(Permission::VmRead)?;
    let not_found = || Problem::not_found(ErrorCode::CloneNotFound, id);
    let clone = platform.read.get_clone(id).await?.ok_or_else(not_found)?;
    for machine in [Some(clone.source_vm_id), clone.target_vm_id].into_iter().flatten() {
        match vm::visible(platform, caller, Permission::VmRead, ResourceAction::View, machine).await {
            Ok(_) => return Ok(clone),
            // Gone, or not for this caller; perhaps the other one is.
            Err(UseCaseError::Problem(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(not_found().into())
}
