//! External approval systems, and the tickets that were handed to them.
//!
//! A claim moves `next_attempt_at` into the future, so that no other replica finds the row due, and what comes of it is
//! stored only while `row_version` is that of the claim: whoever decides or cancels meanwhile wins.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::external_approval::{SubmissionState, Verdict};
use shepherd_domain::ids::{ExternalSystemId, SubmissionId, TicketId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::transition::Transition;
use shepherd_ports::RepositoryError;
use shepherd_ports::audit_webhooks::SealedHeaders;
use shepherd_ports::external_approvals::{
    ExternalApprovalQueries, ExternalApprovalRepository, ExternalSystemPatch, ExternalSystemRecord, FailedAttempt,
    NewExternalSystem, SealedSystem, SubmissionRecord,
};
use shepherd_ports::systems::Changed;

use crate::errors::{mismatch, store_error};
use crate::statement::{Filter, List, Texts, execute, fetch_one, row, select_all, select_one, uuid_v7, values};
use crate::store::PgStore;
use crate::systems::change_outcome;
use crate::unit_of_work::PgUnitOfWork;

/// Most characters of `last_error`.
const MAX_ERROR: usize = 512;

macro_rules! system_rows {
    () => {
        "SELECT x.id, x.name, x.system_type, x.webhook_url, x.header_names, x.status_mapping, x.timeout_seconds, \
         x.retry_count, x.poll_interval_seconds, x.enabled, x.created_by, x.row_version, x.created_at, x.updated_at \
         FROM external_approval_systems x"
    };
}

macro_rules! submission_columns {
    () => {
        "s.id, s.ticket_id, s.system_id, s.external_id, s.state, s.attempts, s.next_attempt_at, s.last_error, \
         s.verdict, s.decided_at, s.row_version, s.offered_spec"
    };
}

const INSERT: &str = "INSERT INTO external_approval_systems (id, name, system_type, webhook_url, webhook_secret, \
         secret_key_id, header_names, webhook_headers, headers_key_id, status_mapping, timeout_seconds, retry_count, \
         poll_interval_seconds, enabled, created_by) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";

const UPDATE: &str = "UPDATE external_approval_systems x SET \
         name = coalesce($3, x.name), webhook_url = coalesce($4, x.webhook_url), \
         webhook_secret = coalesce($5, x.webhook_secret), secret_key_id = coalesce($6, x.secret_key_id), \
         header_names = CASE WHEN $7 THEN $8::text[] ELSE x.header_names END, \
         webhook_headers = CASE WHEN $7 THEN $9::bytea ELSE x.webhook_headers END, \
         headers_key_id = CASE WHEN $7 THEN $10::text ELSE x.headers_key_id END, \
         status_mapping = coalesce($11::jsonb, x.status_mapping), \
         timeout_seconds = coalesce($12, x.timeout_seconds), retry_count = coalesce($13, x.retry_count), \
         poll_interval_seconds = coalesce($14, x.poll_interval_seconds), enabled = coalesce($15, x.enabled) \
     WHERE x.id = $1 AND ($2::bigint IS NULL OR x.row_version = $2)";

const QUEUE: &str = concat!(
    "INSERT INTO external_approval_submissions (id, ticket_id, system_id, next_attempt_at) VALUES (",
    uuid_v7!(),
    ", $1, $2, $3) ON CONFLICT ON CONSTRAINT uq_external_approval_submissions_ticket_id DO NOTHING"
);

const CLAIM: &str = concat!(
    "WITH claimed AS ( \
         UPDATE external_approval_submissions s SET next_attempt_at = $4, offered = true, \
             offered_spec = CASE WHEN s.state = 'QUEUED' THEN (SELECT t.modified_spec FROM approval_tickets t \
                 WHERE t.id = s.ticket_id) ELSE s.offered_spec END \
         WHERE id = $1 AND row_version = $2 AND next_attempt_at <= $3 RETURNING * \
     ) SELECT to_jsonb(held) AS doc FROM (SELECT ",
    submission_columns!(),
    " FROM claimed s) held"
);

const SUBMITTED: &str = "UPDATE external_approval_submissions SET state = $4, external_id = $5, attempts = 0, \
         last_error = NULL, next_attempt_at = $6 \
     WHERE id = $1 AND row_version = $2 AND state = $3";

const SUBMITTED_LATE: &str = "UPDATE external_approval_submissions SET external_id = $2, attempts = 0, \
         next_attempt_at = $3 \
     WHERE id = $1 AND state = 'CANCELLED' AND external_id IS NULL";

const STILL_PENDING: &str = "UPDATE external_approval_submissions SET attempts = 0, last_error = NULL, \
         next_attempt_at = $3 \
     WHERE id = $1 AND row_version = $2";

const FAILED: &str = "UPDATE external_approval_submissions SET attempts = attempts + CASE WHEN $3 THEN 1 ELSE 0 END, \
         last_error = $4, next_attempt_at = $5 \
     WHERE id = $1 AND row_version = $2";

const TOLD: &str = "UPDATE external_approval_submissions SET next_attempt_at = NULL, last_error = NULL \
     WHERE id = $1 AND row_version = $2";

const DECIDE: &str = "UPDATE external_approval_submissions SET state = $3, verdict = $4, decided_at = $5, \
         last_error = NULL, next_attempt_at = NULL \
     WHERE id = $1 AND state = $2";

const FALL_BACK: &str = "UPDATE external_approval_submissions SET state = $3, last_error = $4, decided_at = $5, \
         next_attempt_at = NULL \
     WHERE id = $1 AND state = $2";

/// The system is told of what it may have. Whoever has claimed it, or waits before trying again, has its time first: an
/// answer tells under which id the system has it.
macro_rules! cancel {
    ($condition:literal) => {
        concat!(
            "UPDATE external_approval_submissions s SET state = 'CANCELLED', attempts = 0, last_error = NULL, \
                 decided_at = now(), next_attempt_at = CASE WHEN s.external_id IS NOT NULL THEN now() \
                     WHEN s.offered THEN greatest(now(), s.next_attempt_at) END \
             WHERE s.state IN ('QUEUED', 'SUBMITTED') AND ",
            $condition
        )
    };
}

/// So many of each system: one that is slow leaves room for the others.
const DUE: &str = concat!(
    "SELECT ",
    submission_columns!(),
    " FROM (SELECT d.*, row_number() OVER (PARTITION BY d.system_id ORDER BY d.next_attempt_at, d.id) AS place \
         FROM external_approval_submissions d \
         WHERE d.state IN ('QUEUED', 'SUBMITTED', 'CANCELLED') AND d.next_attempt_at <= $1) s \
     WHERE s.place <= $2 ORDER BY s.next_attempt_at, s.id"
);

const ABANDONED: &str = concat!(
    "SELECT ",
    submission_columns!(),
    " FROM external_approval_submissions s WHERE s.state IN ('QUEUED', 'SUBMITTED') \
         AND NOT EXISTS (SELECT FROM external_approval_systems x WHERE x.id = s.system_id AND x.enabled) \
     ORDER BY s.created_at, s.id LIMIT $1"
);

fn cut(text: &str) -> String {
    text.chars().take(MAX_ERROR).collect()
}

/// Names, values and key id; nothing at all when there are no headers.
fn header_columns(headers: Option<&SealedHeaders>) -> (Texts, Option<&Vec<u8>>, Option<&str>) {
    let names = headers.map(|headers| headers.names.clone()).unwrap_or_default();
    let values = headers.map(|headers| &headers.values.bytes);
    let key = headers.map(|headers| headers.values.key_id.as_str());
    (Texts(names), values, key)
}

#[async_trait]
impl ExternalApprovalRepository for PgUnitOfWork {
    async fn insert(&mut self, system: &NewExternalSystem) -> Result<(), RepositoryError> {
        let (names, headers, headers_key) = header_columns(system.headers.as_ref());
        let mapping = serde_json::to_value(&system.status_mapping).map_err(mismatch)?;
        let values = values![
            system.id,
            system.name,
            system.system_type,
            system.webhook_url,
            system.secret.bytes,
            system.secret.key_id,
            names,
            headers,
            headers_key,
            mapping,
            system.timeout_seconds,
            system.retry_count,
            system.poll_interval_seconds,
            system.enabled,
            system.created_by,
        ];
        execute(&self.tx, INSERT, values).await.map(drop)
    }

    async fn update(
        &mut self,
        id: ExternalSystemId,
        patch: &ExternalSystemPatch,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError> {
        let (names, headers, headers_key) = header_columns(patch.headers.as_ref().and_then(Option::as_ref));
        let mapping = patch
            .status_mapping
            .as_ref()
            .map(serde_json::to_value)
            .transpose()
            .map_err(mismatch)?;
        let values = values![
            id,
            version,
            patch.name,
            patch.webhook_url,
            patch.secret.as_ref().map(|secret| &secret.bytes),
            patch.secret.as_ref().map(|secret| &secret.key_id),
            patch.headers.is_some(),
            names,
            headers,
            headers_key,
            mapping,
            patch.timeout_seconds,
            patch.retry_count,
            patch.poll_interval_seconds,
            patch.enabled,
        ];
        let changed = execute(&self.tx, UPDATE, values).await?;
        change_outcome(
            &self.tx,
            changed,
            "SELECT to_jsonb(row_version) AS doc FROM external_approval_systems WHERE id = $1",
            id,
        )
        .await
    }

    async fn hold(&mut self, id: ExternalSystemId) -> Result<Option<ExternalSystemRecord>, RepositoryError> {
        let sql = concat!(system_rows!(), " WHERE x.id = $1 FOR UPDATE OF x");
        select_one(&self.tx, sql, values![id]).await
    }

    async fn count_references(&mut self, id: ExternalSystemId) -> Result<i64, RepositoryError> {
        let sql = "SELECT to_jsonb(count(*)) AS doc FROM approval_policies WHERE external_system_id = $1";
        Ok(fetch_one(&self.tx, sql, values![id]).await?.unwrap_or_default())
    }

    async fn delete(&mut self, id: ExternalSystemId) -> Result<bool, RepositoryError> {
        let sql = "DELETE FROM external_approval_systems WHERE id = $1";
        Ok(execute(&self.tx, sql, values![id]).await? > 0)
    }

    async fn queue(
        &mut self,
        ticket: TicketId,
        system: ExternalSystemId,
        now: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, QUEUE, values![ticket, system, now]).await? > 0)
    }

    async fn claim(
        &mut self,
        submission: &SubmissionRecord,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Option<SubmissionRecord>, RepositoryError> {
        // The statement writes the document itself: one that changes rows cannot stand in the FROM of another.
        let values = values![submission.id, submission.row_version, now, until];
        fetch_one(&self.tx, CLAIM, values).await
    }

    async fn submitted(
        &mut self,
        claimed: &SubmissionRecord,
        step: Transition<SubmissionState>,
        external_id: &str,
        ask_at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let values = values![
            claimed.id,
            claimed.row_version,
            step.from(),
            step.to(),
            external_id,
            ask_at
        ];
        Ok(execute(&self.tx, SUBMITTED, values).await? > 0)
    }

    async fn submitted_late(
        &mut self,
        submission: SubmissionId,
        external_id: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, SUBMITTED_LATE, values![submission, external_id, now]).await? > 0)
    }

    async fn still_pending(
        &mut self,
        claimed: &SubmissionRecord,
        ask_at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let values = values![claimed.id, claimed.row_version, ask_at];
        Ok(execute(&self.tx, STILL_PENDING, values).await? > 0)
    }

    async fn failed(
        &mut self,
        claimed: &SubmissionRecord,
        failure: FailedAttempt<'_>,
    ) -> Result<bool, RepositoryError> {
        let values = values![
            claimed.id,
            claimed.row_version,
            failure.counts,
            cut(failure.error),
            failure.next_attempt_at,
        ];
        Ok(execute(&self.tx, FAILED, values).await? > 0)
    }

    async fn told(&mut self, claimed: &SubmissionRecord) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, TOLD, values![claimed.id, claimed.row_version]).await? > 0)
    }

    async fn decide(
        &mut self,
        submission: SubmissionId,
        step: Transition<SubmissionState>,
        verdict: &Verdict,
        now: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let verdict = serde_json::to_value(verdict).map_err(mismatch)?;
        let values = values![submission, step.from(), step.to(), verdict, now];
        Ok(execute(&self.tx, DECIDE, values).await? > 0)
    }

    async fn fall_back(
        &mut self,
        submission: SubmissionId,
        step: Transition<SubmissionState>,
        error: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let values = values![submission, step.from(), step.to(), cut(error), now];
        Ok(execute(&self.tx, FALL_BACK, values).await? > 0)
    }

    async fn cancel(&mut self, ticket: TicketId) -> Result<bool, RepositoryError> {
        let sql = cancel!("s.ticket_id = $1");
        Ok(execute(&self.tx, sql, values![ticket]).await? > 0)
    }

    async fn cancel_decided(&mut self) -> Result<u64, RepositoryError> {
        let sql = cancel!(
            "s.ticket_id IN (SELECT t.id FROM approval_tickets t \
                 JOIN external_approval_submissions o ON o.ticket_id = t.id AND o.state IN ('QUEUED', 'SUBMITTED') \
                 WHERE t.status NOT IN ('SUBMITTED', 'PENDING_APPROVAL'))"
        );
        execute(&self.tx, sql, values![]).await
    }
}

