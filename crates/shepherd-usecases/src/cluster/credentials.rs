//! Credentials from the database, opened when a client is built.

use std::sync::Arc;

use async_trait::async_trait;
use shepherd_domain::ids::ClusterId;
use shepherd_ports::clusters::{ClusterQueries, CredentialError, CredentialProvider, RestConfig};
use shepherd_ports::crypto::{Cipher, SealedPlace};
use zeroize::Zeroizing;

/// Where the kubeconfig of a cluster is sealed.
pub fn place(cluster: ClusterId) -> SealedPlace {
    SealedPlace {
        table: "clusters",
        column: "encrypted_kubeconfig",
        row: cluster.to_string(),
    }
}

/// Hands out kubeconfigs that are stored sealed in the database.
pub struct DatabaseCredentials {
    clusters: Arc<dyn ClusterQueries>,
    cipher: Arc<dyn Cipher>,
}

impl DatabaseCredentials {
    /// Credentials of these clusters, opened with this cipher.
    pub fn new(clusters: Arc<dyn ClusterQueries>, cipher: Arc<dyn Cipher>) -> Self {
        Self { clusters, cipher }
    }
}

#[async_trait]
impl CredentialProvider for DatabaseCredentials {
    async fn rest_config(&self, cluster: ClusterId) -> Result<Option<RestConfig>, CredentialError> {
        let Some(stored) = self.clusters.sealed_credentials(cluster).await? else {
            return Ok(None);
        };
        let opened = self.cipher.open(&place(cluster), &stored.sealed)?;
        let text = std::str::from_utf8(&opened).map_err(|_| CredentialError::Malformed)?;
        Ok(Some(RestConfig {
            kubeconfig: Zeroizing::new(text.to_owned()),
            version: stored.version,
            allow_insecure_tls: stored.allow_insecure_tls,
        }))
    }

    fn credential_type(&self) -> &'static str {
        "kubeconfig"
    }
}
