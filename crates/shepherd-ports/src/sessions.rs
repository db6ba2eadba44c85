//! Sessions: listing and ending them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::ids::{SessionId, UserId};
use shepherd_domain::page::{Page, PageRequest};

use crate::error::RepositoryError;

/// A live session.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct SessionRecord {
    pub id: SessionId,
    pub user_id: UserId,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    /// Empty when unknown.
    pub ip: String,
    /// Empty when unknown.
    pub user_agent: String,
}

/// When a session that was not revoked is live: it ends after `now`, and was used at or after `seen_since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// The present.
    pub now: DateTime<Utc>,
    /// The present less the idle timeout.
    pub seen_since: DateTime<Utc>,
}

/// Who ends sessions, and why.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// Who does it.
    pub by: &'a ActorId,
    /// Machine-readable reason, upper snake case.
    pub reason: &'static str,
}

/// Ends sessions.
#[async_trait]
pub trait SessionRepository: Send {
    /// Ends a live session of a user; `false` when the user has no such live session.
    async fn end(
        &mut self,
        id: SessionId,
        of: UserId,
        live: Liveness,
        ending: Ending<'_>,
    ) -> Result<bool, RepositoryError>;
    /// Ends all sessions of a user, but one if wanted; answers how many of them were live.
    async fn end_all(
        &mut self,
        of: UserId,
        except: Option<SessionId>,
        live: Liveness,
        ending: Ending<'_>,
    ) -> Result<u64, RepositoryError>;
}

/// Reads sessions.
#[async_trait]
pub trait SessionQueries: Send + Sync {
    /// A live session, whoever asks.
    async fn get_session(&self, id: SessionId, live: Liveness) -> Result<Option<SessionRecord>, RepositoryError>;
    /// The live sessions of a user, newest first, at most 1000.
    async fn live_sessions(&self, of: UserId, live: Liveness) -> Result<Vec<SessionRecord>, RepositoryError>;
    /// The live sessions of a user, newest first.
    async fn list_sessions(
        &self,
        of: UserId,
        live: Liveness,
        page: PageRequest,
    ) -> Result<Page<SessionRecord>, RepositoryError>;
}
