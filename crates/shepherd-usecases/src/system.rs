//! Systems: self-service, recorded.

pub mod create;
pub mod delete;
pub mod members;
pub mod texts;
pub mod update;

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::SystemId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::systems::SystemRecord;

use crate::authorization::{self, Guarded};
use crate::{Platform, UseCaseError};

/// The System, if the caller may do this to it.
///
/// # Errors
/// SYSTEM_NOT_FOUND, FORBIDDEN.
pub async fn visible(
    platform: &Platform,
    caller: &Caller,
    permission: Permission,
    action: ResourceAction,
    id: SystemId,
) -> Result<SystemRecord, UseCaseError> {
    caller.require(permission)?;
    let system = platform
        .read
        .get_system(id)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::SystemNotFound, id))?;
    let object = Guarded {
        not_found: ErrorCode::SystemNotFound,
        id: &id,
        read: Permission::SystemRead,
    };
    authorization::require(caller, permission, action, id, object)?;
    Ok(system)
}
