//! Machines on clusters that nobody has a row for, and what is decided about them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::adoption::{AdoptionStatus, Claim, Surroundings};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{AdoptionId, ClusterId, ServiceId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::vm::{ObservedVm, VmStatus};
use shepherd_domain::{ActorId, Environment};

use crate::error::RepositoryError;

/// A machine that could be adopted, as a scan found it.
#[derive(Clone, Debug, Serialize)]
pub struct AdoptionCandidate {
    /// Row id, when it is found for the first time.
    pub id: AdoptionId,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Object name.
    pub resource_name: String,
    /// Object uid.
    pub k8s_uid: String,
    /// Whose it claims to be.
    #[serde(flatten)]
    pub claim: Claim,
    /// What is known of it.
    pub resource_spec: Value,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
}

/// A stored candidate.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.17")]
pub struct AdoptionRecord {
    pub id: AdoptionId,
    pub cluster_id: ClusterId,
    pub cluster_name: String,
    /// Of the cluster.
    pub environment: Environment,
    pub namespace: String,
    pub resource_name: String,
    pub resource_type: String,
    pub k8s_uid: String,
    pub system: String,
    pub service: String,
    pub instance: String,
    pub labels: BTreeMap<String, String>,
    pub status: AdoptionStatus,
    pub last_seen_at: DateTime<Utc>,
    pub decided_by: Option<ActorId>,
    pub decided_at: Option<DateTime<Utc>>,
    pub vm_id: Option<VmId>,
    pub created_at: DateTime<Utc>,
}

/// A machine row made for an object that was there before.
#[derive(Clone, Debug)]
pub struct AdoptedVm {
    /// The row.
    pub id: VmId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Whose it claims to be.
    pub claim: Claim,
    /// Who adopts it, and owns it from now on.
    pub created_by: ActorId,
    /// What its cluster reports.
    pub observed: ObservedVm,
    /// The status that makes of it, for a machine that was never seen before.
    pub status: VmStatus,
    /// Processors of the guest.
    pub cpu_cores: Option<i32>,
    /// Memory of the guest in MiB.
    pub memory_mb: Option<i32>,
    /// Size of the root disk in GiB.
    pub disk_gb: Option<i32>,
    /// Storage class of the root disk.
    pub storage_class: Option<String>,
    /// When it was observed.
    pub at: DateTime<Utc>,
}

/// An object whose surroundings are asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Sighting {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Object name.
    pub name: String,
    /// Object uid.
    pub uid: String,
    /// The row of its annotation, when that is an id.
    pub vm_id: Option<VmId>,
    /// Whose it claims to be, when its labels say so.
    pub claim: Option<Claim>,
}

/// Writes machines on clusters that nobody has a row for, and what is decided about them.
#[async_trait]
pub trait AdoptionRepository: Send {
    /// Asks for a scan of the enabled, HEALTHY clusters of these environments, of one when it is named; answers how
    /// many there are.
    async fn request_scan(
        &mut self,
        environments: EnvironmentSet,
        cluster: Option<ClusterId>,
    ) -> Result<u32, RepositoryError>;
    /// Takes the enabled, HEALTHY clusters whose scan was asked for, or began more than `interval` seconds ago (the
    /// registration of the cluster counts as the first one); answers each with the moment its scan begins. Of several
    /// who ask, one gets a cluster. Time is the database's own.
    async fn claim_scans(&mut self, interval: i64) -> Result<Vec<(ClusterId, DateTime<Utc>)>, RepositoryError>;
    /// Notes that these machines could be adopted: new ones and those that had expired become PENDING, also ADOPTED
    /// ones whose row is gone; IGNORED ones stay so while they are the same object. What a scan that began later has
    /// noted stays, and what has a row is left out.
    async fn note_candidates(
        &mut self,
        cluster: ClusterId,
        candidates: &[AdoptionCandidate],
        began: DateTime<Utc>,
    ) -> Result<(), RepositoryError>;
    /// PENDING rows of the cluster that no scan has seen since `began` expire; answers how many. Only for a scan that
    /// saw all machines of the cluster.
    async fn expire_unseen(&mut self, cluster: ClusterId, began: DateTime<Utc>) -> Result<u64, RepositoryError>;
    /// Moves a row from PENDING to ADOPTED; `false` when it is not PENDING.
    async fn adopt(
        &mut self,
        id: AdoptionId,
        vm: VmId,
        by: &ActorId,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Moves a row from PENDING to IGNORED; `false` when it is not PENDING.
    async fn ignore(&mut self, id: AdoptionId, by: &ActorId, at: DateTime<Utc>) -> Result<bool, RepositoryError>;
    /// Moves a row from IGNORED to PENDING; `false` when it is not IGNORED.
    async fn restore(&mut self, id: AdoptionId) -> Result<bool, RepositoryError>;
    /// Keeps a Service from being changed or deleted, and from handing out numbers, until the transaction ends;
    /// `None` when there is none of these names.
    async fn hold_service(&mut self, system: &str, service: &str) -> Result<Option<ServiceId>, RepositoryError>;
    /// The next instance number of the Service becomes at least this one; numbers only grow.
    async fn raise_instance_index(&mut self, service: ServiceId, at_least: i32) -> Result<(), RepositoryError>;
    /// Inserts the row of an adopted machine of a Service. Fails by the unique constraint that it meets.
    async fn insert_vm(&mut self, vm: &AdoptedVm, service: ServiceId) -> Result<(), RepositoryError>;
    /// Writes a newer observation of a machine that was just adopted: what the watch reported before there was a row
    /// is lost. An observation that is no newer than the row changes nothing.
    async fn catch_up(
        &mut self,
        id: VmId,
        observed: &ObservedVm,
        status: VmStatus,
        at: DateTime<Utc>,
    ) -> Result<(), RepositoryError>;
}

/// Which candidates a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdoptionFilter {
    /// Of clusters of these environments.
    pub visible: EnvironmentSet,
    /// With this status.
    pub status: Option<AdoptionStatus>,
    /// Of this cluster.
    pub cluster: Option<ClusterId>,
}

/// Reads machines on clusters that nobody has a row for, and what is decided about them.
#[async_trait]
pub trait AdoptionQueries: Send + Sync {
    /// One candidate.
    async fn get_adoption(&self, id: AdoptionId) -> Result<Option<AdoptionRecord>, RepositoryError>;
    /// Candidates, newest first.
    async fn list_adoptions(
        &self,
        filter: &AdoptionFilter,
        page: PageRequest,
    ) -> Result<Page<AdoptionRecord>, RepositoryError>;
    /// What is known around objects of a cluster, in the order asked for.
    async fn surroundings(
        &self,
        cluster: ClusterId,
        sightings: &[Sighting],
    ) -> Result<Vec<Surroundings>, RepositoryError>;
}
