//! What periodic jobs remove and remind of, in batches that hold no row for long.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use shepherd_ports::RepositoryError;
use shepherd_ports::upkeep::{
    AdministratorReview, Archived, OverdueTicket, Transient, UpkeepQueries, UpkeepRepository,
};

use crate::notifications::{administers, global_bindings};
use crate::statement::{execute, fetch_one, select_one, uuid_in, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;
use crate::workbench::left_to_decide;

/// Deletes rows by their key, found by the time `$1` and the number `$2`. What somebody else holds is left to the next
/// batch or the next period.
macro_rules! delete_by {
    ($table:literal, $key:literal, $condition:literal, $order:literal) => {
        concat!(
            "WITH due AS (SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE ",
            $condition,
            " ORDER BY ",
            $order,
            " LIMIT $2 FOR UPDATE SKIP LOCKED) DELETE FROM ",
            $table,
            " WHERE (",
            $key,
            ") IN (SELECT ",
            $key,
            " FROM due)"
        )
    };
}

const REMOVE_NOTIFICATIONS: &str = delete_by!("notifications", "id", "created_at < $1", "created_at");

/// A session ends when it is revoked, and at the latest when it expires.
const REMOVE_SESSIONS: &str = delete_by!(
    "user_sessions",
    "id",
    "LEAST(revoked_at, expires_at) < $1",
    "expires_at"
);

const REMOVE_LOGIN_ATTEMPTS: &str = delete_by!("login_attempts", "id", "at < $1", "at");

const REMOVE_IDEMPOTENCY_KEYS: &str = delete_by!("idempotency_keys", "user_id, key", "expires_at < $1", "expires_at");

const REMOVE_CONFIRMATION_FAILURES: &str = delete_by!("confirmation_failures", "id", "at < $1", "at");

const REMOVE_HEARTBEATS: &str = delete_by!("heartbeats", "kind, instance, subject", "at < $1", "at");

/// Their findings go with them.
const REMOVE_RECONCILER_RUNS: &str = delete_by!("reconciler_runs", "id", "finished_at < $1", "created_at");

const REMOVE_LIMIT_EXEMPTIONS: &str = delete_by!("rate_limit_exemptions", "user_id", "expires_at < $1", "expires_at");

const REMOVE_LIMIT_COUNTERS: &str = delete_by!(
    "rate_limit_counters",
    "scope, subject_id, limit_type, window_start",
    "window_start < $1",
    "window_start"
);

/// Their tokens and sessions go with them: neither outlives its grant by more than a moment.
const REMOVE_CONSOLE_GRANTS: &str = delete_by!(
    "console_grants",
    "id",
    "LEAST(revoked_at, expires_at) < $1",
    "expires_at"
);

/// The queue does not note when a job failed, but it moves `run_at` some hours beyond that. What is left of the work of
/// a ticket that is stuck stays: without it nobody could have the ticket tried again, or end it.
const REMOVE_DEAD_LETTERS: &str = concat!(
    "WITH due AS (SELECT j.id FROM graphile_worker._private_jobs j \
         WHERE j.attempts >= j.max_attempts AND j.locked_at IS NULL AND GREATEST(j.updated_at, j.run_at) < $1 \
             AND NOT EXISTS (SELECT FROM approval_tickets t WHERE t.event_id = ",
    uuid_in!("(j.payload ->> 'event_id')"),
    " AND t.status IN ('APPROVED', 'EXECUTING') AND NOT EXISTS ( \
                 SELECT FROM graphile_worker._private_jobs s \
                 WHERE s.key = j.payload ->> 'event_id' AND s.id <> j.id \
                     AND (s.attempts < s.max_attempts OR s.locked_at IS NOT NULL))) \
         ORDER BY j.id LIMIT $2 FOR UPDATE OF j SKIP LOCKED) \
     DELETE FROM graphile_worker._private_jobs WHERE id IN (SELECT id FROM due)"
);

/// `$1` is the limit in time, `$2` now.
const ARCHIVE_EVENTS: &str = "WITH due AS ( \
         SELECT e.id FROM domain_events e \
         WHERE e.archived_at IS NULL AND e.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND e.created_at < $1 \
         ORDER BY e.created_at, e.id LIMIT $3 FOR UPDATE SKIP LOCKED \
     ) UPDATE domain_events e SET archived_at = $2 FROM due WHERE e.id = due.id";

/// A ticket is final since the last step of its history.
const ARCHIVE_TICKETS: &str = "WITH due AS ( \
         SELECT t.id FROM approval_tickets t \
         WHERE t.archived_at IS NULL AND t.status IN ('REJECTED', 'CANCELLED', 'COMPLETED', 'FAILED') \
             AND t.created_at < $1 \
             AND NOT EXISTS (SELECT FROM ticket_transitions h WHERE h.ticket_id = t.id AND h.at >= $1) \
             AND NOT EXISTS (SELECT FROM approval_tickets c WHERE c.parent_ticket_id = t.id \
                 AND c.status NOT IN ('REJECTED', 'CANCELLED', 'COMPLETED', 'FAILED')) \
         ORDER BY t.created_at, t.id LIMIT $3 FOR UPDATE OF t SKIP LOCKED \
     ) UPDATE approval_tickets t SET archived_at = $2 FROM due WHERE t.id = due.id";

const ARCHIVE_BATCHES: &str = "WITH due AS ( \
         SELECT b.id FROM batch_approval_tickets b \
         WHERE b.archived_at IS NULL AND b.completed_at < $1 \
         ORDER BY b.completed_at, b.id LIMIT $3 FOR UPDATE SKIP LOCKED \
     ) UPDATE batch_approval_tickets b SET archived_at = $2 FROM due WHERE b.id = due.id";

/// `$1` is now, `$2` one period ago, `$3` the seconds of a period. Periods count from the submission, so reminders do
/// not drift; a ticket is due when the last reminder belongs to an earlier period than now. Locking a row looks at it
/// again, so of several runs at the same time one gets it.
const CLAIM_OVERDUE: &str = concat!(
    "WITH due AS ( \
         SELECT t.id FROM approval_tickets t \
         WHERE ",
    left_to_decide!(),
    " AND t.created_at <= $2 \
             AND (t.reminded_at IS NULL \
                 OR floor(extract(epoch FROM t.reminded_at - t.created_at) / $3) \
                     < floor(extract(epoch FROM $1 - t.created_at) / $3)) \
         ORDER BY t.created_at, t.id LIMIT $4 FOR UPDATE SKIP LOCKED \
     ), claimed AS ( \
         UPDATE approval_tickets t SET reminded_at = $1 FROM due WHERE t.id = due.id \
         RETURNING t.id, t.number, t.request_type, t.environment, t.requester_id, \
             t.context_snapshot #>> '{requester,username}' AS requester_name, t.created_at \
     ) \
     SELECT coalesce(jsonb_agg(to_jsonb(claimed) ORDER BY claimed.created_at, claimed.id), '[]') AS doc FROM claimed"
);

const RECORD_SUCCESS: &str = "INSERT INTO periodic_jobs AS p (job, succeeded_at) VALUES ($1, $3) \
     ON CONFLICT (job) DO UPDATE SET succeeded_at = excluded.succeeded_at \
     WHERE $2::timestamptz IS NULL OR p.succeeded_at < $2";

/// A binding is looked at when it is granted or changed; of several the latest counts.
const REVIEW_ADMINISTRATORS: &str = concat!(
    "SELECT count(*) AS administrators, count(*) FILTER (WHERE held.reviewed_at < $1) AS unreviewed \
     FROM (SELECT b.user_id, max(b.updated_at) AS reviewed_at ",
    global_bindings!("$2"),
    administers!(),
    " GROUP BY b.user_id) AS held"
);

#[async_trait]
impl UpkeepRepository for PgUnitOfWork {
    async fn remove(&mut self, what: Transient, before: DateTime<Utc>, limit: u32) -> Result<u64, RepositoryError> {
        let sql = match what {
            Transient::Notifications => REMOVE_NOTIFICATIONS,
            Transient::Sessions => REMOVE_SESSIONS,
            Transient::LoginAttempts => REMOVE_LOGIN_ATTEMPTS,
            Transient::IdempotencyKeys => REMOVE_IDEMPOTENCY_KEYS,
            Transient::ConfirmationFailures => REMOVE_CONFIRMATION_FAILURES,
            Transient::Heartbeats => REMOVE_HEARTBEATS,
            Transient::DeadLetters => REMOVE_DEAD_LETTERS,
            Transient::ReconcilerRuns => REMOVE_RECONCILER_RUNS,
            Transient::ConsoleGrants => REMOVE_CONSOLE_GRANTS,
            Transient::LimitExemptions => REMOVE_LIMIT_EXEMPTIONS,
            Transient::LimitCounters => REMOVE_LIMIT_COUNTERS,
        };
        execute(&self.tx, sql, values![before, i64::from(limit)]).await
    }

    async fn archive(
        &mut self,
        what: Archived,
        before: DateTime<Utc>,
        at: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64, RepositoryError> {
        let sql = match what {
            Archived::Events => ARCHIVE_EVENTS,
            Archived::Tickets => ARCHIVE_TICKETS,
            Archived::Batches => ARCHIVE_BATCHES,
        };
        execute(&self.tx, sql, values![before, at, i64::from(limit)]).await
    }

    async fn claim_overdue(
        &mut self,
        period: TimeDelta,
        at: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<OverdueTicket>, RepositoryError> {
        // No ticket is as old as a period that reaches back that far.
        let one_period_ago = at
            .checked_sub_signed(period)
            .filter(|moment| *moment > DateTime::UNIX_EPOCH);
        let Some(one_period_ago) = one_period_ago else {
            return Ok(Vec::new());
        };
        let seconds = period.num_seconds().max(1);
        let values = values![at, one_period_ago, seconds, i64::from(limit)];
        Ok(fetch_one(&self.tx, CLAIM_OVERDUE, values).await?.unwrap_or_default())
    }

    async fn record_success(
        &mut self,
        job: &str,
        unless_since: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, RECORD_SUCCESS, values![job, unless_since, at]).await? > 0)
    }
}

#[async_trait]
impl UpkeepQueries for PgStore {
    async fn last_success(&self, job: &str) -> Result<Option<DateTime<Utc>>, RepositoryError> {
        let sql = "SELECT to_jsonb(succeeded_at) AS doc FROM periodic_jobs WHERE job = $1";
        fetch_one(&self.db, sql, values![job]).await
    }

    async fn review_administrators(
        &self,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<AdministratorReview, RepositoryError> {
        select_one(&self.db, REVIEW_ADMINISTRATORS, values![since, now])
            .await?
            .ok_or_else(|| RepositoryError::Other("an aggregate answered no row".into()))
    }
}
