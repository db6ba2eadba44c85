//! Idempotency keys. The claim is an advisory lock of the transaction: it needs no row that a crash could leave.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use shepherd_domain::ids::UserId;
use shepherd_ports::RepositoryError;
use shepherd_ports::idempotency::{IdempotencyRepository, IdempotentRequest, StoredOutcome};

use crate::statement::{execute, fetch_one, select_one, values};
use crate::unit_of_work::PgUnitOfWork;

/// `status` is 0: the HTTP status follows from the operation, and is none of the transaction's business.
const STORE: &str = "INSERT INTO idempotency_keys AS k (user_id, key, method, path, request_hash, state, status, body, \
         expires_at) \
     VALUES ($1, $2, $3, $4, $5, 'DONE', 0, $6, $7::timestamptz + interval '24 hours') \
     ON CONFLICT (user_id, key) DO UPDATE SET method = excluded.method, path = excluded.path, \
         request_hash = excluded.request_hash, state = 'DONE', status = 0, body = excluded.body, \
         expires_at = excluded.expires_at \
     WHERE k.expires_at <= $7";

#[derive(Deserialize)]
struct OutcomeRow {
    request_hash: String,
    body: Value,
}

#[async_trait]
impl IdempotencyRepository for PgUnitOfWork {
    async fn claim(&mut self, user: UserId, key: &str) -> Result<bool, RepositoryError> {
        let sql = "SELECT to_jsonb(pg_try_advisory_xact_lock(hashtextextended($1::text || ':' || $2, 0))) AS doc";
        Ok(fetch_one(&self.tx, sql, values![user.to_string(), key])
            .await?
            .unwrap_or_default())
    }

    async fn find(
        &mut self,
        user: UserId,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<StoredOutcome>, RepositoryError> {
        let sql = "SELECT request_hash, body FROM idempotency_keys \
                   WHERE user_id = $1 AND key = $2 AND expires_at > $3 AND state = 'DONE'";
        let found: Option<OutcomeRow> = select_one(&self.tx, sql, values![user, key, now]).await?;
        Ok(found.map(|OutcomeRow { request_hash, body }| StoredOutcome { request_hash, body }))
    }

    async fn store(
        &mut self,
        request: &IdempotentRequest,
        body: &Value,
        now: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        let IdempotentRequest {
            user,
            key,
            method,
            path,
            request_hash,
        } = request;
        execute(
            &self.tx,
            STORE,
            values![user, key, method, path, request_hash, body, now],
        )
        .await
        .map(drop)
    }
}
