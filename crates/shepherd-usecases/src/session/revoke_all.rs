//! All sessions of a user end before their time.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::{SessionId, UserId};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::sessions::{Ending, Liveness};

use super::liveness;
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// Ends the caller's own sessions, the present one only if wanted; answers how many.
///
/// # Errors
/// When the store fails.
pub async fn own(platform: &Platform, caller: &Caller, keep_current: bool) -> Result<u64, UseCaseError> {
    let live = liveness(platform, platform.now());
    let uow = platform.begin().await?;
    let except = keep_current.then_some(caller.session);
    end_all(
        platform,
        uow,
        caller,
        (caller.subject.user(), caller.username.as_str()),
        except,
        live,
    )
    .await
}

/// Ends all sessions of a user who holds no more than the caller; answers how many.
///
/// # Errors
/// FORBIDDEN, USER_NOT_FOUND, GRANT_CEILING_EXCEEDED.
pub async fn of_user(platform: &Platform, caller: &Caller, user: UserId) -> Result<u64, UseCaseError> {
    account::require_everywhere(caller, Permission::SessionManage)?;
    let live = liveness(platform, platform.now());
    let mut uow = platform.begin().await?;
    let (holder, _) = account::lock(&mut *uow, caller, user, live.now).await?;
    end_all(platform, uow, caller, (holder.id, holder.username.as_str()), None, live).await
}

async fn end_all(
    platform: &Platform,
    mut uow: Box<dyn UnitOfWork>,
    caller: &Caller,
    (holder, username): (UserId, &str),
    except: Option<SessionId>,
    live: Liveness,
) -> Result<u64, UseCaseError> {
    let ending = Ending {
        by: &caller.context.actor,
        reason: "REVOKED",
    };
    let ended = uow.sessions().end_all(holder, except, live, ending).await?;
    if ended > 0 {
        let entry = AuditEntry::new(AuditAction::AuthRevokeAll, "user", holder)
            .named(username)
            .details(json!({"revoked_count": ended}));
        platform.audit(&mut *uow, &caller.context, live.now, [entry]).await?;
    }
    uow.commit().await?;
    Ok(ended)
}
