//! An administrator takes a role from a user.

use serde_json::json;
use shepherd_domain::access::{BuiltInRole, Permission, Scope};
use shepherd_domain::ids::{RoleBindingId, UserId};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::roles::BindingDetails;

use super::ceiling;
use crate::{Platform, UseCaseError, bootstrap};

/// Removes the binding. One that an identity provider's groups gave comes back with the next login of the user, unless
/// the mapping goes as well.
///
/// # Errors
/// ROLE_BINDING_NOT_FOUND, FORBIDDEN, GRANT_CEILING_EXCEEDED, LAST_PLATFORM_ADMIN.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    id: RoleBindingId,
) -> Result<(), UseCaseError> {
    caller.require(Permission::RbacManage)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    uow.roles().lock_administrators().await?;
    let binding = uow.roles().lock_binding(user, id).await?;
    let binding = binding
        .filter(|binding| is_visible(caller, binding))
        .ok_or_else(|| Problem::not_found(ErrorCode::RoleBindingNotFound, id))?;
    let permissions = binding.permission_set();
    ceiling::check(
        &caller.subject,
        permissions,
        binding.scope(),
        binding.allowed_environments,
    )?;
    ceiling::require_manager(caller, binding.scope(), binding.allowed_environments)?;
    if !uow.roles().remove_binding(id).await? {
        return Err(Problem::not_found(ErrorCode::RoleBindingNotFound, id).into());
    }
    if binding.role_key.as_deref() == Some(BuiltInRole::Bootstrap.key()) {
        bootstrap::record_end(platform, &mut *uow, &[binding], &caller.context, "removed", now).await?;
        return Ok(uow.commit().await?);
    }
    if permissions.contains(Permission::PlatformAdmin)
        && may_be_the_last(&binding)
        && !uow.roles().administrator_remains().await?
    {
        return Err(Problem::new(ErrorCode::LastPlatformAdmin).into());
    }
    let entry = super::revoked(&binding).details(json!({"username": binding.username}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}

/// What ends by itself or comes from a provider never counts as an administrator's, and must not be stuck where no
/// administrator remains.
fn may_be_the_last(binding: &BindingDetails) -> bool {
    binding.expires_at.is_none() && !binding.source.starts_with("idp_")
}

/// Bindings outside the scope of the right to manage them do not exist for the caller.
fn is_visible(caller: &Caller, binding: &BindingDetails) -> bool {
    let system = match binding.scope() {
        Scope::Global => None,
        Scope::System(system) => Some(system),
    };
    caller.subject.holds(Permission::RbacRead, system, None)
}
