//! Idempotency keys: the same request is carried out once.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use shepherd_domain::ids::UserId;

use crate::error::RepositoryError;

/// A request that carries an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotentRequest {
    /// Whose key.
    pub user: UserId,
    /// The key, at most 128 characters.
    pub key: String,
    /// HTTP method.
    pub method: &'static str,
    /// Path of the operation.
    pub path: String,
    /// Hash over method, path and canonical body.
    pub request_hash: String,
}

/// A request that was carried out before.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredOutcome {
    /// Hash of the request that was carried out.
    pub request_hash: String,
    /// What it answered.
    pub body: Value,
}

/// Claims keys and stores outcomes in the transaction of the change itself, so that a crash leaves neither.
#[async_trait]
pub trait IdempotencyRepository: Send {
    /// Claims the key for this transaction; `false` when another transaction holds it right now.
    async fn claim(&mut self, user: UserId, key: &str) -> Result<bool, RepositoryError>;
    /// The stored outcome of the key, unless expired.
    async fn find(
        &mut self,
        user: UserId,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<StoredOutcome>, RepositoryError>;
    /// Stores the outcome, replacing an expired one.
    async fn store(
        &mut self,
        request: &IdempotentRequest,
        body: &Value,
        now: DateTime<Utc>,
    ) -> Result<(), RepositoryError>;
}
