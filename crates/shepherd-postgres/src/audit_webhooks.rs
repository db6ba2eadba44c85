//! Webhooks that audit rows are pushed to, and the rows that are due to them (docs/adr/0007-audit-push-cursor.md).
//!
//! What comes of a push is stored only while the webhook is as it was read: `row_version` is what people set, `cursor`
//! what was delivered.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::audit_webhook::PushFilters;
use shepherd_domain::ids::AuditWebhookId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::audit_webhooks::{
    AuditMark, AuditWebhookPatch, AuditWebhookQueries, AuditWebhookRecord, AuditWebhookRepository, FailureStored,
    NewAuditWebhook, PushBatch, PushFailure, PushState, SealedHeaders, SealedWebhook,
};
use shepherd_ports::systems::Changed;

use crate::audit::EXPORTED;
use crate::errors::{mismatch, store_error};
use crate::statement::{Filter, List, Texts, execute, fetch_one, row, rows, select_all, select_one, values};
use crate::store::PgStore;
use crate::systems::change_outcome;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! webhook_rows {
    () => {
        "SELECT w.id, w.name, w.url, w.method, w.header_names, w.filters, w.batch_size, w.flush_interval_seconds, \
         w.enabled, w.cursor, w.last_success_at, w.last_error, w.failures, w.failing_since, w.next_attempt_at, \
         w.created_by, w.row_version, w.created_at, w.updated_at FROM audit_webhooks w"
    };
}

const INSERT: &str = "INSERT INTO audit_webhooks (id, name, url, method, header_names, headers, headers_key_id, \
         secret, secret_key_id, filters, batch_size, flush_interval_seconds, enabled, created_by, cursor) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
         (SELECT coalesce(max(a.seq), 0) FROM audit_logs a))";

const UPDATE: &str = "UPDATE audit_webhooks w SET \
         name = coalesce($3, w.name), url = coalesce($4, w.url), method = coalesce($5, w.method), \
         header_names = CASE WHEN $6 THEN $7::text[] ELSE w.header_names END, \
         headers = CASE WHEN $6 THEN $8::bytea ELSE w.headers END, \
         headers_key_id = CASE WHEN $6 THEN $9::text ELSE w.headers_key_id END, \
         secret = coalesce($10, w.secret), secret_key_id = coalesce($11, w.secret_key_id), \
         filters = coalesce($12::jsonb, w.filters), batch_size = coalesce($13, w.batch_size), \
         flush_interval_seconds = coalesce($14, w.flush_interval_seconds), enabled = coalesce($15, w.enabled), \
         failures = 0, next_attempt_at = NULL, \
         last_error = CASE WHEN $15 AND NOT w.enabled THEN NULL ELSE w.last_error END, \
         failing_since = CASE WHEN $15 AND NOT w.enabled THEN NULL ELSE w.failing_since END, \
         alerted_at = CASE WHEN $15 AND NOT w.enabled THEN NULL ELSE w.alerted_at END \
     WHERE w.id = $1 AND ($2::bigint IS NULL OR w.row_version = $2)";

const SUCCESS: &str = "UPDATE audit_webhooks SET cursor = $4, last_success_at = $5, last_error = NULL, failures = 0, \
         failing_since = NULL, next_attempt_at = NULL, alerted_at = NULL \
     WHERE id = $1 AND row_version = $2 AND cursor = $3";

const SKIP: &str = "UPDATE audit_webhooks SET cursor = $4 WHERE id = $1 AND row_version = $2 AND cursor = $3";

const FAILURE: &str = "WITH failed AS ( \
         UPDATE audit_webhooks SET failures = failures + 1, last_error = $4, \
             failing_since = coalesce(failing_since, $5), next_attempt_at = $6, \
             alerted_at = CASE WHEN alerted_at IS NULL AND coalesce(failing_since, $5) <= $7 THEN $5 \
                 ELSE alerted_at END \
         WHERE id = $1 AND row_version = $2 AND cursor = $3 \
         RETURNING alerted_at \
     ) \
     SELECT to_jsonb(alerted_at IS NOT DISTINCT FROM $5) AS doc FROM failed";

