//! An administrator changes an account: texts, availability, password.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::access::{Permission, Subject};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::UserId;
use shepherd_domain::password;
use shepherd_domain::problem::{ErrorCode, Problem, Warning, WarningCode};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::sessions::Ending;
use shepherd_ports::users::{AccountChange, AccountRecord};
use zeroize::Zeroizing;

use super::account;
use crate::role::ceiling;
use crate::{Platform, UseCaseError, bootstrap, session};

/// What is asked for; `None` leaves a value, an inner `None` clears it.
#[derive(Default)]
pub struct UpdateUser {
    /// At most 255 characters, unique without regard to case.
    pub email: Option<Option<String>>,
    /// At most 255 characters.
    pub display_name: Option<Option<String>>,
    /// Whether the user may log in.
    pub enabled: Option<bool>,
    /// A new password of a local user.
    pub password: Option<Zeroizing<String>>,
    /// Whether the next thing to do is to change the password; `true` with a new password, unless it says otherwise.
    pub force_password_change: Option<bool>,
}

/// Changes the account and answers what the change leaves behind. Disabling it and a new password end all its
/// sessions.
///
/// # Errors
/// FORBIDDEN, USER_NOT_FOUND, GRANT_CEILING_EXCEEDED, VALIDATION_FAILED, NOT_LOCAL_USER, PASSWORD_POLICY_VIOLATION,
/// PRECONDITION_FAILED{current_version}, USER_NAME_OR_EMAIL_EXISTS{field}, LAST_PLATFORM_ADMIN.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: UserId,
    command: UpdateUser,
    version: Option<i64>,
) -> Result<Vec<Warning>, UseCaseError> {
    account::require_everywhere(caller, Permission::UserManage)?;
    let seen = account::within_reach(platform, caller, id, platform.now()).await?;
    if command.password.is_some() && id == caller.subject.user() {
        // The own password is changed by who knows it, and not by who found an open session.
        return Err(Problem::new(ErrorCode::Forbidden).with("field", "password").into());
    }
    check_fields(&command)?;
    require_local(&seen, &command)?;
    let password_hash = match command.password {
        Some(password) => Some(new_hash(platform, &seen, password).await?),
        None => None,
    };
    let change = AccountChange {
        email: command.email,
        display_name: command.display_name,
        enabled: command.enabled,
        force_password_change: command
            .force_password_change
            .or_else(|| password_hash.is_some().then_some(true)),
        password_hash,
    };
    write(platform, caller, &seen, &change, version).await
}

fn check_fields(command: &UpdateUser) -> Result<(), Problem> {
    let email = command.email.as_ref().and_then(|email| email.as_deref());
    let display_name = command.display_name.as_ref().and_then(|name| name.as_deref());
    account::refuse_invalid([
        email.and_then(account::email_error),
        display_name.and_then(account::display_name_error),
    ])
}

/// The password of a user of a provider is the provider's; nor could such a user ever carry out a forced change.
fn require_local(account: &AccountRecord, command: &UpdateUser) -> Result<(), Problem> {
    match &account.auth_provider {
        Some(provider) if command.password.is_some() || command.force_password_change == Some(true) => {
            Err(Problem::new(ErrorCode::NotLocalUser).with("auth_provider", provider.as_str()))
        }
        Some(_) | None => Ok(()),
    }
}

async fn new_hash(
    platform: &Platform,
    account: &AccountRecord,
    password: Zeroizing<String>,
) -> Result<String, UseCaseError> {
    let settings = platform.settings();
    password::check(&settings.password_policy, "password", &password, &account.username)?;
    // Not compared with the present one: the answer would tell whether a guess at somebody's password is right.
    Ok(platform.passwords.hash(password).await?)
}

