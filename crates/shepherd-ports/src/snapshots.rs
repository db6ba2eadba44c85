//! Snapshots of machines.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::ids::{SnapshotId, TicketId, VmId};
use shepherd_domain::page::{Page, PageRequest};

use crate::error::RepositoryError;

/// A snapshot that is to be taken, made at approval.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.17")]
pub struct NewSnapshot {
    pub id: SnapshotId,
    pub vm_id: VmId,
    pub name: String,
    pub k8s_name: String,
    pub ticket_id: TicketId,
    pub created_by: ActorId,
}

/// A stored snapshot.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.17")]
pub struct SnapshotRecord {
    pub id: SnapshotId,
    pub vm_id: VmId,
    pub name: String,
    pub ready: bool,
    pub k8s_name: String,
    pub k8s_uid: Option<String>,
    pub error: Option<String>,
    pub ticket_id: Option<TicketId>,
    pub created_by: ActorId,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
}

/// Writes snapshots of machines.
#[async_trait]
pub trait SnapshotRepository: Send {
    /// Inserts one that is not ready; the constraint `uq_vm_snapshots_name` keeps names of one machine apart.
    async fn insert(&mut self, snapshot: &NewSnapshot) -> Result<(), RepositoryError>;
    /// Notes which object on the cluster it is; the first one stays.
    async fn note_object(&mut self, id: SnapshotId, uid: &str) -> Result<(), RepositoryError>;
    /// Notes that it can be restored from, or why it cannot (at most 512 characters are kept).
    async fn settle(&mut self, id: SnapshotId, ready: bool, error: Option<&str>) -> Result<bool, RepositoryError>;
    /// Deletes a row; whoever does holds the ticket, which is the guard.
    async fn delete(&mut self, id: SnapshotId) -> Result<bool, RepositoryError>;
}

/// Reads snapshots of machines.
#[async_trait]
pub trait SnapshotQueries: Send + Sync {
    /// One snapshot, whoever asks.
    async fn get_snapshot(&self, id: SnapshotId) -> Result<Option<SnapshotRecord>, RepositoryError>;
    /// Snapshots of a machine, newest first.
    async fn list_snapshots(&self, vm: VmId, page: PageRequest) -> Result<Page<SnapshotRecord>, RepositoryError>;
    /// All snapshots of a machine, newest first.
    async fn snapshots_of(&self, vm: VmId) -> Result<Vec<SnapshotRecord>, RepositoryError>;
}