/// The statement sees what was committed before it began, and its own transaction gets its id after that. So whoever
/// drew a smaller number than the newest row's has a smaller id than this transaction.
const MARK: &str = "SELECT coalesce((SELECT max(seq) FROM audit_logs), 0) AS newest, \
     pg_current_xact_id()::text::bigint AS transaction";

const SETTLED: &str = "SELECT to_jsonb(pg_snapshot_xmin(pg_current_snapshot())::text::bigint > $1) AS doc";

/// Picks rows by their numbers first, and makes objects of those alone.
const BATCH: &str = "WITH picked AS MATERIALIZED ( \
         SELECT p.id, p.seq FROM audit_logs p \
         WHERE p.seq > $1 AND p.seq <= $2 \
             AND (cardinality($3::text[]) = 0 OR p.action LIKE ANY ($3::text[])) \
             AND (cardinality($4::text[]) = 0 OR p.environment = ANY ($4::text[])) \
         ORDER BY p.seq LIMIT $5 \
     ), objects (object, written_at, id) AS ({exported}) \
     SELECT o.object, o.written_at, p.seq FROM objects o JOIN picked p ON p.id = o.id ORDER BY p.seq";

/// A pattern of LIKE. Globs hold no character but `_` that means something to it.
fn like(glob: &str) -> String {
    glob.replace('_', "\\_").replace('*', "%")
}

/// Names, values and key id; nothing at all when there are no headers.
fn header_columns(headers: Option<&SealedHeaders>) -> (Texts, Option<&Vec<u8>>, Option<&str>) {
    let names = headers.map(|headers| headers.names.clone()).unwrap_or_default();
    let values = headers.map(|headers| &headers.values.bytes);
    let key = headers.map(|headers| headers.values.key_id.as_str());
    (Texts(names), values, key)
}

#[async_trait]
impl AuditWebhookRepository for PgUnitOfWork {
    async fn insert(&mut self, webhook: &NewAuditWebhook) -> Result<(), RepositoryError> {
        let (names, headers, headers_key) = header_columns(webhook.headers.as_ref());
        let filters = serde_json::to_value(&webhook.filters).map_err(mismatch)?;
        let values = values![
            webhook.id,
            webhook.name,
            webhook.url,
            webhook.method.as_str(),
            names,
            headers,
            headers_key,
            webhook.secret.bytes,
            webhook.secret.key_id,
            filters,
            webhook.batch_size,
            webhook.flush_interval_seconds,
            webhook.enabled,
            webhook.created_by,
        ];
        execute(&self.tx, INSERT, values).await.map(drop)
    }

    async fn update(
        &mut self,
        id: AuditWebhookId,
        patch: &AuditWebhookPatch,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError> {
        let (names, headers, headers_key) = header_columns(patch.headers.as_ref().and_then(Option::as_ref));
        let filters = patch
            .filters
            .as_ref()
            .map(serde_json::to_value)
            .transpose()
            .map_err(mismatch)?;
        let values = values![
            id,
            version,
            patch.name,
            patch.url,
            patch.method.map(|method| method.as_str()),
            patch.headers.is_some(),
            names,
            headers,
            headers_key,
            patch.secret.as_ref().map(|secret| &secret.bytes),
            patch.secret.as_ref().map(|secret| &secret.key_id),
            filters,
            patch.batch_size,
            patch.flush_interval_seconds,
            patch.enabled,
        ];
        let changed = execute(&self.tx, UPDATE, values).await?;
        change_outcome(
            &self.tx,
            changed,
            "SELECT to_jsonb(row_version) AS doc FROM audit_webhooks WHERE id = $1",
            id,
        )
        .await
    }

    async fn hold(&mut self, id: AuditWebhookId) -> Result<Option<AuditWebhookRecord>, RepositoryError> {
        let sql = concat!(webhook_rows!(), " WHERE w.id = $1 FOR UPDATE OF w");
        select_one(&self.tx, sql, values![id]).await
    }

    async fn delete(&mut self, id: AuditWebhookId) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, "DELETE FROM audit_webhooks WHERE id = $1", values![id]).await? > 0)
    }

    async fn record_success(
        &mut self,
        state: PushState,
        cursor: i64,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let values = values![state.id, state.row_version, state.cursor, cursor, at];
        Ok(execute(&self.tx, SUCCESS, values).await? > 0)
    }

    async fn skip(&mut self, state: PushState, cursor: i64) -> Result<bool, RepositoryError> {
        let values = values![state.id, state.row_version, state.cursor, cursor];
        Ok(execute(&self.tx, SKIP, values).await? > 0)
    }

    async fn record_failure(
        &mut self,
        state: PushState,
        failure: PushFailure<'_>,
    ) -> Result<FailureStored, RepositoryError> {
        let values = values![
            state.id,
            state.row_version,
            state.cursor,
            failure.error,
            failure.at,
            failure.next_attempt_at,
            failure.alert_since,
        ];
        let alert: Option<bool> = fetch_one(&self.tx, FAILURE, values).await?;
        Ok(alert.map_or(FailureStored::Stale, |alert| FailureStored::Yes { alert }))
    }
}

