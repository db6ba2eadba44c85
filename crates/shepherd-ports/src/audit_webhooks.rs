//! Webhooks that audit rows are pushed to, and the rows that are due to them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::audit_webhook::{PushFilters, WebhookMethod};
use shepherd_domain::ids::AuditWebhookId;
use shepherd_domain::page::{Page, PageRequest};

use crate::crypto::Sealed;
use crate::error::RepositoryError;
use crate::systems::Changed;

/// Headers whose values are sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedHeaders {
    /// The names, which are no secret; at least one.
    pub names: Vec<String>,
    /// A JSON object of names and values.
    pub values: Sealed,
}

/// A new webhook. It begins after the newest row that can be seen when it is inserted.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.16")]
pub struct NewAuditWebhook {
    pub id: AuditWebhookId,
    pub name: String,
    pub url: String,
    pub method: WebhookMethod,
    pub headers: Option<SealedHeaders>,
    pub secret: Sealed,
    pub filters: PushFilters,
    pub batch_size: i32,
    pub flush_interval_seconds: i32,
    pub enabled: bool,
    pub created_by: ActorId,
}

/// A webhook; its secret and the values of its headers are not part of it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.16")]
pub struct AuditWebhookRecord {
    pub id: AuditWebhookId,
    pub name: String,
    pub url: String,
    pub method: WebhookMethod,
    pub header_names: Vec<String>,
    pub filters: PushFilters,
    pub batch_size: i32,
    pub flush_interval_seconds: i32,
    pub enabled: bool,
    /// The number of the last row that needs no delivery any more.
    pub cursor: i64,
    pub last_success_at: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
    pub failures: i32,
    pub failing_since: Option<DateTime<Utc>>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub created_by: ActorId,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What changes; `None` leaves a value, an inner one clears it.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the columns of domain.md §3.16")]
pub struct AuditWebhookPatch {
    pub name: Option<String>,
    pub url: Option<String>,
    pub method: Option<WebhookMethod>,
    pub headers: Option<Option<SealedHeaders>>,
    pub secret: Option<Sealed>,
    pub filters: Option<PushFilters>,
    pub batch_size: Option<i32>,
    pub flush_interval_seconds: Option<i32>,
    pub enabled: Option<bool>,
}

/// A webhook as it was read before something was sent to it. What came of sending is stored only while it is still so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushState {
    /// Which webhook.
    pub id: AuditWebhookId,
    /// Its version.
    pub row_version: i64,
    /// Its cursor.
    pub cursor: i64,
}

/// A push that failed.
#[derive(Clone, Copy, Debug)]
pub struct PushFailure<'a> {
    /// Why, in fixed words.
    pub error: &'a str,
    /// When.
    pub at: DateTime<Utc>,
    /// When it is tried again at the earliest.
    pub next_attempt_at: DateTime<Utc>,
    /// The administrators are told of webhooks that have been failing since then or longer.
    pub alert_since: DateTime<Utc>,
}

/// What became of storing a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureStored {
    /// The webhook is not as it was read any more.
    Stale,
    /// It was stored.
    Yes {
        /// Whether the administrators are to be told: long enough, and for the first time since it last worked.
        alert: bool,
    },
}

/// Writes webhooks.
#[async_trait]
pub trait AuditWebhookRepository: Send {
    /// Inserts a webhook.
    async fn insert(&mut self, webhook: &NewAuditWebhook) -> Result<(), RepositoryError>;
    /// Changes a webhook, if the row has the wanted version (when one is given). The next attempt is made at once; a
    /// webhook that is enabled again also forgets that it failed.
    async fn update(
        &mut self,
        id: AuditWebhookId,
        patch: &AuditWebhookPatch,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError>;
    /// Keeps the webhook as it is until the transaction ends, and reads it.
    async fn hold(&mut self, id: AuditWebhookId) -> Result<Option<AuditWebhookRecord>, RepositoryError>;
    /// Deletes a webhook.
    async fn delete(&mut self, id: AuditWebhookId) -> Result<bool, RepositoryError>;
    /// Moves the cursor over rows that were delivered, and forgets that it failed; `false` when the webhook is not as
    /// it was read any more.
    async fn record_success(
        &mut self,
        state: PushState,
        cursor: i64,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Moves the cursor over rows that the filters leave out; `false` as above.
    async fn skip(&mut self, state: PushState, cursor: i64) -> Result<bool, RepositoryError>;
    /// Stores a failure.
    async fn record_failure(
        &mut self,
        state: PushState,
        failure: PushFailure<'_>,
    ) -> Result<FailureStored, RepositoryError>;
}

/// The sealed columns of a webhook.
#[derive(Clone, Debug)]
pub struct SealedWebhook {
    /// The signing secret.
    pub secret: Vec<u8>,
    /// A JSON object of header names and values.
    pub headers: Option<Vec<u8>>,
}

/// The newest row that can be seen, and a transaction that began after all that may still add rows before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct AuditMark {
    /// Number of the row; 0 when there is none.
    pub newest: i64,
    /// Id of the transaction.
    pub transaction: i64,
}

/// Rows that a webhook lets through, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushBatch {
    /// The exported objects of notifications-audit.md §9, each as JSON text.
    pub objects: Vec<String>,
    /// When the oldest of them was written.
    pub oldest: Option<DateTime<Utc>>,
    /// Number of the last one.
    pub last: Option<i64>,
}

/// Reads webhooks and what is due to them.
#[async_trait]
pub trait AuditWebhookQueries: Send + Sync {
    /// One webhook.
    async fn get_audit_webhook(&self, id: AuditWebhookId) -> Result<Option<AuditWebhookRecord>, RepositoryError>;
    /// All webhooks, by name.
    async fn list_audit_webhooks(&self, page: PageRequest) -> Result<Page<AuditWebhookRecord>, RepositoryError>;
    /// Enabled webhooks that do not wait for another attempt, by id.
    async fn due_audit_webhooks(&self, now: DateTime<Utc>) -> Result<Vec<AuditWebhookRecord>, RepositoryError>;
    /// The sealed columns.
    async fn sealed_audit_webhook(&self, id: AuditWebhookId) -> Result<Option<SealedWebhook>, RepositoryError>;
    /// Marks where the log stands.
    async fn mark_audit(&self) -> Result<AuditMark, RepositoryError>;
    /// Whether all transactions up to this one have ended. Then no row can appear any more that comes before the mark.
    async fn audit_settled(&self, transaction: i64) -> Result<bool, RepositoryError>;
    /// At most `limit` rows after `after`, up to `until`, that the filters let through.
    async fn audit_push_batch(
        &self,
        filters: &PushFilters,
        after: i64,
        until: i64,
        limit: i32,
    ) -> Result<PushBatch, RepositoryError>;
}
