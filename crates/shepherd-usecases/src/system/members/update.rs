//! A member of a System gets another role.

use serde_json::json;
use shepherd_domain::access::{Permission, ResourceAction, ResourceRole, Term};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::{SystemId, UserId};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;

use super::RESOURCE;
use crate::role::ceiling;
use crate::{Platform, UseCaseError, system};

/// Changes the role; a member who has it already keeps it and nothing is recorded. Who becomes an owner stays: the
/// membership does not expire any more. Any other one keeps its end.
///
/// # Errors
/// SYSTEM_NOT_FOUND, FORBIDDEN, INVALID_ROLE{role}, MEMBER_NOT_FOUND, PRECONDITION_FAILED{current_version},
/// GRANT_CEILING_EXCEEDED{role, scope}, LAST_OWNER_CANNOT_BE_REMOVED{system_ids}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    system: SystemId,
    user: UserId,
    role: &str,
    version: Option<i64>,
) -> Result<(), UseCaseError> {
    system::visible(
        platform,
        caller,
        Permission::SystemRead,
        ResourceAction::Members,
        system,
    )
    .await?;
    let role = super::parse_role(role)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let member = super::lock_member(&mut *uow, system, user, now).await?;
    if version.is_some_and(|version| version != member.row_version) {
        return Err(Problem::new(ErrorCode::PreconditionFailed)
            .with("current_version", member.row_version)
            .into());
    }
    if [member.role, role].contains(&ResourceRole::Owner) {
        super::require_owner(caller, system)?;
    }
    if member.role == role {
        return Ok(());
    }
    if role > member.role {
        let term = match role {
            ResourceRole::Owner => Term::Open,
            ResourceRole::Viewer | ResourceRole::Member | ResourceRole::Admin => Term::from(member.expires_at),
        };
        ceiling::check_role_on(&caller.subject, system, role, term)?;
    }
    let actor = &caller.context.actor;
    if !uow.members().change_role(member.id, role, actor).await? {
        return Err(super::not_found(user).into());
    }
    if member.role == ResourceRole::Owner {
        super::require_remaining_owner(&mut *uow, system).await?;
    }
    let details = json!({"username": member.username, "role": role, "previous_role": member.role});
    let entry = AuditEntry::new(AuditAction::SystemMemberUpdate, RESOURCE, user)
        .named(member.username)
        .parent("system", system)
        .details(details);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
