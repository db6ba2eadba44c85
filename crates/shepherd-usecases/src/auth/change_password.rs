//! A user changes the own password.

use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::password;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use zeroize::Zeroizing;

use super::throttle;
use crate::{Platform, UseCaseError};

/// What the user types.
pub struct ChangePassword {
    /// The current password.
    pub old: Zeroizing<String>,
    /// The new one.
    pub new: Zeroizing<String>,
}

/// Changes the password, clears a forced change and revokes all other sessions.
///
/// # Errors
/// INVALID_CURRENT_PASSWORD, PASSWORD_POLICY_VIOLATION, NOT_LOCAL_USER; RATE_LIMIT_EXCEEDED{login} after too many wrong
/// passwords, here or at the login.
pub async fn execute(platform: &Platform, caller: &Caller, command: ChangePassword) -> Result<(), UseCaseError> {
    let user = platform
        .read
        .credentials_of(caller.subject.user())
        .await?
        .ok_or(UseCaseError::Broken("an authenticated user has no row"))?;
    let Some(hash) = user.password_hash else {
        return Err(Problem::new(ErrorCode::NotLocalUser).into());
    };
    require_current(platform, caller, &command.old, &hash).await?;
    let settings = platform.settings();
    password::check(&settings.password_policy, "new_password", &command.new, &user.username)?;
    if *command.old == *command.new {
        return Err(password::reused("new_password").into());
    }
    let new_hash = platform.passwords.hash(command.new).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    // Conditional on the verified hash: of two changes at once, the second has not proven the password it replaces.
    if !uow
        .identity()
        .change_password(user.id, &hash, &new_hash, caller.session, now)
        .await?
    {
        drop(uow);
        return Err(refuse(platform, caller).await?.into());
    }
    let entry = AuditEntry::new(AuditAction::UserPasswordChange, "user", user.id).named(&user.username);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}

/// Asks for the current password: the one place that knows of a wrong one. Whoever found an open session may guess no
/// faster than whoever stands before the login.
async fn require_current(
    platform: &Platform,
    caller: &Caller,
    old: &Zeroizing<String>,
    hash: &str,
) -> Result<(), UseCaseError> {
    let attempt = throttle::reserve(platform, &caller.username, caller.context.ip).await?;
    if platform.passwords.verify(old.clone(), Some(hash.to_owned())).await? {
        // It was right, whatever becomes of the new one.
        attempt.forgive_alone(platform).await
    } else {
        Err(refuse(platform, caller).await?.into())
    }
}

/// Records that somebody with a session does not know the password that goes with it.
async fn refuse(platform: &Platform, caller: &Caller) -> Result<Problem, UseCaseError> {
    let entry = AuditEntry::new(AuditAction::UserPasswordChange, "user", caller.subject.user())
        .named(&caller.username)
        .failed();
    let mut uow = platform.begin().await?;
    platform
        .audit(&mut *uow, &caller.context, platform.now(), [entry])
        .await?;
    uow.commit().await?;
    Ok(Problem::new(ErrorCode::InvalidCurrentPassword))
}
