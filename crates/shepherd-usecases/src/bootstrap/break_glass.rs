//! Somebody on the server's host makes a user a platform administrator for a day.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::access::BuiltInRole;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::RequestContext;

use crate::{Platform, UseCaseError};

/// How long it lasts.
const LIFETIME: TimeDelta = TimeDelta::hours(24);

/// Binds the Bootstrap role to the user; a second call begins the day anew. Recorded as SECURITY, and the administrators
/// are told.
///
/// # Errors
/// USER_NOT_FOUND, also for a disabled user; the roles must have been seeded.
pub async fn execute(platform: &Platform, username: &str) -> Result<DateTime<Utc>, UseCaseError> {
    let now = platform.now();
    let until = now + LIFETIME;
    let context = RequestContext::system(super::ACTOR);
    let no_user = || Problem::not_found(ErrorCode::UserNotFound, username);
    let mut uow = platform.begin().await?;
    let user = uow.identity().find_user(username).await?.ok_or_else(no_user)?;
    let account = uow.users().lock(user).await?.filter(|account| account.enabled);
    let account = account.ok_or_else(no_user)?;
    let role = uow.roles().hold_role(BuiltInRole::Bootstrap.key()).await?;
    let role = role.ok_or(UseCaseError::Broken("the Bootstrap role was not seeded"))?;
    let id = platform.ids.id();
    uow.roles().grant_bootstrap(id, user, until, &context.actor).await?;
    let entry = AuditEntry::new(AuditAction::BootstrapBreakGlass, "role", BuiltInRole::Bootstrap.key())
        .named(role.name)
        .parent("user", user)
        .details(json!({"username": account.username, "expires_at": until}));
    platform.audit(&mut *uow, &context, now, [entry]).await?;
    let message = format!(
        "{} is a platform administrator until {}, given on the server's host.",
        account.username,
        until.format("%Y-%m-%d %H:%M UTC")
    );
    let draft = NotificationDraft::new(
        NotificationType::SystemAlert,
        Severity::Urgent,
        "Emergency access was given",
        &message,
    )
    .params(json!({"code": "BREAK_GLASS", "username": account.username, "expires_at": until}));
    platform
        .notifications
        .send(uow.notifications(), Audience::PlatformAdmins, draft, now)
        .await?;
    uow.commit().await?;
    Ok(until)
}
