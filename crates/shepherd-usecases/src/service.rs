//! Services of a System: self-service, recorded.

pub mod create;
pub mod delete;
pub mod update;

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::{ServiceId, SystemId};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::services::ServiceRecord;

use crate::authorization::{self, Guarded};
use crate::{Platform, UseCaseError};

/// The Service, if the caller may do this to it. The System is looked at first.
///
/// # Errors
/// SYSTEM_NOT_FOUND, SERVICE_NOT_FOUND, FORBIDDEN.
pub async fn visible(
    platform: &Platform,
    caller: &Caller,
    permission: Permission,
    action: ResourceAction,
    system: SystemId,
    id: ServiceId,
) -> Result<ServiceRecord, UseCaseError> {
    in_system(caller, permission, action, system)?;
    let service = platform.read.get_service(system, id).await?;
    service.ok_or_else(|| Problem::not_found(ErrorCode::ServiceNotFound, id).into())
}

/// Whether the caller may do this to Services of the System.
///
/// # Errors
/// SYSTEM_NOT_FOUND, FORBIDDEN.
pub fn in_system(
    caller: &Caller,
    permission: Permission,
    action: ResourceAction,
    system: SystemId,
) -> Result<(), Problem> {
    caller.require(permission)?;
    let object = Guarded {
        not_found: ErrorCode::SystemNotFound,
        id: &system,
        read: Permission::ServiceRead,
    };
    authorization::require(caller, permission, action, system, object)
}
