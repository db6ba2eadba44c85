//! Live migrations of machines.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::ids::{EventId, MigrationId, TicketId, VmId};
use shepherd_domain::infrastructure::{Migration, MigrationPhase};
use shepherd_domain::page::{Page, PageRequest};

use crate::error::RepositoryError;

/// A migration that is to be made, from its approval on.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.17")]
pub struct NewMigration {
    pub id: MigrationId,
    pub vm_id: VmId,
    pub k8s_name: String,
    pub ticket_id: TicketId,
    pub created_by: ActorId,
}

/// A stored migration.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.17")]
pub struct MigrationRecord {
    pub id: MigrationId,
    pub vm_id: VmId,
    pub k8s_name: String,
    pub k8s_uid: Option<String>,
    pub phase: MigrationPhase,
    pub source_node: Option<String>,
    pub target_node: Option<String>,
    pub error: Option<String>,
    pub ticket_id: TicketId,
    /// The work event of somebody who called it off.
    pub cancel_event_id: Option<EventId>,
    pub created_by: ActorId,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
}

/// Writes live migrations of machines. A phase that is final stays.
#[async_trait]
pub trait MigrationRepository: Send {
    /// Inserts one in PENDING.
    async fn insert(&mut self, migration: &NewMigration) -> Result<(), RepositoryError>;
    /// Notes what the cluster says about it; a row that would not change is not written.
    async fn observe(&mut self, id: MigrationId, seen: &Migration) -> Result<(), RepositoryError>;
    /// Reads one, which nobody else changes until the transaction ends.
    async fn hold(&mut self, id: MigrationId) -> Result<Option<MigrationRecord>, RepositoryError>;
    /// Notes how it ended, and why it failed (at most 512 characters are kept).
    async fn settle(
        &mut self,
        id: MigrationId,
        phase: MigrationPhase,
        error: Option<&str>,
    ) -> Result<bool, RepositoryError>;
    /// Notes that it is called off; `false` when it has ended or was called off before.
    async fn call_off(&mut self, id: MigrationId, event: EventId) -> Result<bool, RepositoryError>;
}

/// Reads live migrations of machines.
#[async_trait]
pub trait MigrationQueries: Send + Sync {
    /// One migration, whoever asks.
    async fn get_migration(&self, id: MigrationId) -> Result<Option<MigrationRecord>, RepositoryError>;
    /// Migrations of a machine, newest first.
    async fn list_migrations(&self, vm: VmId, page: PageRequest) -> Result<Page<MigrationRecord>, RepositoryError>;
}
