//! An administrator deletes a role that nobody has or waits for.

use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;

use super::ceiling;
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// Deletes the role. Bindings count until they are removed, also when they have expired; policies that name the role, and
/// tickets that wait for those who have it, count as well.
///
/// # Errors
/// FORBIDDEN, ROLE_NOT_FOUND, BUILTIN_ROLE_IMMUTABLE, GRANT_CEILING_EXCEEDED, ROLE_IN_USE{reference_count}.
pub async fn execute(platform: &Platform, caller: &Caller, id_or_key: &str) -> Result<(), UseCaseError> {
    account::require_everywhere(caller, Permission::RbacManage)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let role = uow.roles().lock_role(id_or_key).await?;
    let role = role.ok_or_else(|| super::not_found(id_or_key))?;
    super::require_custom(&role)?;
    ceiling::check_role(&caller.subject, role.permission_set())?;
    // The lock on the role keeps new bindings and providers away. A policy that is written at this moment names what is
    // gone; what waits because of it can still be rejected.
    let references = uow.roles().role_references(role.id).await?;
    if references > 0 {
        return Err(Problem::new(ErrorCode::RoleInUse)
            .with("reference_count", references)
            .into());
    }
    if !uow.roles().delete_role(role.id).await? {
        return Err(super::not_found(id_or_key).into());
    }
    let entry = AuditEntry::new(AuditAction::RoleDelete, "role", role.id).named(&role.name);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