#[async_trait]
impl ExternalApprovalQueries for PgStore {
    async fn get_external_system(&self, id: ExternalSystemId) -> Result<Option<ExternalSystemRecord>, RepositoryError> {
        select_one(&self.db, concat!(system_rows!(), " WHERE x.id = $1"), values![id]).await
    }

    async fn list_external_systems(&self, page: PageRequest) -> Result<Page<ExternalSystemRecord>, RepositoryError> {
        List {
            rows: concat!(system_rows!(), " WHERE {where} ORDER BY x.name {limit}"),
            counted: "external_approval_systems x",
            filter: Filter::default(),
        }
        .page(&self.db, page)
        .await
    }

    async fn sealed_external_system(&self, id: ExternalSystemId) -> Result<Option<SealedSystem>, RepositoryError> {
        let sql = "SELECT webhook_secret, webhook_headers FROM external_approval_systems WHERE id = $1";
        let Some(found) = row(&self.db, sql, values![id]).await? else {
            return Ok(None);
        };
        Ok(Some(SealedSystem {
            secret: found.try_get_by_index(0).map_err(store_error)?,
            headers: found.try_get_by_index(1).map_err(store_error)?,
        }))
    }

    async fn submission_of(&self, ticket: TicketId) -> Result<Option<SubmissionRecord>, RepositoryError> {
        let sql = concat!(
            "SELECT ",
            submission_columns!(),
            " FROM external_approval_submissions s WHERE s.ticket_id = $1"
        );
        select_one(&self.db, sql, values![ticket]).await
    }

    async fn due_submissions(
        &self,
        now: DateTime<Utc>,
        per_system: i64,
    ) -> Result<Vec<SubmissionRecord>, RepositoryError> {
        select_all(&self.db, DUE, values![now, per_system]).await
    }

    async fn decided_elsewhere(&self) -> Result<bool, RepositoryError> {
        let sql = "SELECT to_jsonb(EXISTS (SELECT FROM external_approval_submissions s \
                       JOIN approval_tickets t ON t.id = s.ticket_id \
                       WHERE s.state IN ('QUEUED', 'SUBMITTED') \
                           AND t.status NOT IN ('SUBMITTED', 'PENDING_APPROVAL'))) AS doc";
        Ok(fetch_one(&self.db, sql, values![]).await?.unwrap_or_default())
    }

    async fn abandoned_submissions(&self, limit: i64) -> Result<Vec<SubmissionRecord>, RepositoryError> {
        select_all(&self.db, ABANDONED, values![limit]).await
    }
}
