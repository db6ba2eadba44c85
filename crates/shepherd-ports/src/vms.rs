//! Virtual machine rows, their projection and their revisions.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::access::Visibility;
use shepherd_domain::cluster::{ClusterStatus, WatchState};
use shepherd_domain::ids::{ClusterId, InstanceSizeId, RevisionId, ServiceId, SystemId, TemplateId, TicketId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::transition::Transition;
use shepherd_domain::vm::{ObservedVm, VmStatus};
use shepherd_domain::{ActorId, Environment};

use crate::error::RepositoryError;
use crate::leases::Lease;

/// A new machine row, made at approval.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.3")]
pub struct NewVm {
    pub id: VmId,
    pub service_id: ServiceId,
    pub name: String,
    pub instance_index: i32,
    pub instance: String,
    pub namespace: String,
    pub cluster_id: ClusterId,
    pub ticket_id: TicketId,
    pub created_by: ActorId,
    pub template_id: TemplateId,
    pub template_version: i32,
    pub instance_size_id: InstanceSizeId,
    pub disk_gb: i32,
    pub cpu_cores: i32,
    pub memory_mb: i32,
    pub storage_class: Option<String>,
}

/// A machine with the names around it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.3")]
pub struct VmRecord {
    pub id: VmId,
    pub name: String,
    pub namespace: String,
    pub environment: Environment,
    pub cluster_id: ClusterId,
    pub cluster_name: String,
    pub cluster_status: ClusterStatus,
    pub watch_state: WatchState,
    pub status: VmStatus,
    pub status_reason: Option<String>,
    pub status_message: Option<String>,
    pub observed_at: Option<DateTime<Utc>>,
    pub k8s_uid: Option<String>,
    pub hostname: String,
    pub ip_address: Option<String>,
    pub node_name: Option<String>,
    pub system_id: SystemId,
    pub system_name: String,
    pub service_id: ServiceId,
    pub service_name: String,
    pub instance: String,
    pub ticket_id: Option<TicketId>,
    pub ticket_failed: bool,
    pub cpu_cores: Option<i32>,
    pub memory_mb: Option<i32>,
    pub disk_gb: Option<i32>,
    pub template_id: Option<TemplateId>,
    pub template_version: Option<i32>,
    pub instance_size_id: Option<InstanceSizeId>,
    pub storage_class: Option<String>,
    pub restart_required: bool,
    pub created_by: ActorId,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What a modification can change about a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of domain.md §3.3")]
pub struct VmShape {
    pub instance_size_id: InstanceSizeId,
    pub disk_gb: i32,
    pub cpu_cores: i32,
    pub memory_mb: i32,
}

/// A revision: what was applied.
#[derive(Clone, Debug)]
pub struct NewRevision {
    /// Row id.
    pub id: RevisionId,
    /// The machine.
    pub vm_id: VmId,
    /// Its name at that time.
    pub vm_name: String,
    /// zstd-compressed canonical YAML.
    pub snapshot: Vec<u8>,
    /// SHA-256 of the YAML, hex.
    pub sha256: String,
    /// Why it changed.
    pub reason: Option<String>,
    /// The ticket that changed it.
    pub ticket_id: Option<TicketId>,
    /// Who asked for the change.
    pub changed_by: ActorId,
}

/// What was seen of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// It is there, like this, at its resource version.
    Present(Box<ObservedVm>),
    /// A full list shows it like this. That counts whatever was observed before: a cluster that was restored from a
    /// backup begins again at older versions.
    Listed(Box<ObservedVm>),
    /// It is gone.
    Gone {
        /// Kubernetes namespace.
        namespace: String,
        /// Object name.
        name: String,
        /// Object uid.
        uid: String,
    },
}

impl Sighting {
    /// The uid of the object.
    pub fn uid(&self) -> &str {
        match self {
            Self::Present(vm) | Self::Listed(vm) => &vm.uid,
            Self::Gone { uid, .. } => uid,
        }
    }
}

/// What a projection changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projected {
    /// The row.
    pub vm: VmId,
    /// Its name.
    pub name: String,
    /// The status before.
    pub before: VmStatus,
    /// The status now.
    pub after: VmStatus,
    /// Whether it is RUNNING for the first time.
    pub first_running: bool,
    /// `created_by`.
    pub owner: ActorId,
    /// Its System.
    pub system: SystemId,
    /// `status_reason` now.
    pub reason: Option<String>,
    /// Whether the platform was asked to stop or restart it lately.
    pub stop_asked: bool,
}