async fn write(
    platform: &Platform,
    caller: &Caller,
    seen: &AccountRecord,
    change: &AccountChange,
    version: Option<i64>,
) -> Result<Vec<Warning>, UseCaseError> {
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if change.enabled == Some(false) {
        uow.roles().lock_administrators().await?;
    }
    let (account, holder) = account::lock(&mut *uow, caller, seen.id, now).await?;
    if change.password_hash.is_some() {
        ceiling::check_password_of(caller, &holder)?;
    }
    require_unchanged(seen, &account, change, version)?;
    let fields = changed_fields(&account, change);
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let disables = account.enabled && change.enabled == Some(false);
    let warnings = if disables {
        without_owner(&mut *uow, account.id).await?
    } else {
        Vec::new()
    };
    let updated = uow.users().update(account.id, account.row_version, change, now).await;
    if !updated.map_err(account::taken)? {
        return Err(UseCaseError::Broken("a locked user was changed by somebody else"));
    }
    if disables {
        account::require_administrator(&mut *uow, &holder).await?;
        end_sessions(platform, &mut *uow, caller, account.id, now, "USER_DISABLED").await?;
    }
    let mut details = json!({"fields": fields});
    if account.enabled != change.enabled.unwrap_or(account.enabled) {
        details["enabled"] = json!(change.enabled);
    }
    let entry = AuditEntry::new(AuditAction::UserUpdate, "user", account.id)
        .named(&account.username)
        .details(details);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    if change.password_hash.is_some() {
        follow_new_password(platform, &mut *uow, caller, &account, now).await?;
    }
    uow.commit().await?;
    Ok(warnings)
}

/// What was seen must still be there: the version the caller wants, and the password that is to be replaced.
fn require_unchanged(
    seen: &AccountRecord,
    account: &AccountRecord,
    change: &AccountChange,
    version: Option<i64>,
) -> Result<(), Problem> {
    let other_version = version.is_some_and(|version| version != account.row_version);
    let other_password = change.password_hash.is_some() && seen.password_hash != account.password_hash;
    if other_version || other_password {
        return Err(Problem::new(ErrorCode::PreconditionFailed).with("current_version", account.row_version));
    }
    Ok(())
}

fn changed_fields(account: &AccountRecord, change: &AccountChange) -> Vec<&'static str> {
    let differs = [
        ("email", change.email.as_ref().is_some_and(|new| *new != account.email)),
        (
            "display_name",
            change
                .display_name
                .as_ref()
                .is_some_and(|new| *new != account.display_name),
        ),
        ("enabled", change.enabled.is_some_and(|new| new != account.enabled)),
        ("password", change.password_hash.is_some()),
        (
            "force_password_change",
            change
                .force_password_change
                .is_some_and(|new| new != account.force_password_change),
        ),
    ];
    differs
        .into_iter()
        .filter_map(|(field, differs)| differs.then_some(field))
        .collect()
}

/// SYSTEM_WITHOUT_ENABLED_OWNER, if this user is the only one who holds that off.
async fn without_owner(uow: &mut dyn UnitOfWork, user: UserId) -> Result<Vec<Warning>, UseCaseError> {
    let orphaned = uow.members().without_enabled_owner(user).await?;
    if orphaned.is_empty() {
        return Ok(Vec::new());
    }
    let (ids, names): (Vec<String>, Vec<String>) = orphaned
        .into_iter()
        .map(|(system, name)| (system.to_string(), name))
        .unzip();
    Ok(vec![
        Warning::new(WarningCode::SystemWithoutEnabledOwner)
            .with("system_ids", ids)
            .with("names", names),
    ])
}

/// The sessions that the old password opened end, and with them what only an emergency had given.
async fn follow_new_password(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    caller: &Caller,
    account: &AccountRecord,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    end_sessions(platform, uow, caller, account.id, now, "PASSWORD_CHANGED").await?;
    let entry = AuditEntry::new(AuditAction::UserPasswordChange, "user", account.id).named(&account.username);
    platform.audit(uow, &caller.context, now, [entry]).await?;
    if administers_another(&caller.subject, account.id) {
        bootstrap::end_for(platform, uow, account.id, &caller.context, now).await?;
    }
    Ok(())
}

fn administers_another(caller: &Subject, user: UserId) -> bool {
    caller.is_platform_admin() && caller.user() != user
}

async fn end_sessions(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    caller: &Caller,
    user: UserId,
    now: DateTime<Utc>,
    reason: &'static str,
) -> Result<(), UseCaseError> {
    let live = session::liveness(platform, now);
    let by = &caller.context.actor;
    uow.sessions().end_all(user, None, live, Ending { by, reason }).await?;
    Ok(())
}
