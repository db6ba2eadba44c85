//! An administrator creates a local user.

use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::UserId;
use shepherd_domain::password;
use shepherd_domain::problem::Problem;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::identity::NewUser;
use zeroize::Zeroizing;

use super::account;
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError};

/// What is asked for.
pub struct CreateUser {
    /// At most 255 characters, unique without regard to case.
    pub username: String,
    /// First password.
    pub password: Zeroizing<String>,
    /// At most 255 characters, unique without regard to case.
    pub email: Option<String>,
    /// Shown to people.
    pub display_name: Option<String>,
    /// Whether the user may log in.
    pub enabled: bool,
    /// Whether the first thing to do is to change the password.
    pub force_password_change: bool,
}

/// Creates the user.
///
/// # Errors
/// FORBIDDEN, VALIDATION_FAILED, PASSWORD_POLICY_VIOLATION, USER_NAME_OR_EMAIL_EXISTS{field}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: CreateUser,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<UserId>, UseCaseError> {
    account::require_everywhere(caller, Permission::UserManage)?;
    check_fields(&command)?;
    let settings = platform.settings();
    password::check(
        &settings.password_policy,
        "password",
        &command.password,
        &command.username,
    )?;
    let user = NewUser {
        id: platform.ids.id(),
        username: command.username,
        email: command.email,
        display_name: command.display_name,
        password_hash: platform.passwords.hash(command.password).await?,
        force_password_change: command.force_password_change,
        enabled: command.enabled,
        created_by: caller.context.actor.clone(),
    };
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    uow.identity().insert_user(&user).await.map_err(account::taken)?;
    let entry = AuditEntry::new(AuditAction::UserCreate, "user", user.id).named(&user.username);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    idempotency::store(platform, &mut *uow, request, &user.id).await?;
    uow.commit().await?;
    Ok(Answer::fresh(user.id))
}

fn check_fields(command: &CreateUser) -> Result<(), Problem> {
    account::refuse_invalid([
        account::username_error(&command.username),
        command.email.as_deref().and_then(account::email_error),
        command.display_name.as_deref().and_then(account::display_name_error),
    ])
}
