//! Snapshots of machines: taking, deleting and restoring from them. Whoever sees the machine sees its snapshots.

pub mod create;
pub mod delete;
pub mod restore;

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::SnapshotId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::spec::SnapshotTarget;
use shepherd_ports::context::Caller;
use shepherd_ports::snapshots::SnapshotRecord;
use shepherd_ports::vms::VmRecord;

use crate::authorization::{self, Guarded};
use crate::{Platform, UseCaseError};

/// The snapshot with its machine, if the caller may do this to the machine.
///
/// # Errors
/// SNAPSHOT_NOT_FOUND, FORBIDDEN.
pub async fn visible(
    platform: &Platform,
    caller: &Caller,
    permission: Permission,
    action: ResourceAction,
    id: SnapshotId,
) -> Result<(SnapshotRecord, VmRecord), UseCaseError> {
    caller.require(permission)?;
    let not_found = || Problem::not_found(ErrorCode::SnapshotNotFound, id);
    let snapshot = platform.read.get_snapshot(id).await?.ok_or_else(not_found)?;
    let vm = platform.read.get_vm(snapshot.vm_id).await?.ok_or_else(not_found)?;
    let object = Guarded {
        not_found: ErrorCode::SnapshotNotFound,
        id: &id,
        read: Permission::VmRead,
    };
    authorization::require_vm(
        caller,
        permission,
        action,
        vm.system_id,
        vm.environment,
        &vm.created_by,
        object,
    )?;
    Ok((snapshot, vm))
}

fn target(snapshot: &SnapshotRecord) -> SnapshotTarget {
    SnapshotTarget {
        id: snapshot.id,
        name: snapshot.name.clone(),
    }
}
