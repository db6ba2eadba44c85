//! Runs of the reconciler and what they found.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::ActorId;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{ClusterId, FindingId, ReconcilerRunId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::reconciler::{FindingKind, ReconcilerMode, RunStatus, SkipReason};

use crate::error::RepositoryError;

/// Silence after which a run counts as dead: nobody works on it, and it excludes no other.
pub const DEAD_AFTER_SECONDS: i64 = 120;

/// A new run.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Row id.
    pub id: ReconcilerRunId,
    /// What it does about what it finds.
    pub mode: ReconcilerMode,
    /// One cluster, or all of them.
    pub cluster: Option<ClusterId>,
    /// Who asked for it.
    pub started_by: ActorId,
    /// Whether whoever starts it works on it at once, so that no worker takes it.
    pub claimed: bool,
}

/// Whether a run may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStart {
    /// It is there.
    Started,
    /// This one looks at the same cluster.
    Excluded(ReconcilerRunId),
}

/// A cluster that a run did not compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Its name.
    pub cluster: String,
    /// Why.
    pub reason: SkipReason,
}

/// A run.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.17")]
pub struct RunRecord {
    pub id: ReconcilerRunId,
    pub mode: ReconcilerMode,
    pub cluster_id: Option<ClusterId>,
    pub status: RunStatus,
    pub examined: u32,
    pub ghosts: u32,
    pub orphans: u32,
    pub skipped: Vec<Skipped>,
    pub halted_cluster_ids: Vec<ClusterId>,
    pub error: Option<String>,
    pub started_by: ActorId,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// A finding.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.17")]
pub struct FindingRecord {
    pub id: FindingId,
    pub kind: FindingKind,
    pub cluster_id: ClusterId,
    /// None when the cluster is no longer registered.
    pub cluster_name: Option<String>,
    pub namespace: String,
    pub name: String,
    pub vm_id: Option<VmId>,
    pub details: Value,
}

/// A row that a run looks for on its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ExaminedVm {
    /// The row.
    pub id: VmId,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Object name.
    pub name: String,
    /// Uid of the object that was seen, if one was.
    pub uid: Option<String>,
}

/// A row whose object is missing.
#[derive(Clone, Debug, Serialize)]
pub struct Ghost {
    /// Id of the finding.
    pub id: FindingId,
    /// The row.
    pub vm_id: VmId,
    /// Uid of the object that was seen when the run began, if one was.
    pub uid: Option<String>,
}

/// An object that carries the platform's label and has no row.
#[derive(Clone, Debug, Serialize)]
pub struct Orphan {
    /// Id of the finding.
    pub id: FindingId,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Object name.
    pub name: String,
    /// Why it has no row, and whose it claims to be.
    pub details: Value,
}

/// What a run found on one cluster.
#[derive(Clone, Debug)]
pub struct ClusterFindings {
    /// The cluster.
    pub cluster: ClusterId,
    /// How many rows were looked for.
    pub examined: u32,
    /// Rows without object; empty when the cluster was halted.
    pub ghosts: Vec<Ghost>,
    /// Objects without row.
    pub orphans: Vec<Orphan>,
    /// Whether too many rows were missing to believe it.
    pub halted: bool,
}

/// Writes runs of the reconciler and what they found.
#[async_trait]
pub trait ReconcilerRepository: Send {
    /// Begins a run unless one that is not dead looks at the same cluster; runs that are dead become FAILED first.
    async fn start(&mut self, run: &NewRun) -> Result<RunStart, RepositoryError>;
    /// The same for a scheduled run of all clusters, once the last one that `run.started_by` began, or else the
    /// registration of the first cluster, is `interval` seconds ago; `false` when it is not, or another run excludes
    /// it. Time is the database's own.
    async fn start_if_due(&mut self, run: &NewRun, interval: i64) -> Result<bool, RepositoryError>;
    /// Takes the runs that wait for a worker; of several who ask, one gets a run. Runs that are dead become FAILED.
    async fn claim(&mut self) -> Result<Vec<RunRecord>, RepositoryError>;
    /// Notes that somebody works on the run; `false` when it is no longer RUNNING.
    async fn beat(&mut self, id: ReconcilerRunId) -> Result<bool, RepositoryError>;
    /// Keeps what was found on a cluster, if the run is still RUNNING: findings, counts, and with [`ReconcilerMode::Mark`]
    /// the marks of rows that still qualify; marks of the cluster that no longer hold are taken away. On a halted
    /// cluster no mark changes. Rows that no longer qualify are not findings either. `false` when the run is not
    /// RUNNING, and nothing was kept.
    async fn record(
        &mut self,
        id: ReconcilerRunId,
        mode: ReconcilerMode,
        found: &ClusterFindings,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Notes that a cluster was not compared, if the run is still RUNNING.
    async fn skip(&mut self, id: ReconcilerRunId, skipped: &Skipped) -> Result<bool, RepositoryError>;
    /// Ends the run: FAILED with an error, else HALTED when a cluster was, else COMPLETED. `None` when it is not
    /// RUNNING.
    async fn finish(
        &mut self,
        id: ReconcilerRunId,
        error: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<Option<RunStatus>, RepositoryError>;
}

/// Reads runs of the reconciler and what they found.
#[async_trait]
pub trait ReconcilerQueries: Send + Sync {
    /// Runs that are visible within these environments, newest first. A run of one cluster is of the environment of
    /// that cluster, any other one of all environments.
    async fn list_runs(&self, visible: EnvironmentSet, page: PageRequest) -> Result<Page<RunRecord>, RepositoryError>;
    /// One run, by the same rule.
    async fn get_run(&self, visible: EnvironmentSet, id: ReconcilerRunId)
    -> Result<Option<RunRecord>, RepositoryError>;
    /// Findings of a kind, by cluster, namespace and name.
    async fn list_findings(
        &self,
        run: ReconcilerRunId,
        kind: FindingKind,
        page: PageRequest,
    ) -> Result<Page<FindingRecord>, RepositoryError>;
    /// The rows of a cluster that a run looks for: not DELETING, not CREATING under an open ticket, and 10 minutes
    /// old.
    async fn examined(&self, cluster: ClusterId) -> Result<Vec<ExaminedVm>, RepositoryError>;
}
