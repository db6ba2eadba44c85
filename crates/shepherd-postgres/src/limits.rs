//! Limits of batches, exemptions and overrides.
//!
//! Whoever accepts a batch holds one advisory lock of its transaction while it counts and writes; what it counts are
//! the open batches alone, so the time under the lock does not grow with the history.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::ConnectionTrait;
use shepherd_domain::ids::UserId;
use shepherd_domain::limit::Standing;
use shepherd_ports::RepositoryError;
use shepherd_ports::limits::{
    ExemptionRecord, LimitQueries, LimitRepository, NewExemption, NewOverride, OverrideRecord, UserStanding,
};

use crate::statement::{execute, fetch_all, fetch_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

/// Key of the advisory lock under which batches are accepted: ASCII "batchlim".
const SUBMISSIONS: i64 = 0x6261_7463_686c_696d;

const COUNT_SUBMISSION: &str = "INSERT INTO rate_limit_counters AS c \
         (scope, subject_id, limit_type, window_start, current_value) \
     VALUES ('global', '', 'global_request_rate', $1, 1) \
     ON CONFLICT (scope, subject_id, limit_type, window_start) DO UPDATE SET current_value = c.current_value + 1 \
     RETURNING to_jsonb(c.current_value) AS doc";

/// SQL of the document of what is open for, and agreed with, the user whose id is `u.id`. The condition on the status
/// is that of the index of open batches.
macro_rules! standing {
    () => {
        "jsonb_build_object( \
             'global_pending_parents', (SELECT count(*) FROM batch_approval_tickets b \
                 WHERE b.status IN ('PENDING_APPROVAL', 'IN_PROGRESS')), \
             'pending_parents', (SELECT count(*) FROM batch_approval_tickets b \
                 WHERE b.created_by = u.id::text AND b.status IN ('PENDING_APPROVAL', 'IN_PROGRESS')), \
             'pending_children', (SELECT coalesce(sum(b.pending_count), 0) FROM batch_approval_tickets b \
                 WHERE b.created_by = u.id::text AND b.status IN ('PENDING_APPROVAL', 'IN_PROGRESS') \
                     AND b.batch_type IN ('BATCH_CREATE', 'BATCH_DELETE')), \
             'last_accepted_at', (SELECT max(b.created_at) FROM batch_approval_tickets b \
                 WHERE b.created_by = u.id::text), \
             'exemption', (SELECT jsonb_build_object('expires_at', e.expires_at) FROM rate_limit_exemptions e \
                 WHERE e.user_id = u.id), \
             'override_numbers', (SELECT jsonb_build_object('max_pending_parents', o.max_pending_parents, \
                     'max_pending_children', o.max_pending_children, 'cooldown_seconds', o.cooldown_seconds) \
                 FROM rate_limit_user_overrides o WHERE o.user_id = u.id) \
         )"
    };
}

const STANDING: &str = concat!("SELECT ", standing!(), " AS doc FROM (SELECT $1::uuid AS id) AS u");

const STATUS: &str = concat!(
    "SELECT jsonb_build_object('user_id', u.id, 'username', u.username, 'standing', ",
    standing!(),
    ") AS doc FROM users u \
     WHERE ($1::uuid IS NULL OR u.id = $1) AND u.id::text IN ( \
         SELECT e.user_id::text FROM rate_limit_exemptions e WHERE e.expires_at IS NULL OR e.expires_at > $2 \
         UNION ALL SELECT o.user_id::text FROM rate_limit_user_overrides o \
         UNION ALL SELECT b.created_by FROM batch_approval_tickets b \
             WHERE b.status IN ('PENDING_APPROVAL', 'IN_PROGRESS') \
     ) ORDER BY u.username, u.id"
);

const EXEMPT: &str = "INSERT INTO rate_limit_exemptions AS e (user_id, exempted_by, reason, expires_at) \
     VALUES ($1, $2, $3, $4) \
     ON CONFLICT (user_id) DO UPDATE SET exempted_by = excluded.exempted_by, reason = excluded.reason, \
         expires_at = excluded.expires_at \
     RETURNING to_jsonb(e) AS doc";

const LIFT_EXEMPTION: &str = "DELETE FROM rate_limit_exemptions e WHERE e.user_id = $1 RETURNING to_jsonb(e) AS doc";

const OVERRIDE_OF: &str = "SELECT to_jsonb(o) AS doc FROM rate_limit_user_overrides o WHERE o.user_id = $1 FOR UPDATE";

const PUT_OVERRIDE: &str = "INSERT INTO rate_limit_user_overrides AS o \
         (user_id, max_pending_parents, max_pending_children, cooldown_seconds, reason, updated_by) \
     VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (user_id) DO UPDATE SET max_pending_parents = excluded.max_pending_parents, \
         max_pending_children = excluded.max_pending_children, cooldown_seconds = excluded.cooldown_seconds, \
         reason = excluded.reason, updated_by = excluded.updated_by \
     RETURNING to_jsonb(o) AS doc";

async fn standing(db: &impl ConnectionTrait, user: UserId) -> Result<Standing, RepositoryError> {
    answered(fetch_one(db, STANDING, values![user]).await?)
}

/// The row of a statement that always answers one.
fn answered<T>(row: Option<T>) -> Result<T, RepositoryError> {
    row.ok_or_else(|| RepositoryError::Other("a statement answered no row".into()))
}

/// A number of an override; the largest one the column can hold is as good as any beyond.
fn number(value: Option<u32>) -> Option<i32> {
    value.map(|value| i32::try_from(value).unwrap_or(i32::MAX))
}

#[async_trait]
impl LimitRepository for PgUnitOfWork {
    async fn count_submission(&mut self, minute: DateTime<Utc>) -> Result<u32, RepositoryError> {
        answered(fetch_one(&self.tx, COUNT_SUBMISSION, values![minute]).await?)
    }

    async fn lock_submissions(&mut self) -> Result<(), RepositoryError> {
        let sql = "SELECT pg_advisory_xact_lock($1)";
        execute(&self.tx, sql, values![SUBMISSIONS]).await.map(drop)
    }

    async fn standing(&mut self, user: UserId) -> Result<Standing, RepositoryError> {
        standing(&self.tx, user).await
    }

    async fn exempt(&mut self, exemption: &NewExemption) -> Result<ExemptionRecord, RepositoryError> {
        let values = values![
            exemption.user,
            exemption.exempted_by,
            exemption.reason,
            exemption.expires_at
        ];
        answered(fetch_one(&self.tx, EXEMPT, values).await?)
    }

    async fn lift_exemption(&mut self, user: UserId) -> Result<Option<ExemptionRecord>, RepositoryError> {
        fetch_one(&self.tx, LIFT_EXEMPTION, values![user]).await
    }

    async fn override_of(&mut self, user: UserId) -> Result<Option<OverrideRecord>, RepositoryError> {
        fetch_one(&self.tx, OVERRIDE_OF, values![user]).await
    }

    async fn put_override(&mut self, new: &NewOverride) -> Result<OverrideRecord, RepositoryError> {
        let values = values![
            new.user,
            number(new.numbers.max_pending_parents),
            number(new.numbers.max_pending_children),
            number(new.numbers.cooldown_seconds),
            new.reason,
            new.updated_by,
        ];
        answered(fetch_one(&self.tx, PUT_OVERRIDE, values).await?)
    }
}

#[async_trait]
impl LimitQueries for PgStore {
    async fn limit_standing(&self, user: UserId) -> Result<Standing, RepositoryError> {
        standing(&self.db, user).await
    }

    async fn limit_status(
        &self,
        user: Option<UserId>,
        now: DateTime<Utc>,
    ) -> Result<Vec<UserStanding>, RepositoryError> {
        fetch_all(&self.db, STATUS, values![user, now]).await
    }
}
