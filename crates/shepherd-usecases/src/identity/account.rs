//! What everything that looks at or acts on an account has in common.
//!
//! Whoever acts on an account must hold at least everything its holder holds. This is asked twice: before the work
//! that is worth avoiding (hashing a password), and under the lock of the account, because the holder may have been
//! given more in the meantime.

use chrono::{DateTime, Utc};
use shepherd_domain::access::{Permission, Subject};
use shepherd_domain::ids::UserId;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::identity::UserRecord;
use shepherd_ports::users::AccountRecord;
use shepherd_ports::{RepositoryError, UnitOfWork};

use crate::auth::subjects;
use crate::role::ceiling;
use crate::{Platform, UseCaseError};

/// Most characters of a user name, an e-mail address and a display name.
const MAX_LENGTH: usize = 255;

/// A user belongs to no System, so a permission that is limited to one permits nothing here.
///
/// # Errors
/// FORBIDDEN{required_permission}.
pub fn require_everywhere(caller: &Caller, permission: Permission) -> Result<(), Problem> {
    if caller.subject.holds(permission, None, None) {
        Ok(())
    } else {
        Err(Problem::new(ErrorCode::Forbidden).with("required_permission", permission.as_str()))
    }
}

/// The same for reading users, which those who give roles may do as well.
///
/// # Errors
/// FORBIDDEN{required_permission}.
pub fn require_reader(caller: &Caller) -> Result<(), Problem> {
    if caller.subject.holds(Permission::RbacRead, None, None) {
        return Ok(());
    }
    require_everywhere(caller, Permission::UserManage)
}

/// One user, for those who may read users.
///
/// # Errors
/// FORBIDDEN, USER_NOT_FOUND.
pub async fn visible(platform: &Platform, caller: &Caller, id: UserId) -> Result<UserRecord, UseCaseError> {
    require_reader(caller)?;
    let user = platform.read.get_user(id).await?;
    Ok(user.ok_or_else(|| not_found(id))?)
}

pub(crate) async fn find(platform: &Platform, id: UserId) -> Result<AccountRecord, UseCaseError> {
    let account = platform.read.get_account(id).await?;
    Ok(account.ok_or_else(|| not_found(id))?)
}

/// The account, if the caller may act on it as far as is known now.
pub(crate) async fn within_reach(
    platform: &Platform,
    caller: &Caller,
    id: UserId,
    now: DateTime<Utc>,
) -> Result<AccountRecord, UseCaseError> {
    let account = find(platform, id).await?;
    ceiling::check_account(caller, &subjects::load(platform, id, now).await?)?;
    Ok(account)
}

/// Locks the account, if the caller may act on it; answers what its holder holds as well.
pub(crate) async fn lock(
    uow: &mut dyn UnitOfWork,
    caller: &Caller,
    id: UserId,
    now: DateTime<Utc>,
) -> Result<(AccountRecord, Subject), UseCaseError> {
    let account = uow.users().lock(id).await?.ok_or_else(|| not_found(id))?;
    let holder = require_ceiling(uow, caller, id, now).await?;
    Ok((account, holder))
}

/// Asks whether the caller may act on a locked account; answers what its holder holds.
pub(crate) async fn require_ceiling(
    uow: &mut dyn UnitOfWork,
    caller: &Caller,
    holder: UserId,
    now: DateTime<Utc>,
) -> Result<Subject, UseCaseError> {
    let subject = subjects::subject_of(holder, uow.users().holdings(holder, now).await?);
    ceiling::check_account(caller, &subject)?;
    Ok(subject)
}

/// After the holder of an account lost it: somebody must be left to administer the platform.
pub(crate) async fn require_administrator(uow: &mut dyn UnitOfWork, holder: &Subject) -> Result<(), UseCaseError> {
    // An installation without administrator must not be stuck with all its other users, too.
    if holder.holds_anywhere(Permission::PlatformAdmin) && !uow.roles().administrator_remains().await? {
        return Err(Problem::new(ErrorCode::LastPlatformAdmin).into());
    }
    Ok(())
}

pub(crate) fn not_found(id: UserId) -> Problem {
    Problem::not_found(ErrorCode::UserNotFound, id)
}

/// The field whose value somebody else has already.
pub(crate) fn taken(error: RepositoryError) -> UseCaseError {
    let field = if error.is_unique("uq_users_username") {
        "username"
    } else if error.is_unique("uq_users_email") {
        "email"
    } else {
        return error.into();
    };
    Problem::new(ErrorCode::UserNameOrEmailExists)
        .with("field", field)
        .into()
}

/// What is wrong with a user name.
pub(crate) fn username_error(name: &str) -> Option<FieldError> {
    if name.is_empty() {
        return Some(FieldError::new("username", FieldCode::Required));
    }
    let malformed = name.trim() != name || name.chars().any(char::is_control);
    too_long("username", name).or_else(|| malformed.then(|| FieldError::new("username", FieldCode::InvalidFormat)))
}

/// What is wrong with an e-mail address. Whether it exists, only a message to it could tell.
pub(crate) fn email_error(email: &str) -> Option<FieldError> {
    let plausible = email.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && domain.contains('.') && !email.contains(|c: char| c.is_whitespace() || c.is_control())
    });
    too_long("email", email).or_else(|| (!plausible).then(|| FieldError::new("email", FieldCode::InvalidFormat)))
}

/// What is wrong with a display name.
pub(crate) fn display_name_error(name: &str) -> Option<FieldError> {
    too_long("display_name", name)
}

fn too_long(field: &str, text: &str) -> Option<FieldError> {
    (text.chars().count() > MAX_LENGTH)
        .then(|| FieldError::new(field, FieldCode::TooLong).with("max_length", MAX_LENGTH))
}

/// All of these at once, if any.
///
/// # Errors
/// VALIDATION_FAILED.
pub(crate) fn refuse_invalid(errors: impl IntoIterator<Item = Option<FieldError>>) -> Result<(), Problem> {
    let errors: Vec<FieldError> = errors.into_iter().flatten().collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(errors))
    }
}
