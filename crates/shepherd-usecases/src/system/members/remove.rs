//! Somebody ceases to be a member of a System, by decision of others or of one's own.

use serde_json::json;
use shepherd_domain::access::{Permission, ResourceAction, ResourceRole};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::{SystemId, UserId};
use shepherd_ports::context::Caller;

use super::RESOURCE;
use crate::{Platform, UseCaseError, system};

/// Removes the member. Everybody may leave: the own membership takes no right to manage members, but the last owner
/// stays.
///
/// # Errors
/// SYSTEM_NOT_FOUND, FORBIDDEN, MEMBER_NOT_FOUND, GRANT_CEILING_EXCEEDED{role, scope},
/// LAST_OWNER_CANNOT_BE_REMOVED{system_ids}.
pub async fn execute(platform: &Platform, caller: &Caller, system: SystemId, user: UserId) -> Result<(), UseCaseError> {
    let leaves = user == caller.subject.user();
    let action = if leaves {
        ResourceAction::View
    } else {
        ResourceAction::Members
    };
    system::visible(platform, caller, Permission::SystemRead, action, system).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let member = super::lock_member(&mut *uow, system, user, now).await?;
    let owned = member.role == ResourceRole::Owner;
    if owned && !leaves {
        super::require_owner(caller, system)?;
    }
    if !uow.members().remove(member.id).await? {
        return Err(super::not_found(user).into());
    }
    if owned {
        super::require_remaining_owner(&mut *uow, system).await?;
    }
    let details = json!({"username": member.username, "role": member.role});
    let entry = AuditEntry::new(AuditAction::SystemMemberRemove, RESOURCE, user)
        .named(member.username)
        .parent("system", system)
        .details(details);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
