//! What periodic jobs remove and remind of, and what is remembered of the jobs themselves.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use shepherd_domain::ids::TicketId;
use shepherd_domain::ticket::RequestType;
use shepherd_domain::{ActorId, Environment};

use crate::error::RepositoryError;

/// Rows that are of no use after their time (operations.md §9), and which of their times counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transient {
    /// Notifications, by when they were sent.
    Notifications,
    /// Sessions, by when they were revoked or expired, whichever came first.
    Sessions,
    /// Attempts to log in, by when they were made.
    LoginAttempts,
    /// Stored answers of idempotent requests, by when they expired.
    IdempotencyKeys,
    /// Wrong confirmation names, by when they were given.
    ConfirmationFailures,
    /// Signs of life, by when they were given.
    Heartbeats,
    /// Jobs that nothing will try again, by when they were given up; some stay a few hours longer.
    DeadLetters,
    /// Runs of the reconciler with their findings, by when they ended.
    ReconcilerRuns,
    /// Console grants with their tokens and sessions, by when they were revoked or expired, whichever came first.
    ConsoleGrants,
    /// Exemptions from limits, by when they expired.
    LimitExemptions,
    /// What was counted for limits, by when the counting began.
    LimitCounters,
}

/// Rows that leave the default lists some time after their end (requests.md §13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archived {
    /// Events that are COMPLETED, FAILED or CANCELLED, by when they were created.
    Events,
    /// Tickets that are final, by when they became so; no batch with an open child.
    Tickets,
    /// Batches that are final, by when they became so.
    Batches,
}

/// A ticket that has waited for a decision for so long that its approvers are reminded.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.10")]
pub struct OverdueTicket {
    pub id: TicketId,
    pub number: String,
    pub request_type: RequestType,
    pub environment: Environment,
    pub requester_id: ActorId,
    /// User name at submission.
    pub requester_name: Option<String>,
    pub created_at: DateTime<Utc>,
}

/// How well the holders of `platform:admin` are looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct AdministratorReview {
    /// How many there are.
    pub administrators: i64,
    /// How many of them have no binding that was granted or changed lately.
    pub unreviewed: i64,
}

/// Removes what has had its time.
#[async_trait]
pub trait UpkeepRepository: Send {
    /// Removes at most `limit` rows whose time is before `before`, the oldest first as far as an index allows; rows
    /// that others hold are left. Answers how many went.
    async fn remove(&mut self, what: Transient, before: DateTime<Utc>, limit: u32) -> Result<u64, RepositoryError>;
    /// Archives at most `limit` rows whose time is before `before`, the oldest first; rows that are archived or that
    /// others hold are left. Answers how many it were.
    async fn archive(
        &mut self,
        what: Archived,
        before: DateTime<Utc>,
        at: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64, RepositoryError>;
    /// Marks at most `limit` undecided tickets, no children of batches, that have waited for another whole `period`
    /// since they were submitted, and answers them. A ticket is answered once per period, whoever asks how often.
    async fn claim_overdue(
        &mut self,
        period: TimeDelta,
        at: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<OverdueTicket>, RepositoryError>;
    /// Notes that a job has done its work; `false`, and nothing is noted, when it has done so at or after
    /// `unless_since` already.
    async fn record_success(
        &mut self,
        job: &str,
        unless_since: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
}

/// Finds what somebody has to be told of.
#[async_trait]
pub trait UpkeepQueries: Send + Sync {
    /// When a job did its work last.
    async fn last_success(&self, job: &str) -> Result<Option<DateTime<Utc>>, RepositoryError>;
    /// Counts the holders of `platform:admin`, and those whose bindings were neither granted nor changed since
    /// `since`.
    async fn review_administrators(
        &self,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<AdministratorReview, RepositoryError>;
}