/// Writes machines.
#[async_trait]
pub trait VmRepository: Send {
    /// Inserts a row in CREATING; `false` when another machine of the namespace has the name.
    async fn insert(&mut self, vm: &NewVm) -> Result<bool, RepositoryError>;
    /// Moves a row, if it is where the transition starts; `false` when it is not.
    async fn transition(
        &mut self,
        id: VmId,
        step: Transition<VmStatus>,
        reason: Option<&str>,
        message: Option<&str>,
    ) -> Result<bool, RepositoryError>;
    /// Reads a row within the transaction.
    async fn find(&mut self, id: VmId) -> Result<Option<VmRecord>, RepositoryError>;
    /// Keeps the row as it is until the transaction ends, and reads it.
    async fn hold(&mut self, id: VmId) -> Result<Option<VmRecord>, RepositoryError>;
    /// Writes what was seen of a cluster's machines, in the order of resource versions and only under a lease that is
    /// still held; answers what changed. Nothing is written for a machine about which nothing is new, whose row has
    /// seen something newer, or whose row is not this object's. A machine that is gone is UNKNOWN with
    /// OBJECT_MISSING, unless a delete is under way. Any number of machines costs the same few statements.
    async fn project(
        &mut self,
        cluster: ClusterId,
        sightings: &[Sighting],
        at: DateTime<Utc>,
        lease: &Lease,
    ) -> Result<Vec<Projected>, RepositoryError>;
    /// Notes the uid of the object that was made for the row; another one than before is observed anew.
    async fn set_uid(&mut self, id: VmId, uid: &str) -> Result<(), RepositoryError>;
    /// Writes what a machine was modified to.
    async fn reshape(&mut self, id: VmId, shape: &VmShape) -> Result<(), RepositoryError>;
    /// Appends a revision unless the newest one has the same content; answers its number. Revisions of one machine are
    /// numbered one after another, because its row is held.
    async fn add_revision(&mut self, revision: &NewRevision) -> Result<Option<i32>, RepositoryError>;
    /// Deletes a row; whoever does holds its delete ticket, which is the guard.
    async fn delete(&mut self, id: VmId) -> Result<bool, RepositoryError>;
}

/// Filters of the machine list.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the query parameters of api.md §4")]
pub struct VmFilter {
    pub namespace: Option<String>,
    pub status: Option<VmStatus>,
    pub environment: Option<Environment>,
    pub system_id: Option<SystemId>,
    pub service_id: Option<ServiceId>,
    pub cluster_id: Option<ClusterId>,
    pub q: Option<String>,
}

/// How a list of machines is ordered; completed by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VmSort {
    /// By time of creation.
    #[default]
    CreatedAt,
    /// By name.
    Name,
    /// By status.
    Status,
}

/// A row that a watcher expects to find on its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ExpectedVm {
    /// Object name.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Uid of the object that was seen.
    pub uid: String,
}

/// Reads machines.
#[async_trait]
pub trait VmQueries: Send + Sync {
    /// One machine, whoever asks.
    async fn get_vm(&self, id: VmId) -> Result<Option<VmRecord>, RepositoryError>;
    /// Visible machines.
    async fn list_vms(
        &self,
        visibility: &Visibility,
        filter: &VmFilter,
        sort: VmSort,
        descending: bool,
        page: PageRequest,
    ) -> Result<Page<VmRecord>, RepositoryError>;
    /// Rows of a cluster whose object has been seen, for the comparison with a full list.
    async fn expected_on(&self, cluster: ClusterId) -> Result<Vec<ExpectedVm>, RepositoryError>;
}
