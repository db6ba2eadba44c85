//! An administrator gives a role to a user; nobody gives more than they hold.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::access::{BuiltInRole, Permission, PermissionSet, Scope, Subject};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{RoleBindingId, UserId};
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_ports::RepositoryError;
use shepherd_ports::context::Caller;
use shepherd_ports::identity::NewBinding;

use crate::{Platform, UseCaseError};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct BindRole {
    /// Who gets it.
    pub user: UserId,
    /// Role id or key.
    pub role: String,
    /// Where it applies.
    pub scope: Scope,
    /// In which environments; not empty.
    pub environments: EnvironmentSet,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The binding.
    pub id: RoleBindingId,
    /// Its environments; a role of platform administrators always has both.
    pub environments: EnvironmentSet,
}

/// Creates the binding.
///
/// # Errors
/// ROLE_NOT_FOUND, ROLE_NOT_ASSIGNABLE, GRANT_CEILING_EXCEEDED, USER_NOT_FOUND, ROLE_BINDING_EXISTS.
pub async fn execute(platform: &Platform, caller: &Caller, command: BindRole) -> Result<Bound, UseCaseError> {
    caller.require(Permission::RbacManage)?;
    if command.environments.is_empty() {
        return Err(Problem::invalid_field("allowed_environments", FieldCode::Required).into());
    }
    let now = platform.now();
    if command.expires_at.is_some_and(|end| end <= now) {
        return Err(Problem::invalid_field("expires_at", FieldCode::OutOfRange).into());
    }
    let user = platform
        .read
        .get_user(command.user)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::UserNotFound, command.user))?;
    let mut uow = platform.begin().await?;
    let role = uow
        .identity()
        .find_role(&command.role)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::RoleNotFound, &command.role))?;
    let administrates = role.permissions.contains(Permission::PlatformAdmin);
    if role.key.as_deref() == Some(BuiltInRole::Bootstrap.key()) || (administrates && command.scope != Scope::Global) {
        return Err(Problem::new(ErrorCode::RoleNotAssignable)
            .with("role", role.name)
            .into());
    }
    let environments = if administrates {
        EnvironmentSet::ALL
    } else {
        command.environments
    };
    check_ceiling(&caller.subject, role.permissions, command.scope, environments)?;
    let binding = NewBinding {
        id: platform.ids.id(),
        user_id: command.user,
        role_id: role.id,
        scope: command.scope,
        environments,
        source: "manual",
        expires_at: command.expires_at,
        created_by: caller.context.actor.clone(),
    };
    uow.identity()
        .insert_binding(&binding)
        .await
        .map_err(|error| match &error {
            RepositoryError::Unique { .. } => Problem::new(ErrorCode::RoleBindingExists).into(),
            RepositoryError::ForeignKey { .. } => Problem::not_found(ErrorCode::UserNotFound, command.user).into(),
            RepositoryError::Busy(_) | RepositoryError::Unavailable(_) | RepositoryError::Other(_) => {
                UseCaseError::from(error)
            }
        })?;
    let entry = AuditEntry::new(AuditAction::RoleAssign, "role_binding", binding.id)
        .named(role.name)
        .parent("user", user.id)
        .details(json!({"username": user.username, "allowed_environments": environments}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(Bound {
        id: binding.id,
        environments,
    })
}

/// The grant ceiling: every permission of the grant is held by the grantor with a scope and environments that cover
/// those of the grant.
///
/// # Errors
/// GRANT_CEILING_EXCEEDED{missing_permissions, scope, environments}.
pub fn check_ceiling(
    grantor: &Subject,
    permissions: PermissionSet,
    scope: Scope,
    environments: EnvironmentSet,
) -> Result<(), Problem> {
    let system = match scope {
        Scope::Global => None,
        Scope::System(system) => Some(system),
    };
    let missing: Vec<&str> = permissions
        .iter()
        .filter(|permission| {
            !environments
                .iter()
                .all(|environment| grantor.holds(*permission, system, Some(environment)))
        })
        .map(Permission::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::GrantCeilingExceeded)
        .with("missing_permissions", missing)
        .with("scope", if system.is_some() { "system" } else { "global" })
        .with("environments", json!(environments)))
}
