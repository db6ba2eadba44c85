//! Registered clusters and their sealed credentials.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::cluster::{ClusterFacts, ClusterStatus, DetectedCapabilities};
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
    pub storage_classes_updated_at: Option<DateTime<Utc>>,
    pub scheduling_weight: i32,
    pub concurrency_limit: Option<i32>,
    pub enabled: bool,
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
            default_storage_class: self.default_storage_class.clone(),
            scheduling_weight: self.scheduling_weight,
            vm_count: self.vm_count,
        }
    }
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
    /// When it was looked at.
    pub at: DateTime<Utc>,
}

/// Writes clusters.
#[async_trait]
pub trait ClusterRepository: Send {
    /// Inserts a cluster.
    async fn insert(&mut self, cluster: &NewCluster) -> Result<(), RepositoryError>;
    /// Keeps the cluster as it is until the transaction ends, and reads it.
    async fn hold(&mut self, id: ClusterId) -> Result<Option<ClusterRecord>, RepositoryError>;
    /// Stores a health result, if the lease is still held; answers the status before it, or `None` when the lease
    /// was lost or the cluster is gone.
    async fn record_health(
        &mut self,
        id: ClusterId,
        result: &HealthResult,
        lease: &Lease,
    ) -> Result<Option<ClusterStatus>, RepositoryError>;
}

/// The sealed credentials of a cluster.
#[derive(Clone, Debug)]
pub struct SealedCredentials {
    /// The envelope.
    pub sealed: Vec<u8>,
    /// Changes whenever the credentials do.
    pub version: String,
    /// Whether TLS verification may be skipped.
    pub allow_insecure_tls: bool,
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
