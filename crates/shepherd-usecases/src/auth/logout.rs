//! Logout.

use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_ports::context::Caller;

use crate::{Platform, UseCaseError};

/// Ends the session of the request; a second call finds it ended and is a success as well.
///
/// # Errors
/// When the store fails.
pub async fn execute(platform: &Platform, caller: &Caller) -> Result<(), UseCaseError> {
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if uow
        .identity()
        .revoke_session(caller.session, &caller.context.actor, "logout", now)
        .await?
    {
        let entry = AuditEntry::new(AuditAction::UserLogout, "user", caller.subject.user()).named(&caller.username);
        platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    }
    Ok(uow.commit().await?)
}
