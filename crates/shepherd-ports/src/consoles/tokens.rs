//! Tokens that open a console once, and the consoles that are open (console.md §3, §4).

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ids::{ConsoleGrantId, ConsoleSessionId, ConsoleTokenId, SessionId, UserId, VmId};
use shepherd_domain::{ActorId, Environment};

use super::GrantRecord;
use crate::error::RepositoryError;

/// A token, without anything by which it could be used: what a browser carries is never stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.16")]
pub struct TokenRecord {
    pub token_id: ConsoleTokenId,
    pub grant_id: ConsoleGrantId,
    pub session_id: SessionId,
    pub user_id: UserId,
    pub vm_id: VmId,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A token to be issued.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.16")]
pub struct NewToken {
    pub token_id: ConsoleTokenId,
    pub grant_id: ConsoleGrantId,
    pub session_id: SessionId,
    pub user_id: UserId,
    pub vm_id: VmId,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// How many tokens a grant gave in a stretch of time, and when the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Issues {
    /// How many.
    pub count: i64,
    /// When the first of them was issued.
    pub first: Option<DateTime<Utc>>,
}

/// A console that is being opened.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.16")]
pub struct NewConsoleSession {
    pub id: ConsoleSessionId,
    pub token_id: ConsoleTokenId,
    pub grant_id: ConsoleGrantId,
    pub user_id: UserId,
    pub vm_id: VmId,
    pub replica: String,
    pub started_at: DateTime<Utc>,
}

/// Bytes that went through a console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// From the browser to the machine.
    pub bytes_in: u64,
    /// From the machine to the browser.
    pub bytes_out: u64,
}

/// A console whose replica went away without ending it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.16")]
pub struct LostConsole {
    pub id: ConsoleSessionId,
    pub token_id: ConsoleTokenId,
    pub grant_id: ConsoleGrantId,
    pub user_id: UserId,
    pub vm_id: VmId,
    pub environment: Environment,
    pub replica: String,
    pub started_at: DateTime<Utc>,
    /// The last sign of life.
    pub ended_at: DateTime<Utc>,
    pub bytes_in: i64,
    pub bytes_out: i64,
}

/// Issues and uses up tokens; opens and ends consoles.
#[async_trait]
pub trait ConsoleTokenRepository: Send {
    /// Holds a grant until the transaction ends: whoever issues or uses a token of it, or revokes it, comes one after
    /// the other.
    async fn lock_grant(&mut self, id: ConsoleGrantId) -> Result<Option<GrantRecord>, RepositoryError>;
    /// The token of a grant that was neither used nor revoked; it may have expired. There is one at most:
    /// `uq_vnc_access_tokens_unused`.
    async fn unused(&mut self, grant: ConsoleGrantId) -> Result<Option<TokenRecord>, RepositoryError>;
    /// The tokens of a grant that were issued after a moment.
    async fn issued_after(&mut self, grant: ConsoleGrantId, after: DateTime<Utc>) -> Result<Issues, RepositoryError>;
    /// Issues a token and closes, in the same statement, the unused one of the grant, if there is any.
    async fn issue(&mut self, token: &NewToken, closed_by: &ActorId) -> Result<(), RepositoryError>;
    /// Uses a token up; `false` when it was used, was revoked, has expired, or is of another machine.
    async fn consume(&mut self, id: ConsoleTokenId, vm: VmId, at: DateTime<Utc>) -> Result<bool, RepositoryError>;

    /// Lets one transaction after the other open a console for a user; held until the transaction ends.
    async fn hold_consoles(&mut self, user: UserId) -> Result<(), RepositoryError>;
    /// The open consoles of a user over all replicas. One without a sign of life since a moment does not count: its
    /// replica is gone.
    async fn open_consoles(&mut self, user: UserId, seen_since: DateTime<Utc>) -> Result<i64, RepositoryError>;
    /// Opens one. A token opens one at most: `uq_console_sessions_token_id`.
    async fn open_console(&mut self, console: &NewConsoleSession) -> Result<(), RepositoryError>;
    /// Ends one; `false` when it has ended before.
    async fn end_console(
        &mut self,
        id: ConsoleSessionId,
        reason: &str,
        relayed: Relayed,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Ends at most `limit` consoles without a sign of life since a moment, as of their last one, and answers them.
    async fn end_lost(
        &mut self,
        seen_before: DateTime<Utc>,
        reason: &str,
        limit: u32,
    ) -> Result<Vec<LostConsole>, RepositoryError>;
}

/// Reads tokens, and notes signs of life.
#[async_trait]
pub trait ConsoleTokenQueries: Send + Sync {
    /// One token.
    async fn get_console_token(&self, id: ConsoleTokenId) -> Result<Option<TokenRecord>, RepositoryError>;
    /// Notes that a console is open, and what went through it so far; answers its grant, and nothing when the console
    /// has been ended.
    async fn note_console(
        &self,
        id: ConsoleSessionId,
        relayed: Relayed,
        at: DateTime<Utc>,
    ) -> Result<Option<GrantRecord>, RepositoryError>;
}
