//! From a bearer token to a caller: one statement per request.

use std::net::IpAddr;

use chrono::TimeDelta;
use shepherd_domain::ActorId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::RequestContext;
use shepherd_ports::authentication::TokenError;
use shepherd_ports::context::Caller;

use crate::{Platform, UseCaseError};

/// Requests younger than this do not move `last_seen_at`, so that reads stay reads.
const SEEN_RESOLUTION: TimeDelta = TimeDelta::seconds(60);

/// Marks of the request for audit rows.
#[derive(Clone, Debug, Default)]
pub struct RequestMarks {
    /// Request id.
    pub request_id: Option<String>,
    /// Address of the client.
    pub ip: Option<IpAddr>,
    /// User agent.
    pub user_agent: Option<String>,
}

impl RequestMarks {
    /// The context of somebody acting under these marks.
    pub fn context(&self, actor: ActorId, actor_name: Option<String>) -> RequestContext {
        RequestContext {
            actor,
            actor_name,
            request_id: self.request_id.clone(),
            ip: self.ip,
            user_agent: self.user_agent.clone(),
        }
    }
}

/// Authenticates a bearer token: signature, session row, user, and rights as of now.
///
/// # Errors
/// UNAUTHORIZED{reason: missing, invalid, expired, revoked}.
pub async fn execute(platform: &Platform, token: Option<&str>, marks: &RequestMarks) -> Result<Caller, UseCaseError> {
    let token = token.ok_or_else(|| unauthorized("missing"))?;
    let now = platform.now();
    let claims = platform.tokens.verify(token, now).map_err(|error| match error {
        TokenError::Invalid => unauthorized("invalid"),
        TokenError::Expired => unauthorized("expired"),
    })?;
    let state = platform
        .read
        .session_state(claims.session)
        .await?
        .ok_or_else(|| unauthorized("revoked"))?;
    if state.user_id != claims.user {
        return Err(unauthorized("invalid").into());
    }
    if state.revoked || !state.user_enabled {
        return Err(unauthorized("revoked").into());
    }
    let idle = TimeDelta::from_std(platform.settings().session.idle_timeout).unwrap_or(TimeDelta::MAX);
    if state.expires_at <= now || now - state.last_seen_at > idle {
        return Err(unauthorized("expired").into());
    }
    if now - state.last_seen_at > SEEN_RESOLUTION {
        platform.read.touch_session(claims.session, now).await?;
    }
    let subject = platform
        .subjects
        .resolve(&*platform.read, state.user_id, state.epoch, now)
        .await?;
    let name = state.display_name.unwrap_or_else(|| state.username.clone());
    Ok(Caller {
        subject,
        session: claims.session,
        username: state.username,
        force_password_change: state.force_password_change,
        context: marks.context(ActorId::user(state.user_id), Some(name)),
    })
}

fn unauthorized(reason: &str) -> Problem {
    Problem::new(ErrorCode::Unauthorized).with("reason", reason)
}
