//! An administrator puts a role together.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::RoleId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::identity::NewRole;

use super::ceiling;
use crate::idempotency::{self, Answer};
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CreateRole {
    /// 1 to 63 characters, unique.
    pub name: String,
    /// Keys of the catalogue, at least one.
    pub permissions: Vec<String>,
    /// Shown to people.
    pub display_name: Option<String>,
    /// Shown to people.
    pub description: Option<String>,
    /// A disabled role grants nothing.
    pub enabled: bool,
}

/// Creates the role.
///
/// # Errors
/// FORBIDDEN, VALIDATION_FAILED, UNKNOWN_PERMISSION{permissions}, GRANT_CEILING_EXCEEDED, ROLE_NAME_EXISTS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: CreateRole,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<RoleId>, UseCaseError> {
    account::require_everywhere(caller, Permission::RbacManage)?;
    super::check_name(&command.name)?;
    let permissions = super::parse_permissions(&command.permissions)?;
    ceiling::check_role(&caller.subject, permissions.iter().copied().collect())?;
    let now = platform.now();
    let role = NewRole {
        id: platform.ids.id(),
        key: None,
        name: command.name,
        display_name: command.display_name,
        description: command.description,
        permissions,
        built_in: false,
    };
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    uow.roles().insert_role(&role, command.enabled).await.map_err(|error| {
        if error.is_unique("uq_roles_name") {
            Problem::new(ErrorCode::RoleNameExists)
                .with("name", role.name.as_str())
                .into()
        } else {
            UseCaseError::from(error)
        }
    })?;
    let entry = AuditEntry::new(AuditAction::RoleCreate, "role", role.id)
        .named(&role.name)
        .details(json!({"permissions": super::keys(&role.permissions), "enabled": command.enabled}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    idempotency::store(platform, &mut *uow, request, &role.id).await?;
    uow.commit().await?;
    Ok(Answer::fresh(role.id))
}
