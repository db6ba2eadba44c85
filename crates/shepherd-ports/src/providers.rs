//! Clusters, as use cases see them. Only domain types cross; Kubernetes types stay inside the provider.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::Value;
use shepherd_domain::Environment;
use shepherd_domain::cluster::ClusterFacts;
use shepherd_domain::ids::{ClusterId, EventId};
use shepherd_domain::infrastructure::{
    Clone, CloneSource, InstanceType, Marks, Migration, Preference, Restore, Snapshot, VmManifest, VmPage,
};
use shepherd_domain::rendering::{RenderInput, VmDocument};
use shepherd_domain::vm::ObservedVm;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why a call to a cluster failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The object, its namespace or its kind does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// It exists already.
    #[error("already exists: {0}")]
    AlreadyExists(String),
    /// Somebody else changed it, or it is not the object that was meant.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The credentials do not permit it.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// The server or an admission webhook refused the object.
    #[error("invalid: {message}")]
    Invalid {
        /// The server's words.
        message: String,
        /// `reason` of the Status.
        reason: String,
        /// Field and message of each cause.
        causes: Vec<(String, String)>,
    },
    /// A quota is used up.
    #[error("quota exceeded: {0}")]
    Quota(String),
    /// The server asks to slow down.
    #[error("throttled")]
    Throttled {
        /// When it says so.
        retry_after: Option<Duration>,
    },
    /// No answer in time.
    #[error("timed out: {0}")]
    Timeout(String),
    /// No connection, a broken answer, or an error of the server.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The cluster does not offer it.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The answer lacks what every object of its kind has.
    #[error("unexpected answer: {0}")]
    Schema(String),
    /// No call was made: the cluster is not registered, its credentials cannot be loaded, or no permit was free.
    #[error("not available: {0}")]
    Unavailable(String),
}

impl ProviderError {
    /// The kind, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::AlreadyExists(_) => "already_exists",
            Self::Conflict(_) => "conflict",
            Self::Forbidden(_) => "forbidden",
            Self::Invalid { .. } => "invalid",
            Self::Quota(_) => "quota",
            Self::Throttled { .. } => "throttled",
            Self::Timeout(_) => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Unsupported(_) => "unsupported",
            Self::Schema(_) => "schema",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

/// How busy a cluster is with calls of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterLoad {
    /// Calls that are under way; health checks are not counted.
    pub permits_in_use: usize,
    /// Whether the cluster is left alone.
    pub breaker_open: bool,
}

/// Whether an apply is for real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyMode {
    /// Store it; whatever others have set of it is overruled.
    Persist,
    /// Store what is not there yet: a Conflict when somebody else has made it meanwhile.
    Create,
    /// Validate it on the server and store nothing.
    DryRun,
}

/// What became of a namespace that has to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnsuredNamespace {
    /// It was there, and not made for the event that asks.
    Existed,
    /// The platform made it, with its labels: now, or earlier for the same event.
    Created,
}

/// What a watch of machines reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmWatchEvent {
    /// The version the watch stood at is gone (410). A full list follows; until it is complete, what was known may be
    /// old. Routine, and no failure.
    Expired,
    /// A full list begins; what is not repeated before [`VmWatchEvent::Listed`] is gone.
    ListBegins,
    /// An object of the list.
    InList(ObservedVm),
    /// The list is complete.
    Listed,
    /// An object was added or changed.
    Changed(ObservedVm),
    /// After an interruption the watch goes on where it was; nothing was missed.
    Resumed,
    /// An object is gone.
    Deleted {
        /// Object name.
        name: String,
        /// Kubernetes namespace.
        namespace: String,
        /// Object uid.
        uid: String,
        /// Whether its deletion had begun. Otherwise it may only have lost the platform's label.
        deleting: bool,
    },
}

