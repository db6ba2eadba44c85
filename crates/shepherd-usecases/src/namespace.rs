//! The namespace registry, kept by administrators.

pub mod create;
pub mod delete;
pub mod update;

use shepherd_domain::access::Permission;
use shepherd_domain::ids::NamespaceId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::namespaces::NamespaceRecord;

use crate::authorization::{self, Guarded};
use crate::{Platform, UseCaseError};

/// The entry, if the caller may do this to it.
///
/// # Errors
/// NAMESPACE_NOT_FOUND, FORBIDDEN.
pub async fn visible(
    platform: &Platform,
    caller: &Caller,
    permission: Permission,
    id: NamespaceId,
) -> Result<NamespaceRecord, UseCaseError> {
    caller.require(permission)?;
    let namespace = platform
        .read
        .get_namespace(id)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::NamespaceNotFound, id))?;
    let object = Guarded {
        not_found: ErrorCode::NamespaceNotFound,
        id: &id,
        read: Permission::ClusterRead,
    };
    authorization::require_in(caller, permission, namespace.environment, object)?;
    Ok(namespace)
}
