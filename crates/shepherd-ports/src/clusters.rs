//! Registered clusters and their sealed credentials.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::cluster::{ClusterFacts, ClusterStatus, DetectedCapabilities, WatchState};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::placement::Candidate;
use shepherd_domain::{ActorId, Environment};
use zeroize::Zeroizing;

use crate::crypto::Sealed;
use crate::error::RepositoryError;
use crate::leases::Lease;

/// A new cluster.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.8")]
pub struct NewCluster {
    pub id: ClusterId,
    pub name: String,
    pub display_name: Option<String>,
    pub api_server_url: String,
    pub kubeconfig: Sealed,
    pub environment: Environment,
    pub scheduling_weight: i32,
    pub allow_insecure_tls: bool,
    pub created_by: ActorId,
}

/// A cluster; its credentials are not part of it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.8")]
pub struct ClusterRecord {
    pub id: ClusterId,
    pub name: String,
    pub display_name: Option<String>,
    pub api_server_url: String,
    pub status: ClusterStatus,
    pub status_reason: Option<String>,
    pub last_checked_at: Option<DateTime<Utc>>,
    pub last_healthy_at: Option<DateTime<Utc>>,
    pub environment: Environment,
    pub kubevirt_version: Option<String>,
    pub kubernetes_version: Option<String>,
    pub enabled_features: Vec<String>,
    pub detected_capabilities: DetectedCapabilities,
    pub storage_classes: Vec<String>,
    pub default_storage_class: Option<String>,
    pub detected_default_storage_class: Option<String>,
    pub storage_classes_updated_at: Option<DateTime<Utc>>,
    pub scheduling_weight: i32,
    pub concurrency_limit: Option<i32>,
    pub allow_insecure_tls: bool,
    pub credentials_set_at: DateTime<Utc>,
    pub enabled: bool,
    pub watch_state: WatchState,
    pub vm_count: i64,
    pub created_by: ActorId,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl ClusterRecord {
    /// What placement needs to know.
    pub fn candidate(&self) -> Candidate {
        Candidate {
            id: self.id,
            name: self.name.clone(),
            environment: self.environment,
            status: self.status,
            enabled: self.enabled,
            capabilities: self.detected_capabilities.clone(),
            storage_classes: self.storage_classes.clone(),
            default_storage_class: self.effective_storage_class().map(str::to_owned),
            scheduling_weight: self.scheduling_weight,
            vm_count: self.vm_count,
        }
    }

    /// The storage class of machines for which nobody chose one: the administrator's, else the cluster's own default.
    pub fn effective_storage_class(&self) -> Option<&str> {
        let own = self.detected_default_storage_class.as_deref();
        self.default_storage_class.as_deref().or(own)
    }

    /// What a look at the cluster that begins now starts from.
    pub fn seen(&self) -> SeenCluster {
        SeenCluster {
            id: self.id,
            checked_at: self.last_checked_at,
            credentials_set_at: self.credentials_set_at,
        }
    }
}

/// What a change sets; absent leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterPatch {
    /// `Some(None)` clears.
    pub display_name: Option<Option<String>>,
    /// One of the detected ones; `Some(None)` leaves the choice to the cluster.
    pub default_storage_class: Option<Option<String>>,
    /// Preference among eligible clusters, 0 to 1000.
    pub scheduling_weight: Option<i32>,
    /// Calls at the same time, 1 to 200; `Some(None)` leaves it to the configuration.
    pub concurrency_limit: Option<Option<i32>>,
    /// Whether the cluster takes new machines and is looked after.
    pub enabled: Option<bool>,
}

/// What hangs on a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ClusterUse {
    /// Machine rows.
    pub vm_count: i64,
    /// Decisions for a new machine on it that are not carried out yet.
    pub pending_request_count: i64,
}

/// A cluster as somebody saw it who then began to look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenCluster {
    /// Which one.
    pub id: ClusterId,
    /// When the newest stored look began.
    pub checked_at: Option<DateTime<Utc>>,
    /// Since when it had the credentials that the look uses.
    pub credentials_set_at: DateTime<Utc>,
}

/// What a stored health result took the place of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HealthBefore {
    /// The status.
    pub status: ClusterStatus,
    /// The version of KubeVirt that was last known.
    pub kubevirt_version: Option<String>,
}

/// The outcome of one health pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthResult {
    /// What was found.
    pub status: ClusterStatus,
    /// Machine reason when it is not healthy.
    pub reason: Option<String>,
    /// Facts of a reachable cluster.
    pub facts: Option<ClusterFacts>,
    /// When the look began.
    pub at: DateTime<Utc>,
}

