//! An administrator creates a local user.

use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::UserId;
use shepherd_domain::password;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::identity::NewUser;
use zeroize::Zeroizing;

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
/// VALIDATION_FAILED, PASSWORD_POLICY_VIOLATION, USER_NAME_OR_EMAIL_EXISTS{field}.
pub async fn execute(platform: &Platform, caller: &Caller, command: CreateUser) -> Result<UserId, UseCaseError> {
    caller.require(Permission::UserManage)?;
    check_fields(&command)?;
    password::check("password", &command.password, &command.username)?;
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
    uow.identity().insert_user(&user).await.map_err(|error| {
        let taken = |field: &str| {
            Problem::new(ErrorCode::UserNameOrEmailExists)
                .with("field", field)
                .into()
        };
        if error.is_unique("uq_users_username") {
            taken("username")
        } else if error.is_unique("uq_users_email") {
            taken("email")
        } else {
            UseCaseError::from(error)
        }
    })?;
    let entry = AuditEntry::new(AuditAction::UserCreate, "user", user.id).named(&user.username);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(user.id)
}

fn check_fields(command: &CreateUser) -> Result<(), Problem> {
    let mut errors = Vec::new();
    let name = &command.username;
    if name.is_empty() {
        errors.push(FieldError::new("username", FieldCode::Required));
    } else if name.chars().count() > 255 {
        errors.push(FieldError::new("username", FieldCode::TooLong).with("max_length", 255));
    } else if name.trim() != name || name.chars().any(char::is_control) {
        errors.push(FieldError::new("username", FieldCode::InvalidFormat));
    }
    if let Some(email) = &command.email {
        let plausible = email.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && domain.contains('.') && !email.contains(char::is_whitespace)
        });
        if email.chars().count() > 255 {
            errors.push(FieldError::new("email", FieldCode::TooLong).with("max_length", 255));
        } else if !plausible {
            errors.push(FieldError::new("email", FieldCode::InvalidFormat));
        }
    }
    if command
        .display_name
        .as_ref()
        .is_some_and(|name| name.chars().count() > 255)
    {
        errors.push(FieldError::new("display_name", FieldCode::TooLong).with("max_length", 255));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(errors))
    }
}
