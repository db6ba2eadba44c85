//! Legal holds on audit rows.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::audit::HoldFilter;
use shepherd_domain::ids::LegalHoldId;
use shepherd_domain::page::{Page, PageRequest};

use crate::error::RepositoryError;

/// A stored hold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.16")]
pub struct LegalHoldRecord {
    pub id: LegalHoldId,
    pub name: String,
    /// Column and value; a row that equals all of them is kept. Empty keeps every row.
    pub filter: BTreeMap<String, String>,
    pub created_by: ActorId,
    pub created_at: DateTime<Utc>,
    /// From then on it keeps nothing any more.
    pub released_at: Option<DateTime<Utc>>,
    pub row_version: i64,
}

/// A hold to be made.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.16")]
pub struct NewLegalHold {
    pub id: LegalHoldId,
    pub name: String,
    pub filter: HoldFilter,
    pub created_by: ActorId,
    pub at: DateTime<Utc>,
}

/// Writes legal holds.
#[async_trait]
pub trait LegalHoldRepository: Send {
    /// Adds a hold. It waits for a purge that is running, and a later one sees it. The name is unique:
    /// `uq_audit_legal_holds_name`.
    async fn insert(&mut self, hold: &NewLegalHold) -> Result<(), RepositoryError>;

    /// Ends a hold; `false` when it is not there or ended before.
    async fn release(&mut self, id: LegalHoldId, at: DateTime<Utc>) -> Result<bool, RepositoryError>;
}

/// Reads legal holds.
#[async_trait]
pub trait LegalHoldQueries: Send + Sync {
    /// Newest first, released ones too.
    async fn list_legal_holds(&self, page: PageRequest) -> Result<Page<LegalHoldRecord>, RepositoryError>;

    /// One hold.
    async fn get_legal_hold(&self, id: LegalHoldId) -> Result<Option<LegalHoldRecord>, RepositoryError>;
}