/// Writes clusters.
#[async_trait]
pub trait ClusterRepository: Send {
    /// Inserts a cluster.
    async fn insert(&mut self, cluster: &NewCluster) -> Result<(), RepositoryError>;
    /// Keeps the cluster as it is until the transaction ends, and reads it.
    async fn hold(&mut self, id: ClusterId) -> Result<Option<ClusterRecord>, RepositoryError>;
    /// Keeps everybody else from the cluster until the transaction ends, and reads it. Whoever places a machine holds it
    /// ([`Self::hold`]), so what [`Self::count_use`] says afterwards stays true.
    async fn lock(&mut self, id: ClusterId) -> Result<Option<ClusterRecord>, RepositoryError>;
    /// Counts what hangs on a cluster.
    async fn count_use(&mut self, id: ClusterId) -> Result<ClusterUse, RepositoryError>;
    /// Changes a cluster that is locked; answers it as it is then.
    async fn update(&mut self, id: ClusterId, patch: &ClusterPatch) -> Result<Option<ClusterRecord>, RepositoryError>;
    /// Moves a cluster that is locked, and on which nothing hangs, to an environment.
    async fn set_environment(
        &mut self,
        id: ClusterId,
        environment: Environment,
    ) -> Result<Option<ClusterRecord>, RepositoryError>;
    /// Gives a cluster new credentials. Its status is UNKNOWN until somebody has looked at it with them.
    async fn set_credentials(
        &mut self,
        id: ClusterId,
        api_server_url: &str,
        kubeconfig: &Sealed,
    ) -> Result<Option<ClusterRecord>, RepositoryError>;
    /// Deletes a cluster on which nothing hangs.
    async fn delete(&mut self, id: ClusterId) -> Result<bool, RepositoryError>;
    /// Stores a health result; answers what was known before it. `None` when it must not be stored: the cluster is gone,
    /// has got other credentials, a later look was stored meanwhile, or the lease under which it was looked at (when
    /// there is one) was lost.
    async fn record_health(
        &mut self,
        seen: &SeenCluster,
        result: &HealthResult,
        lease: Option<&Lease>,
    ) -> Result<Option<HealthBefore>, RepositoryError>;
}

/// The sealed credentials of a cluster.
#[derive(Clone, Debug)]
pub struct SealedCredentials {
    /// Name of the cluster.
    pub name: String,
    /// The envelope.
    pub sealed: Vec<u8>,
    /// Changes whenever the credentials do.
    pub version: String,
    /// Whether TLS verification may be skipped.
    pub allow_insecure_tls: bool,
    /// Calls at the same time, when the cluster has a limit of its own.
    pub concurrency_limit: Option<u32>,
}

/// Reads clusters.
#[async_trait]
pub trait ClusterQueries: Send + Sync {
    /// One cluster.
    async fn get_cluster(&self, id: ClusterId) -> Result<Option<ClusterRecord>, RepositoryError>;
    /// Clusters of the visible environments, by name.
    async fn list_clusters(
        &self,
        visible: EnvironmentSet,
        environment: Option<Environment>,
        status: Option<ClusterStatus>,
        page: PageRequest,
    ) -> Result<Page<ClusterRecord>, RepositoryError>;
    /// All enabled clusters, by name.
    async fn enabled_clusters(&self) -> Result<Vec<ClusterRecord>, RepositoryError>;
    /// The sealed credentials.
    async fn sealed_credentials(&self, id: ClusterId) -> Result<Option<SealedCredentials>, RepositoryError>;
}

/// A kubeconfig in reduced form: one context, one cluster, one user. Wiped from memory when dropped.
#[derive(Clone)]
pub struct RestConfig {
    /// YAML.
    pub kubeconfig: Zeroizing<String>,
    /// Changes whenever the credentials do.
    pub version: String,
    /// Whether TLS verification may be skipped.
    pub allow_insecure_tls: bool,
    /// Calls at the same time, when the cluster has a limit of its own.
    pub concurrency_limit: Option<u32>,
}

/// Hands out credentials for clusters.
#[async_trait]
pub trait CredentialProvider: Send + Sync {
    /// The credentials of a cluster; `None` when the cluster is gone.
    ///
    /// # Errors
    /// When the store or the key fails; the text names neither.
    async fn rest_config(&self, cluster: ClusterId) -> Result<Option<RestConfig>, CredentialError>;
    /// What kind of credentials these are, for example `kubeconfig`.
    fn credential_type(&self) -> &'static str;
}

/// Credentials could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The store failed.
    #[error("the credentials could not be read")]
    Repository(#[from] RepositoryError),
    /// The envelope could not be opened.
    #[error("the credentials could not be opened")]
    Cipher(#[from] crate::crypto::CipherError),
    /// The opened value is not what was sealed.
    #[error("the credentials are not text")]
    Malformed,
}

/// A kubeconfig that passed intake.
#[derive(Clone)]
pub struct AcceptedKubeconfig {
    /// YAML in reduced form.
    pub reduced: Zeroizing<String>,
    /// Address of the API server.
    pub api_server_url: String,
}

/// Checks kubeconfigs before they are stored.
pub trait KubeconfigIntake: Send + Sync {
    /// Reduces a kubeconfig to its current context and refuses everything that reaches beyond it: exec and auth
    /// provider plugins, files, basic auth, proxies, impersonation, plain HTTP, insecure TLS, and addresses that are
    /// loopback, link-local or metadata services unless allow-listed.
    ///
    /// # Errors
    /// INVALID_KUBECONFIG{reason}.
    fn accept(
        &self,
        kubeconfig: &str,
        allow_insecure_tls: bool,
    ) -> Result<AcceptedKubeconfig, shepherd_domain::Problem>;
}
