//! Who is logged in where.

use shepherd_domain::access::Permission;
use shepherd_domain::ids::UserId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::context::Caller;
use shepherd_ports::sessions::SessionRecord;

use super::liveness;
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// The caller's live sessions, newest first.
///
/// # Errors
/// When the store fails.
pub async fn own(platform: &Platform, caller: &Caller) -> Result<Vec<SessionRecord>, UseCaseError> {
    let live = liveness(platform, platform.now());
    Ok(platform.read.live_sessions(caller.subject.user(), live).await?)
}

/// The live sessions of anybody, newest first.
///
/// # Errors
/// FORBIDDEN, USER_NOT_FOUND, GRANT_CEILING_EXCEEDED: where somebody is logged in is not for people below them.
pub async fn of_user(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    page: PageRequest,
) -> Result<Page<SessionRecord>, UseCaseError> {
    account::require_everywhere(caller, Permission::SessionManage)?;
    account::within_reach(platform, caller, user, platform.now()).await?;
    let live = liveness(platform, platform.now());
    Ok(platform.read.list_sessions(user, live, page).await?)
}