/// Which machines a list is about, and how much of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// One namespace, or all of them.
    pub namespace: Option<String>,
    /// A label selector as Kubernetes writes it.
    pub label_selector: Option<String>,
    /// A field selector as Kubernetes writes it.
    pub field_selector: Option<String>,
    /// Most machines of one page.
    pub limit: Option<u32>,
    /// Where the page begins, from the page before.
    pub continue_token: Option<String>,
}

/// A machine after a modification.
#[derive(Clone, Debug)]
pub struct ModifiedVm {
    /// What the cluster reports.
    pub vm: ObservedVm,
    /// The document as it was applied, with the volumes that the machine had.
    pub document: VmDocument,
}

/// Machines on clusters.
#[async_trait]
pub trait InfrastructureProvider: Send + Sync {
    /// Name of the provider, for logs.
    fn name(&self) -> &'static str;
    /// The machine, merged with its instance; `None` when it does not exist.
    async fn get_vm(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ObservedVm>, ProviderError>;
    /// One page of machines, not merged with their instances. Conflict when the continue token is too old: the list
    /// has to be started over without one.
    async fn list_vms(&self, cluster: ClusterId, options: &ListOptions) -> Result<VmPage, ProviderError>;
    /// The machine with what is wanted of it; `None` when it does not exist.
    async fn get_manifest(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<Option<VmManifest>, ProviderError>;
    /// Lays the platform's labels and annotations over the machine, its template included, if it is still the object
    /// with this uid, and takes all labels away that are not the platform's.
    async fn mark_vm(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
        uid: &str,
        marks: &Marks,
    ) -> Result<ObservedVm, ProviderError>;
    /// Applies a document; a dry run is the same call, stored nowhere.
    async fn apply_vm(
        &self,
        cluster: ClusterId,
        document: &VmDocument,
        mode: ApplyMode,
    ) -> Result<ObservedVm, ProviderError>;
    /// Applies a document to a machine that exists, if it is still the object with this uid. What the machine stores
    /// and what its guest was initialised with stay: a volume on a data volume, on a claim or with cloud-init data is
    /// what it is, under whatever name, as restores and clones give new ones. The cloud-init Secret is left alone.
    /// Answers the document that was applied.
    async fn modify_vm(
        &self,
        cluster: ClusterId,
        document: &VmDocument,
        uid: &str,
        mode: ApplyMode,
    ) -> Result<ModifiedVm, ProviderError>;
    /// Asks for at least so many GiB on the claim of the machine's first persistent disk, if it is still the object
    /// with this uid. A claim that asks for as much or more is left alone. Invalid when there is no such disk, or its
    /// storage class cannot expand.
    async fn grow_disk(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
        uid: &str,
        size_gb: i32,
        mode: ApplyMode,
    ) -> Result<(), ProviderError>;
    /// Deletes the machine in the foreground, if it is still the object with this uid (when one is given). Absence
    /// is success.
    async fn delete_vm(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<(), ProviderError>;
    /// Starts a stopped machine.
    async fn start_vm(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError>;
    /// Stops a machine, gracefully.
    async fn stop_vm(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError>;
    /// Stops a machine and starts it again.
    async fn restart_vm(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError>;
    /// Freezes a running machine in memory.
    async fn pause_vm(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError>;
    /// Lets a paused machine go on.
    async fn unpause_vm(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError>;
    /// Whether calls to the cluster are refused here and now, because too many of them failed in a row.
    fn breaker_open(&self, cluster: ClusterId) -> bool;
    /// How busy the cluster is with calls of this process; a provider that does not count them says so by 0.
    fn load(&self, cluster: ClusterId) -> ClusterLoad {
        ClusterLoad {
            breaker_open: self.breaker_open(cluster),
            ..ClusterLoad::default()
        }
    }
    /// Whether a namespace exists.
    async fn namespace_exists(&self, cluster: ClusterId, namespace: &str) -> Result<bool, ProviderError>;
    /// Makes the namespace with the platform's labels unless it exists. One that is made for an event carries its id,
    /// so that every attempt at the event is told that the namespace was created, also when an earlier one made it.
    async fn ensure_namespace(
        &self,
        cluster: ClusterId,
        namespace: &str,
        environment: Environment,
        event: Option<EventId>,
    ) -> Result<EnsuredNamespace, ProviderError>;
    /// Watches the platform's machines: a full list first, then changes, then full lists again whenever the watch was
    /// lost. Ends only with the process; errors are reported and followed by back-off inside.
    async fn watch_vms(
        &self,
        cluster: ClusterId,
    ) -> Result<BoxStream<'static, Result<VmWatchEvent, ProviderError>>, ProviderError>;
    /// Says that a cluster got other credentials or limits, or that it was deleted: the next call looks again.
    fn invalidate(&self, cluster: ClusterId);
    /// The same for every cluster, when nobody knows which.
    fn invalidate_all(&self);
    /// Looks at versions and KubeVirt alone: whether the cluster is well. Capabilities and storage classes are left out.
    async fn probe_health(&self, cluster: ClusterId) -> Result<ClusterFacts, ProviderError>;
    /// Looks at versions, KubeVirt, hardware and storage.
    async fn probe(&self, cluster: ClusterId) -> Result<ClusterFacts, ProviderError>;
}

/// A snapshot to be taken.
#[derive(Clone, Debug)]
pub struct SnapshotRequest {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the snapshot object.
    pub name: String,
    /// Name of the machine.
    pub vm: String,
    /// Labels and annotations of the object; its event annotation tells a repeated request from a foreign object.
    pub marks: Marks,
}

/// A restore to be made.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the restore object.
    pub name: String,
    /// Name of the machine.
    pub vm: String,
    /// Name of the snapshot object.
    pub snapshot: String,
    /// Labels and annotations of the object.
    pub marks: Marks,
}

/// A clone to be made.
#[derive(Clone, Debug)]
pub struct CloneRequest {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the clone object.
    pub name: String,
    /// Name of the machine that is to come into being.
    pub target: String,
    /// Labels and annotations of the clone object.
    pub marks: Marks,
}

/// A live migration to be made.
#[derive(Clone, Debug)]
pub struct MigrationRequest {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the migration object.
    pub name: String,
    /// Name of the machine.
    pub vm: String,
    /// Labels and annotations of the object.
    pub marks: Marks,
}

/// Snapshots and restores. Every call answers Unsupported when the cluster does not serve them.
#[async_trait]
pub trait SnapshotProvider: Send + Sync {
    /// Asks for a snapshot. A repetition with the same event annotation answers the object that is there; any other
    /// object of the name is AlreadyExists.
    async fn create_snapshot(&self, cluster: ClusterId, request: &SnapshotRequest) -> Result<Snapshot, ProviderError>;
    /// A snapshot; `None` when it does not exist.
    async fn get_snapshot(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Snapshot>, ProviderError>;
    /// The snapshots of a namespace, of one machine when it is named, by name.
    async fn list_snapshots(
        &self,
        cluster: ClusterId,
        namespace: &str,
        vm: Option<&str>,
    ) -> Result<Vec<Snapshot>, ProviderError>;
    /// Deletes a snapshot, if it is still the object with this uid (when one is given). Absence is success.
    async fn delete_snapshot(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<(), ProviderError>;
    /// Asks for a restore; repetitions as with snapshots.
    async fn restore_from_snapshot(
        &self,
        cluster: ClusterId,
        request: &RestoreRequest,
    ) -> Result<Restore, ProviderError>;
    /// A restore; `None` when it does not exist.
    async fn get_restore(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Restore>, ProviderError>;
}

/// Clones. Every call answers Unsupported when the cluster does not serve them.
#[async_trait]
pub trait CloneProvider: Send + Sync {
    /// Asks for a copy of a machine, without its labels and annotations; repetitions as with snapshots.
    async fn clone_vm(&self, cluster: ClusterId, source: &str, request: &CloneRequest) -> Result<Clone, ProviderError>;
    /// Asks for a machine made from a snapshot, without labels and annotations; repetitions as with snapshots.
    async fn clone_from_snapshot(
        &self,
        cluster: ClusterId,
        snapshot: &str,
        request: &CloneRequest,
    ) -> Result<Clone, ProviderError>;
    /// A clone; `None` when it does not exist.
    async fn get_clone(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<Option<Clone>, ProviderError>;
    /// The clones of a namespace, of one source when it is named, by name.
    /// Deletes a clone; the machine it has made stays. Absence is success.
    async fn delete_clone(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError>;
    /// Clones in a namespace, by name.
    async fn list_clones(
        &self,
        cluster: ClusterId,
        namespace: &str,
        source: Option<&CloneSource>,
    ) -> Result<Vec<Clone>, ProviderError>;
}

/// Live migrations.
#[async_trait]
pub trait MigrationProvider: Send + Sync {
    /// Asks for a migration; repetitions as with snapshots.
    async fn migrate_vm(&self, cluster: ClusterId, request: &MigrationRequest) -> Result<Migration, ProviderError>;
    /// A migration; `None` when it does not exist.
    async fn get_vm_migration(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Migration>, ProviderError>;
    /// The migrations of a namespace, of one machine when it is named, by name.
    async fn list_migrations(
        &self,
        cluster: ClusterId,
        namespace: &str,
        vm: Option<&str>,
    ) -> Result<Vec<Migration>, ProviderError>;
    /// Calls a migration off by deleting its object. Absence is success.
    async fn cancel_migration(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError>;
}

/// Instance types and preferences. Every call answers Unsupported when the cluster does not serve them.
#[async_trait]
pub trait InstanceTypeProvider: Send + Sync {
    /// Instance types of a namespace, by name.
    async fn list_instance_types(
        &self,
        cluster: ClusterId,
        namespace: &str,
    ) -> Result<Vec<InstanceType>, ProviderError>;
    /// Instance types of the whole cluster, by name.
    async fn list_cluster_instance_types(&self, cluster: ClusterId) -> Result<Vec<InstanceType>, ProviderError>;
    /// Preferences of a namespace, by name.
    async fn list_preferences(&self, cluster: ClusterId, namespace: &str) -> Result<Vec<Preference>, ProviderError>;
    /// Preferences of the whole cluster, by name.
    async fn list_cluster_preferences(&self, cluster: ClusterId) -> Result<Vec<Preference>, ProviderError>;
}

/// The schema a cluster serves for virtual machines.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterSchema {
    /// Minor version of the KubeVirt it belongs to: `1.6`.
    pub minor_version: String,
    /// `openAPIV3Schema` of the VirtualMachine definition.
    pub schema: Value,
}

/// Schemas of virtual machines.
#[async_trait]
pub trait SchemaProvider: Send + Sync {
    /// What the cluster's own VirtualMachine definition says, with the version of the KubeVirt that installed it.
    /// Unsupported when the cluster has no KubeVirt that says its version.
    async fn vm_schema(&self, cluster: ClusterId) -> Result<ClusterSchema, ProviderError>;
}

/// Bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A console: what the guest's screen or serial line says and hears. Neither address nor credentials of the cluster
/// can be had from it; dropping it ends it.
pub type ConsoleConnection = Box<dyn ByteStream>;

/// Consoles of running machines.
#[async_trait]
pub trait ConsoleProvider: Send + Sync {
    /// The screen, as RFB.
    async fn get_vnc_connection(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<ConsoleConnection, ProviderError>;
    /// The serial line.
    async fn get_serial_console(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<ConsoleConnection, ProviderError>;
}

/// Renders documents; pure, total and deterministic.
pub trait VmRenderer: Send + Sync {
    /// The VirtualMachine of this input, with platform-owned paths laid over everything else.
    fn render(&self, input: &RenderInput<'_>) -> VmDocument;
    /// Canonical YAML of a document without its Secret, for revisions and previews.
    fn to_yaml(&self, document: &VmDocument) -> String;
}
