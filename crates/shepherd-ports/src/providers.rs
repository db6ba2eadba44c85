//! Clusters, as use cases see them. Only domain types cross; Kubernetes types stay inside the provider.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use shepherd_domain::Environment;
use shepherd_domain::cluster::ClusterFacts;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::rendering::{RenderInput, VmDocument};
use shepherd_domain::vm::ObservedVm;

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

/// Whether an apply is for real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyMode {
    /// Store it.
    Persist,
    /// Validate it on the server and store nothing.
    DryRun,
}

/// What became of a namespace that has to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnsuredNamespace {
    /// It was there.
    Existed,
    /// The platform made it, with its labels.
    Created,
}

/// What a watch of machines reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmWatchEvent {
    /// A full list begins; what is not repeated before [`VmWatchEvent::Listed`] is gone.
    ListBegins,
    /// An object of the list.
    InList(ObservedVm),
    /// The list is complete.
    Listed,
    /// An object was added or changed.
    Changed(ObservedVm),
    /// An object is gone.
    Deleted {
        /// Object name.
        name: String,
        /// Kubernetes namespace.
        namespace: String,
        /// Object uid.
        uid: String,
    },
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
    /// Applies a document; a dry run is the same call, stored nowhere.
    async fn apply_vm(
        &self,
        cluster: ClusterId,
        document: &VmDocument,
        mode: ApplyMode,
    ) -> Result<ObservedVm, ProviderError>;
    /// Deletes the machine in the foreground, if it is still the object with this uid (when one is given). Absence
    /// is success.
    async fn delete_vm(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<(), ProviderError>;
    /// Whether a namespace exists.
    async fn namespace_exists(&self, cluster: ClusterId, namespace: &str) -> Result<bool, ProviderError>;
    /// Makes the namespace with the platform's labels unless it exists.
    async fn ensure_namespace(
        &self,
        cluster: ClusterId,
        namespace: &str,
        environment: Environment,
    ) -> Result<EnsuredNamespace, ProviderError>;
    /// Watches the platform's machines: a full list first, then changes, then full lists again whenever the watch was
    /// lost. Ends only with the process; errors are reported and followed by back-off inside.
    async fn watch_vms(
        &self,
        cluster: ClusterId,
    ) -> Result<BoxStream<'static, Result<VmWatchEvent, ProviderError>>, ProviderError>;
    /// Looks at versions, KubeVirt, hardware and storage.
    async fn probe(&self, cluster: ClusterId) -> Result<ClusterFacts, ProviderError>;
}

/// Renders documents; pure, total and deterministic.
pub trait VmRenderer: Send + Sync {
    /// The VirtualMachine of this input, with platform-owned paths laid over everything else.
    fn render(&self, input: &RenderInput<'_>) -> VmDocument;
    /// Canonical YAML of a document without its Secret, for revisions and previews.
    fn to_yaml(&self, document: &VmDocument) -> String;
}
