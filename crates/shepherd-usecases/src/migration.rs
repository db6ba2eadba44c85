//! Live migrations of machines. Whoever sees the machine sees its migrations.

pub mod cancel;
pub mod create;

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::MigrationId;
use shepherd_domain::infrastructure::MigrationPhase;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::migrations::MigrationRecord;
use shepherd_ports::vms::VmRecord;

use crate::authorization::{self, Guarded};
use crate::{Platform, UseCaseError};

/// The migration with its machine, if the caller may do this to the machine.
///
/// # Errors
/// MIGRATION_NOT_FOUND, FORBIDDEN.
pub async fn visible(
    platform: &Platform,
    caller: &Caller,
    permission: Permission,
    action: ResourceAction,
    id: MigrationId,
) -> Result<(MigrationRecord, VmRecord), UseCaseError> {
    caller.require(permission)?;
    let not_found = || Problem::not_found(ErrorCode::MigrationNotFound, id);
    let migration = platform.read.get_migration(id).await?.ok_or_else(not_found)?;
    let vm = platform.read.get_vm(migration.vm_id).await?.ok_or_else(not_found)?;
    let object = Guarded {
        not_found: ErrorCode::MigrationNotFound,
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
    Ok((migration, vm))
}

/// INVALID_STATE_TRANSITION: a migration that has ended cannot be called off.
pub(crate) fn has_ended(phase: MigrationPhase) -> Problem {
    Problem::new(ErrorCode::InvalidStateTransition)
        .with("entity", "migration")
        .with("current_status", phase.as_str())
        .with("operation", "CANCEL")
        .with(
            "allowed",
            vec![MigrationPhase::Pending.as_str(), MigrationPhase::Running.as_str()],
        )
}
