//! Clones of machines.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::ids::{CloneId, ServiceId, TicketId, VmId};
use shepherd_domain::infrastructure::ClonePhase;

use crate::error::RepositoryError;
use crate::namespaces::NamespaceRecord;
use crate::tickets::ServiceFacts;

/// A clone that is to be made, from its approval on.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.17")]
pub struct NewClone {
    pub id: CloneId,
    pub source_vm_id: VmId,
    pub target_vm_id: VmId,
    pub k8s_name: String,
    pub start_after_clone: bool,
    pub ticket_id: TicketId,
    pub created_by: ActorId,
}

/// The row of a machine that a clone makes. Everything that is not named here it has from its source.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.3")]
pub struct NewCopy {
    pub id: VmId,
    pub source: VmId,
    pub service_id: ServiceId,
    pub name: String,
    pub instance_index: i32,
    pub instance: String,
    pub ticket_id: TicketId,
    pub created_by: ActorId,
}

/// A stored clone. The machines may be gone.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.17")]
pub struct CloneRecord {
    pub id: CloneId,
    pub source_vm_id: VmId,
    pub target_vm_id: Option<VmId>,
    pub k8s_name: String,
    pub phase: ClonePhase,
    pub start_after_clone: bool,
    pub error: Option<String>,
    pub ticket_id: TicketId,
    pub created_by: ActorId,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
}

/// What the checks of a clone request need, read in one statement.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct CloneFacts {
    /// The Service of the new machine, when it exists.
    pub service: Option<ServiceFacts>,
    /// The registered namespace. Its `vm_count` is not counted.
    pub namespace: Option<NamespaceRecord>,
}

/// Writes clones of machines.
#[async_trait]
pub trait CloneRepository: Send {
    /// Inserts one in PENDING.
    async fn insert(&mut self, clone: &NewClone) -> Result<(), RepositoryError>;
    /// Inserts the row of the new machine in CREATING; `false` when another machine of the namespace has the name, or
    /// the source is gone.
    async fn insert_copy(&mut self, copy: &NewCopy) -> Result<bool, RepositoryError>;
    /// Notes how far it is, and why it failed (at most 512 characters are kept). A phase that is final stays.
    async fn note_phase(
        &mut self,
        id: CloneId,
        phase: ClonePhase,
        error: Option<&str>,
    ) -> Result<bool, RepositoryError>;
}

/// Reads clones of machines.
#[async_trait]
pub trait CloneQueries: Send + Sync {
    /// One clone, whoever asks.
    async fn get_clone(&self, id: CloneId) -> Result<Option<CloneRecord>, RepositoryError>;
    /// The clone that makes a machine.
    async fn clone_making(&self, target: VmId) -> Result<Option<CloneRecord>, RepositoryError>;
    /// What the checks of a clone request need.
    async fn clone_facts(&self, service: ServiceId, namespace: &str) -> Result<CloneFacts, RepositoryError>;
}
