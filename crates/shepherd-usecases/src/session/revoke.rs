//! One session ends before its time.

use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::{SessionId, UserId};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::sessions::{Ending, Liveness};

use super::liveness;
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// Ends one of the caller's own sessions.
///
/// # Errors
/// SESSION_NOT_FOUND, for the sessions of others as well.
pub async fn own(platform: &Platform, caller: &Caller, id: SessionId) -> Result<(), UseCaseError> {
    let live = liveness(platform, platform.now());
    let uow = platform.begin().await?;
    let holder = (caller.subject.user(), caller.username.as_str());
    end(platform, uow, caller, id, holder, live).await
}

/// Ends a session of anybody who holds no more than the caller.
///
/// # Errors
/// FORBIDDEN, SESSION_NOT_FOUND, GRANT_CEILING_EXCEEDED.
pub async fn of_anybody(platform: &Platform, caller: &Caller, id: SessionId) -> Result<(), UseCaseError> {
    account::require_everywhere(caller, Permission::SessionManage)?;
    let live = liveness(platform, platform.now());
    let session = platform
        .read
        .get_session(id, live)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::SessionNotFound, id))?;
    let mut uow = platform.begin().await?;
    // The session goes with its user, who may be gone by now.
    let Some(holder) = uow.users().lock(session.user_id).await? else {
        return Err(Problem::not_found(ErrorCode::SessionNotFound, id).into());
    };
    account::require_ceiling(&mut *uow, caller, holder.id, live.now).await?;
    end(platform, uow, caller, id, (holder.id, holder.username.as_str()), live).await
}

async fn end(
    platform: &Platform,
    mut uow: Box<dyn UnitOfWork>,
    caller: &Caller,
    id: SessionId,
    (holder, username): (UserId, &str),
    live: Liveness,
) -> Result<(), UseCaseError> {
    let ending = Ending {
        by: &caller.context.actor,
        reason: "REVOKED",
    };
    if !uow.sessions().end(id, holder, live, ending).await? {
        return Err(Problem::not_found(ErrorCode::SessionNotFound, id).into());
    }
    let entry = AuditEntry::new(AuditAction::AuthTokenRevoke, "session", id)
        .named(username)
        .parent("user", holder);
    platform.audit(&mut *uow, &caller.context, live.now, [entry]).await?;
    Ok(uow.commit().await?)
}
