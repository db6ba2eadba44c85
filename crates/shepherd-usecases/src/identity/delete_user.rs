//! An administrator deletes a user; sessions, role bindings and memberships go with the row.

use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::UserId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;

use super::account;
use crate::{Platform, UseCaseError};

/// Deletes the user. What the user did stays on record: actor columns are texts.
///
/// # Errors
/// FORBIDDEN, USER_NOT_FOUND, GRANT_CEILING_EXCEEDED, CANNOT_DELETE_SELF, LAST_OWNER_CANNOT_BE_REMOVED{system_ids},
/// LAST_PLATFORM_ADMIN.
pub async fn execute(platform: &Platform, caller: &Caller, id: UserId) -> Result<(), UseCaseError> {
    account::require_everywhere(caller, Permission::UserManage)?;
    let now = platform.now();
    account::within_reach(platform, caller, id, now).await?;
    if id == caller.subject.user() {
        return Err(Problem::new(ErrorCode::CannotDeleteSelf).into());
    }
    let mut uow = platform.begin().await?;
    // In this order: no administrator and no membership of the user can come or go from here on, and of the Systems
    // nobody else can leave as an owner.
    uow.roles().lock_administrators().await?;
    let (account, holder) = account::lock(&mut *uow, caller, id, now).await?;
    let owned = uow.members().lock_sole_owned(id).await?;
    if !owned.is_empty() {
        let system_ids: Vec<String> = owned.iter().map(ToString::to_string).collect();
        return Err(Problem::new(ErrorCode::LastOwnerCannotBeRemoved)
            .with("system_ids", system_ids)
            .into());
    }
    uow.users().delete(id).await?;
    account::require_administrator(&mut *uow, &holder).await?;
    let entry = AuditEntry::new(AuditAction::UserDelete, "user", id).named(account.username);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
