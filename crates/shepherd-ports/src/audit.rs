//! The audit log.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use shepherd_domain::audit::{ActionPattern, AuditAction, AuditEntry, RetentionClass, RetentionDays};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{AuditId, TicketId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::{ActorId, Environment};

use crate::context::RequestContext;
use crate::error::RepositoryError;

/// Where and when an audit row is written.
#[derive(Clone, Debug)]
pub struct AuditStamp<'a> {
    /// Who and from where.
    pub context: &'a RequestContext,
    /// When.
    pub at: DateTime<Utc>,
    /// How long rows stay.
    pub retention: RetentionDays,
}

/// How many rows of a class were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Purged {
    /// The class.
    pub class: RetentionClass,
    /// Rows.
    pub rows: u64,
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Noted {
    /// What it is about.
    pub resource_id: String,
    /// Its number. Of rows that are noted one after the other the later one has the larger number, whatever clocks say.
    pub seq: i64,
    /// When it was written, by the clock of whoever wrote it.
    pub performed_at: DateTime<Utc>,
}

/// Appends, and removes what has served its time; nothing else is possible.
#[async_trait]
pub trait AuditRepository: Send {
    /// Appends rows in the given order.
    async fn append(
        &mut self,
        entries: &[(AuditId, AuditEntry)],
        stamp: &AuditStamp<'_>,
    ) -> Result<(), RepositoryError>;

    /// The row of this action that was written last, of those since a moment; `None` without one. Nobody else is told
    /// about the same action before the transaction ends, so that of several who ask and then append only one does.
    async fn last_noted(&mut self, action: AuditAction, since: DateTime<Utc>)
    -> Result<Option<Noted>, RepositoryError>;

    /// Removes at most `batch` rows (1 to 100,000) that are past their retention and under no legal hold; answers how
    /// many of each class, and nothing when there are none. Who makes a hold meanwhile waits for the end of the
    /// transaction. Fails where [`AuditQueries::purge_available`] says no.
    async fn purge(&mut self, batch: u32) -> Result<Vec<Purged>, RepositoryError>;
}

/// A stored row.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of notifications-audit.md §6")]
pub struct AuditRecord {
    pub id: AuditId,
    pub action: String,
    pub action_code: String,
    pub resource_type: String,
    pub resource_id: String,
    pub resource_name: Option<String>,
    pub performed_by: ActorId,
    pub performed_by_name: Option<String>,
    pub performed_at: DateTime<Utc>,
    pub ticket_id: Option<TicketId>,
    pub environment: Option<Environment>,
    pub params: Value,
    pub outcome: String,
    pub request_id: Option<String>,
    pub ip: Option<String>,
}

/// Filters of the audit list; all given ones must hold.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the columns of notifications-audit.md §6")]
pub struct AuditFilter {
    pub action: Option<ActionPattern>,
    pub action_code: Option<String>,
    pub actor: Option<String>,
    pub resource_type: Option<String>,
    pub resource_id: Option<String>,
    pub ticket_id: Option<TicketId>,
    pub environment: Option<Environment>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// Rows with an environment are shown only within these, and no row at all when there is none.
    pub visible: EnvironmentSet,
}

/// A row of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportPosition {
    /// When it was written.
    pub performed_at: DateTime<Utc>,
    /// Its id, which completes the order.
    pub id: AuditId,
}

/// Rows of an export that follow each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExportBatch {
    /// The exported objects of notifications-audit.md §9, each as JSON text in one line.
    pub objects: Vec<String>,
    /// The last of the rows; none when there is none.
    pub last: Option<ExportPosition>,
}

/// Reads the log: newest first, completed by id, descending too.
#[async_trait]
pub trait AuditQueries: Send + Sync {
    /// One page.
    async fn list_audit(&self, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditRecord>, RepositoryError>;

    /// One page of exported objects, each as JSON text.
    async fn export_audit_page(&self, filter: &AuditFilter, page: PageRequest)
    -> Result<Page<String>, RepositoryError>;

    /// At most `limit` rows of an export that follow `after`, or its first ones. Rows that are written meanwhile move
    /// none of those that follow, whatever the time between two batches.
    async fn export_audit_batch(
        &self,
        filter: &AuditFilter,
        after: Option<ExportPosition>,
        limit: u32,
    ) -> Result<ExportBatch, RepositoryError>;

    /// Whether audit rows can be removed at all: the function that may do so is there, belongs to the retention role
    /// and may be called.
    async fn purge_available(&self) -> Result<bool, RepositoryError>;
}
