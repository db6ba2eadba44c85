//! Local login.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::ActorId;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::SessionId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::UnitOfWork;
use shepherd_ports::authentication::TokenClaims;
use shepherd_ports::identity::{Credentials, NewSession};
use shepherd_ports::metrics::{self, LoginResult};
use zeroize::Zeroizing;

use super::authenticate::RequestMarks;
use super::throttle::{self, Attempt};
use crate::{Platform, UseCaseError};

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
    pub token: Zeroizing<String>,
    /// When it ends, whatever happens.
    pub expires_at: DateTime<Utc>,
    /// Whether nothing but a password change is possible.
    pub force_password_change: bool,
}

/// Logs a local user in.
///
/// # Errors
/// INVALID_CREDENTIALS for unknown, disabled and non-local users and for wrong passwords alike, after the same work
/// and the same statements; RATE_LIMIT_EXCEEDED{login} after too many failures.
pub async fn execute(platform: &Platform, login: Login, marks: &RequestMarks) -> Result<LoggedIn, UseCaseError> {
    let outcome = log_in(platform, login, marks).await;
    metrics::login(result(&outcome));
    outcome
}

/// The outcome as it is counted.
fn result(outcome: &Result<LoggedIn, UseCaseError>) -> LoginResult {
    match outcome {
        Ok(_) => LoginResult::Succeeded,
        Err(UseCaseError::Problem(problem)) if problem.code == ErrorCode::RateLimitExceeded => LoginResult::Limited,
        Err(UseCaseError::Problem(_)) => LoginResult::Failed,
        Err(_) => LoginResult::Error,
    }
}

async fn log_in(platform: &Platform, login: Login, marks: &RequestMarks) -> Result<LoggedIn, UseCaseError> {
    let attempt = throttle::reserve(platform, &login.username, marks.ip).await?;
    let found = platform.read.credentials(&login.username).await?;
    let hash = found
        .as_ref()
        .filter(|user| user.enabled)
        .and_then(|user| user.password_hash.clone());
    // No transaction is open while this takes its time.
    let verified = platform.passwords.verify(login.password.clone(), hash.clone()).await?;
    if let (true, Some(user), Some(hash)) = (verified, &found, hash)
        && let Some(session) = succeed(platform, user, &hash, login.password, &attempt, marks).await?
    {
        return Ok(session);
    }
    fail(platform, found, attempt, marks).await?;
    Err(Problem::new(ErrorCode::InvalidCredentials).into())
}

/// Opens a session; nothing when the account was disabled, or its password changed, since they were looked at.
async fn succeed(
    platform: &Platform,
    user: &Credentials,
    verified_hash: &str,
    password: Zeroizing<String>,
    attempt: &Attempt,
    marks: &RequestMarks,
) -> Result<Option<LoggedIn>, UseCaseError> {
    let new_hash = if platform.passwords.needs_rehash(verified_hash) {
        Some(platform.passwords.hash(password).await?)
    } else {
        None
    };
    let now = platform.now();
    let session = NewSession {
        id: platform.ids.id(),
        user_id: user.id,
        issued_at: now,
        expires_at: now + TimeDelta::from_std(platform.settings().session.lifetime).unwrap_or(TimeDelta::days(1)),
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
    // A password change ends all sessions; one that is opened with the old password meanwhile must not survive it.
    if !uow.identity().has_password(user.id, verified_hash).await? {
        return Ok(None);
    }
    let max = platform.settings().session.max_per_user;
    let Some(ended) = uow.identity().open_session(&session, max).await? else {
        return Ok(None);
    };
    if let Some(new_hash) = new_hash {
        uow.identity().rehash(user.id, verified_hash, &new_hash).await?;
    }
    attempt.forgive(&mut *uow).await?;
    let entry = AuditEntry::new(AuditAction::UserLogin, "user", user.id).named(&user.username);
    platform.audit(&mut *uow, &context, now, [entry]).await?;
    record_ended(platform, &mut *uow, user, &ended, marks, now).await?;
    uow.commit().await?;
    Ok(Some(LoggedIn {
        token: Zeroizing::new(token),
        expires_at: session.expires_at,
        force_password_change: user.force_password_change,
    }))
}

/// Records the sessions that gave way to the new one; the platform ended them, and whoever logged in caused it.
async fn record_ended(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    user: &Credentials,
    ended: &[SessionId],
    marks: &RequestMarks,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let entries: Vec<AuditEntry> = ended
        .iter()
        .map(|session| {
            AuditEntry::new(AuditAction::AuthTokenRevoke, "session", *session)
                .named(&user.username)
                .parent("user", user.id)
                .details(json!({"reason": "SESSION_LIMIT"}))
        })
        .collect();
    let context = marks.context(ActorId::system("sessions"), None);
    Ok(platform.audit(uow, &context, now, entries).await?)
}

/// Notes the failure; that it counts was noted before.
async fn fail(
    platform: &Platform,
    found: Option<Credentials>,
    attempt: Attempt,
    marks: &RequestMarks,
) -> Result<(), UseCaseError> {
    // An unknown name may be a password typed into the wrong field, so only its keyed hash is kept.
    let (resource, name) = match found {
        Some(user) => (user.id.to_string(), Some(user.username)),
        None => (attempt.username_hash, None),
    };
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let mut entry = AuditEntry::new(AuditAction::UserLoginFailed, "user", resource).failed();
    entry.resource_name = name;
    platform
        .audit(&mut *uow, &marks.context(ActorId::system("login"), None), now, [entry])
        .await?;
    Ok(uow.commit().await?)
}
