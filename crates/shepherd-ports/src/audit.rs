//! The audit log.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use shepherd_domain::audit::{AuditEntry, RetentionDays};
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

/// Appends; nothing else is possible.
#[async_trait]
pub trait AuditRepository: Send {
    /// Appends rows in the given order.
    async fn append(
        &mut self,
        entries: &[(AuditId, AuditEntry)],
        stamp: &AuditStamp<'_>,
    ) -> Result<(), RepositoryError>;
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
    /// An action, or a prefix when it ends with `*`.
    pub action: Option<String>,
    pub action_code: Option<String>,
    pub actor: Option<String>,
    pub resource_type: Option<String>,
    pub resource_id: Option<String>,
    pub ticket_id: Option<TicketId>,
    pub environment: Option<Environment>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// Rows with an environment are shown only within these.
    pub visible: EnvironmentSet,
}

/// Reads the log.
#[async_trait]
pub trait AuditQueries: Send + Sync {
    /// Newest first, completed by id.
    async fn list_audit(&self, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditRecord>, RepositoryError>;
}
