//! Local login.

use chrono::{DateTime, TimeDelta, Utc};
use shepherd_domain::ActorId;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::authentication::TokenClaims;
use shepherd_ports::identity::{Credentials, LoginSubject, NewSession};
use zeroize::Zeroizing;

use super::authenticate::RequestMarks;
use crate::{Platform, UseCaseError};

/// First wait after too many failures; it doubles with every further one.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(30);
/// Longest wait.
const LONGEST_WAIT: TimeDelta = TimeDelta::seconds(900);

/// What a user types.
pub struct Login {
    /// Case does not matter.
    pub username: String,
    /// Never trimmed.
    pub password: Zeroizing<String>,
}

/// What a login gives.
#[derive(Debug)]
pub struct LoggedIn {
    /// Bearer token.
    pub token: String,
    /// When it ends, whatever happens.
    pub expires_at: DateTime<Utc>,
    /// Whether nothing but a password change is possible.
    pub force_password_change: bool,
}

/// Logs a local user in.
///
/// # Errors
/// INVALID_CREDENTIALS for unknown, disabled and non-local users and for wrong passwords alike, after the same work;
/// RATE_LIMIT_EXCEEDED{login} after too many failures.
pub async fn execute(platform: &Platform, login: Login, marks: &RequestMarks) -> Result<LoggedIn, UseCaseError> {
    let now = platform.now();
    let username_hash = platform.digests.keyed_hex(&login.username.to_lowercase());
    let ip = marks.ip.map(|ip| ip.to_string());
    check_limits(platform, &username_hash, ip.as_deref(), now).await?;

    let found = platform.read.credentials(&login.username).await?;
    let hash = found
        .as_ref()
        .filter(|user| user.enabled)
        .and_then(|user| user.password_hash.clone());
    let verified = platform.passwords.verify(login.password.clone(), hash.clone()).await?;
    match (found, hash) {
        (Some(user), Some(hash)) if verified => {
            succeed(platform, user, &hash, login.password, &username_hash, marks, now).await
        }
        (found, _) => {
            fail(platform, found, &username_hash, ip.as_deref(), marks, now).await?;
            Err(invalid_credentials())
        }
    }
}

fn invalid_credentials() -> UseCaseError {
    Problem::new(ErrorCode::InvalidCredentials).into()
}

async fn check_limits(
    platform: &Platform,
    username_hash: &str,
    ip: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let settings = &platform.settings.login;
    let since = now - TimeDelta::from_std(settings.window).unwrap_or(TimeDelta::MAX);
    let mut subjects = vec![(LoginSubject::Username(username_hash), settings.max_failures_user)];
    subjects.extend(ip.map(|ip| (LoginSubject::Ip(ip), settings.max_failures_ip)));
    for (subject, max) in subjects {
        let (failures, newest) = platform.read.login_failures(subject, since).await?;
        if let Some(newest) = newest.filter(|_| failures >= i64::from(max)) {
            let until = newest + wait_after(failures - i64::from(max));
            if now < until {
                return Err(Problem::new(ErrorCode::RateLimitExceeded)
                    .with("limit_type", "login")
                    .with("current_value", failures)
                    .with("max_value", max)
                    .with("retry_after", (until - now).num_seconds() + 1)
                    .with("contact_admin", false)
                    .into());
            }
        }
    }
    Ok(())
}

fn wait_after(beyond: i64) -> TimeDelta {
    let doublings = u32::try_from(beyond.clamp(0, 16)).unwrap_or(16);
    FIRST_WAIT
        .checked_mul(1 << doublings)
        .map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT))
}

async fn succeed(
    platform: &Platform,
    user: Credentials,
    verified_hash: &str,
    password: Zeroizing<String>,
    username_hash: &str,
    marks: &RequestMarks,
    now: DateTime<Utc>,
) -> Result<LoggedIn, UseCaseError> {
    let new_hash = if platform.passwords.needs_rehash(verified_hash) {
        Some(platform.passwords.hash(password).await?)
    } else {
        None
    };
    let session = NewSession {
        id: platform.ids.id(),
        user_id: user.id,
        issued_at: now,
        expires_at: now + TimeDelta::from_std(platform.settings.session.lifetime).unwrap_or(TimeDelta::days(1)),
        ip: marks.ip,
        user_agent: marks.user_agent.clone(),
    };
    let claims = TokenClaims {
        user: user.id,
        session: session.id,
        issued_at: now,
        expires_at: session.expires_at,
    };
    let token = platform.tokens.issue(claims)?;

    let context = marks.context(
        ActorId::user(user.id),
        Some(user.display_name.clone().unwrap_or_else(|| user.username.clone())),
    );
    let mut uow = platform.begin().await?;
    if !uow
        .identity()
        .open_session(&session, platform.settings.session.max_per_user)
        .await?
    {
        return Err(invalid_credentials());
    }
    if let Some(new_hash) = new_hash {
        uow.identity().rehash(user.id, verified_hash, &new_hash).await?;
    }
    uow.identity()
        .record_login(LoginSubject::Username(username_hash), true, now)
        .await?;
    let entry = AuditEntry::new(AuditAction::UserLogin, "user", user.id).named(&user.username);
    platform.audit(&mut *uow, &context, now, [entry]).await?;
    uow.commit().await?;
    Ok(LoggedIn {
        token,
        expires_at: session.expires_at,
        force_password_change: user.force_password_change,
    })
}

async fn fail(
    platform: &Platform,
    found: Option<Credentials>,
    username_hash: &str,
    ip: Option<&str>,
    marks: &RequestMarks,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    // An unknown name may be a password typed into the wrong field, so only its keyed hash is kept.
    let (resource, name) = match &found {
        Some(user) => (user.id.to_string(), Some(user.username.clone())),
        None => (username_hash.to_owned(), None),
    };
    let mut uow = platform.begin().await?;
    uow.identity()
        .record_login(LoginSubject::Username(username_hash), false, now)
        .await?;
    if let Some(ip) = ip {
        uow.identity().record_login(LoginSubject::Ip(ip), false, now).await?;
    }
    let mut entry = AuditEntry::new(AuditAction::UserLoginFailed, "user", resource).failed();
    entry.resource_name = name;
    platform
        .audit(&mut *uow, &marks.context(ActorId::system("login"), None), now, [entry])
        .await?;
    Ok(uow.commit().await?)
}
