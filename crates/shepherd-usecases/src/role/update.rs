//! An administrator changes a role; its bindings follow at once.

use serde_json::json;
use shepherd_domain::access::{Permission, PermissionSet};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::RoleId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::roles::{RoleDetails, RolePatch};
use shepherd_ports::systems::Changed;

use super::ceiling;
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// A change of a role; an outer `None` leaves a value, an inner one clears it.
#[derive(Clone, Debug, Default)]
pub struct UpdateRole {
    /// Shown to people.
    pub display_name: Option<Option<String>>,
    /// Shown to people.
    pub description: Option<Option<String>>,
    /// Keys of the catalogue, at least one.
    pub permissions: Option<Vec<String>>,
    /// A disabled role grants nothing.
    pub enabled: Option<bool>,
}

/// Changes the role. Its author must hold what it permits, before the change and after it.
///
/// # Errors
/// FORBIDDEN, ROLE_NOT_FOUND, UNKNOWN_PERMISSION, BUILTIN_ROLE_IMMUTABLE, GRANT_CEILING_EXCEEDED, PRECONDITION_FAILED,
/// ROLE_NOT_ASSIGNABLE (it would make administrators of one System or environment), LAST_PLATFORM_ADMIN.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id_or_key: &str,
    command: UpdateRole,
    version: Option<i64>,
) -> Result<RoleId, UseCaseError> {
    account::require_everywhere(caller, Permission::RbacManage)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    uow.roles().lock_administrators().await?;
    let role = uow.roles().lock_role(id_or_key).await?;
    let role = role.ok_or_else(|| super::not_found(id_or_key))?;
    let permissions = command
        .permissions
        .as_deref()
        .map(super::parse_permissions)
        .transpose()?;
    super::require_custom(&role)?;
    let before = role.permission_set();
    ceiling::check_role(&caller.subject, before)?;
    let after: PermissionSet = permissions
        .as_ref()
        .map_or(before, |permissions| permissions.iter().copied().collect());
    ceiling::check_role(&caller.subject, after)?;
    let enables = !role.enabled && command.enabled == Some(true);
    let added: PermissionSet = after
        .iter()
        .filter(|permission| enables || !before.contains(*permission))
        .collect();
    ceiling::check_more_of_role(&caller.subject, added)?;
    if administrates(after) && !administrates(before) && uow.roles().has_narrow_bindings(role.id).await? {
        return Err(Problem::new(ErrorCode::RoleNotAssignable)
            .with("role", role.name)
            .into());
    }
    let details = details(&role, &command, permissions.as_deref());
    let patch = RolePatch {
        display_name: command.display_name,
        description: command.description,
        permissions,
        enabled: command.enabled,
    };
    match uow.roles().update_role(role.id, &patch, version).await? {
        Changed::Yes => {}
        Changed::VersionMismatch { current } => {
            return Err(Problem::new(ErrorCode::PreconditionFailed)
                .with("current_version", current)
                .into());
        }
        Changed::Gone => return Err(super::not_found(id_or_key).into()),
    }
    let granted = role.enabled && administrates(before);
    let grants = command.enabled.unwrap_or(role.enabled) && administrates(after);
    if granted && !grants && !uow.roles().administrator_remains().await? {
        return Err(Problem::new(ErrorCode::LastPlatformAdmin).into());
    }
    let entry = AuditEntry::new(AuditAction::RoleUpdate, "role", role.id)
        .named(&role.name)
        .details(details);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(role.id)
}

fn administrates(permissions: PermissionSet) -> bool {
    permissions.contains(Permission::PlatformAdmin)
}

/// What changes, and what the permissions were.
fn details(role: &RoleDetails, command: &UpdateRole, permissions: Option<&[Permission]>) -> serde_json::Value {
    let mut details = json!({});
    if let Some(permissions) = permissions {
        details["permissions"] = json!(super::keys(permissions));
        details["previous_permissions"] = json!(role.permissions);
    }
    if let Some(enabled) = command.enabled {
        details["enabled"] = json!(enabled);
    }
    if command.display_name.is_some() || command.description.is_some() {
        details["texts"] = json!(true);
    }
    details
}