#[async_trait]
impl AuditWebhookQueries for PgStore {
    async fn get_audit_webhook(&self, id: AuditWebhookId) -> Result<Option<AuditWebhookRecord>, RepositoryError> {
        select_one(&self.db, concat!(webhook_rows!(), " WHERE w.id = $1"), values![id]).await
    }

    async fn list_audit_webhooks(&self, page: PageRequest) -> Result<Page<AuditWebhookRecord>, RepositoryError> {
        List {
            rows: concat!(webhook_rows!(), " WHERE {where} ORDER BY w.name {limit}"),
            counted: "audit_webhooks w",
            filter: Filter::default(),
        }
        .page(&self.db, page)
        .await
    }

    async fn due_audit_webhooks(&self, now: DateTime<Utc>) -> Result<Vec<AuditWebhookRecord>, RepositoryError> {
        let sql = concat!(
            webhook_rows!(),
            " WHERE w.enabled AND (w.next_attempt_at IS NULL OR w.next_attempt_at <= $1) ORDER BY w.id"
        );
        select_all(&self.db, sql, values![now]).await
    }

    async fn sealed_audit_webhook(&self, id: AuditWebhookId) -> Result<Option<SealedWebhook>, RepositoryError> {
        let sql = "SELECT secret, headers FROM audit_webhooks WHERE id = $1";
        let Some(found) = row(&self.db, sql, values![id]).await? else {
            return Ok(None);
        };
        Ok(Some(SealedWebhook {
            secret: found.try_get_by_index(0).map_err(store_error)?,
            headers: found.try_get_by_index(1).map_err(store_error)?,
        }))
    }

    async fn mark_audit(&self) -> Result<AuditMark, RepositoryError> {
        select_one(&self.db, MARK, values![])
            .await?
            .ok_or_else(|| RepositoryError::Other("a mark is always there".into()))
    }

    async fn audit_settled(&self, transaction: i64) -> Result<bool, RepositoryError> {
        Ok(fetch_one(&self.db, SETTLED, values![transaction])
            .await?
            .unwrap_or_default())
    }

    async fn audit_push_batch(
        &self,
        filters: &PushFilters,
        after: i64,
        until: i64,
        limit: i32,
    ) -> Result<PushBatch, RepositoryError> {
        let exported = EXPORTED
            .replace("{where}", "a.id IN (SELECT id FROM picked)")
            .replace("{limit}", "");
        let actions = Texts(filters.actions.iter().map(|glob| like(glob.as_str())).collect());
        let environments = Texts::environments(filters.environments);
        let values = values![after, until, actions, environments, i64::from(limit)];
        let found = rows(&self.db, &BATCH.replace("{exported}", &exported), values).await?;
        let mut batch = PushBatch::default();
        for row in &found {
            batch.objects.push(row.try_get_by_index(0).map_err(store_error)?);
            let written: DateTime<Utc> = row.try_get_by_index(1).map_err(store_error)?;
            batch.oldest = Some(batch.oldest.map_or(written, |oldest| oldest.min(written)));
            batch.last = Some(row.try_get_by_index(2).map_err(store_error)?);
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_everything_else_is_itself() {
        assert_eq!(like("vm.*"), "vm.%");
        assert_eq!(like("*.delete_executed"), "%.delete\\_executed");
    }
}
