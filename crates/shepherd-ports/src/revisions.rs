//! Revisions of machines. They are written by [`crate::vms::VmRepository`], in the transaction of the change.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use shepherd_domain::ActorId;
use shepherd_domain::ids::{RevisionId, TicketId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::RequestType;

use crate::error::RepositoryError;

/// A revision without its document.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.4")]
pub struct RevisionRecord {
    pub id: RevisionId,
    pub vm_id: VmId,
    pub vm_name: String,
    pub revision: i32,
    pub spec_sha256: String,
    pub change_reason: Option<String>,
    pub ticket_id: Option<TicketId>,
    pub changed_by: ActorId,
    pub created_at: DateTime<Utc>,
}

/// A revision with its document.
#[derive(Clone, Debug)]
pub struct StoredRevision {
    /// What is said about it.
    pub record: RevisionRecord,
    /// zstd-compressed canonical YAML.
    pub snapshot: Vec<u8>,
}

/// The request that gave a machine the numbers it has.
#[derive(Clone, Debug, Deserialize)]
pub struct ShapedBy {
    /// CREATE_VM or MODIFY_VM.
    pub request_type: RequestType,
    /// The spec that was carried out.
    pub spec: Value,
    /// The size it was carried out with.
    pub instance_size_snapshot: Value,
}

/// Reads revisions. They outlive their machine.
#[async_trait]
pub trait RevisionQueries: Send + Sync {
    /// Revisions of a machine, newest first.
    async fn list_revisions(&self, vm: VmId, page: PageRequest) -> Result<Page<RevisionRecord>, RepositoryError>;
    /// One revision of a machine.
    async fn get_revision(&self, vm: VmId, revision: i32) -> Result<Option<StoredRevision>, RepositoryError>;
    /// What a ticket changed, oldest first; the way to the history of a machine that is gone.
    async fn revisions_of_ticket(&self, ticket: TicketId) -> Result<Vec<RevisionRecord>, RepositoryError>;
    /// The number of the newest revision of a machine; 0 when it has none.
    async fn newest_revision(&self, vm: VmId) -> Result<i32, RepositoryError>;
    /// The newest request that made or modified the machine and was carried out.
    async fn shaped_by(&self, vm: VmId) -> Result<Option<ShapedBy>, RepositoryError>;
}
