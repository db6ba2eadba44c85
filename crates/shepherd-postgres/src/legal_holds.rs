//! Legal holds on audit rows.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ids::LegalHoldId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::legal_holds::{LegalHoldQueries, LegalHoldRecord, LegalHoldRepository, NewLegalHold};

use crate::statement::{Filter, List, execute, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

/// The trigger `trg_audit_legal_holds_wait` waits for a purge.
const INSERT: &str =
    "INSERT INTO audit_legal_holds (id, name, filter, created_by, created_at) VALUES ($1, $2, $3, $4, $5)";

const RELEASE: &str = "UPDATE audit_legal_holds SET released_at = $2 WHERE id = $1 AND released_at IS NULL";

const ROWS: &str = "SELECT h.id, h.name, h.filter, h.created_by, h.created_at, h.released_at, h.row_version \
     FROM audit_legal_holds h WHERE {where} ORDER BY h.created_at DESC, h.id DESC {limit}";

const ONE: &str = "SELECT h.id, h.name, h.filter, h.created_by, h.created_at, h.released_at, h.row_version \
     FROM audit_legal_holds h WHERE {where}";

#[async_trait]
impl LegalHoldRepository for PgUnitOfWork {
    async fn insert(&mut self, hold: &NewLegalHold) -> Result<(), RepositoryError> {
        let values = values![hold.id, hold.name, hold.filter.to_value(), hold.created_by, hold.at];
        execute(&self.tx, INSERT, values).await.map(drop)
    }

    async fn release(&mut self, id: LegalHoldId, at: DateTime<Utc>) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, RELEASE, values![id, at]).await? == 1)
    }
}

#[async_trait]
impl LegalHoldQueries for PgStore {
    async fn list_legal_holds(&self, page: PageRequest) -> Result<Page<LegalHoldRecord>, RepositoryError> {
        List {
            rows: ROWS,
            counted: "audit_legal_holds h",
            filter: Filter::default(),
        }
        .page(&self.db, page)
        .await
    }

    async fn get_legal_hold(&self, id: LegalHoldId) -> Result<Option<LegalHoldRecord>, RepositoryError> {
        let mut wanted = Filter::default();
        wanted.and("h.id = ?", values![id]);
        wanted.first(&self.db, ONE).await
    }
}
