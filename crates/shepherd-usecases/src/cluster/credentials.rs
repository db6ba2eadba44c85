//! Credentials from the database, opened when a client is built.

use std::sync::Arc;

use async_trait::async_trait;
use shepherd_domain::ids::ClusterId;
use shepherd_ports::clusters::{ClusterQueries, CredentialError, CredentialProvider, RestConfig};
use shepherd_ports::crypto::{Cipher, KeyStore, SealedPlace};
use shepherd_ports::encryption_keys::EncryptionKeyQueries;
use shepherd_ports::metrics;
use zeroize::Zeroizing;

use crate::{UseCaseError, encryption};

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
    keys: Arc<dyn KeyStore>,
    stored_keys: Arc<dyn EncryptionKeyQueries>,
}

impl DatabaseCredentials {
    /// Credentials of these clusters, opened with this cipher.
    pub fn new(
        clusters: Arc<dyn ClusterQueries>,
        cipher: Arc<dyn Cipher>,
        keys: Arc<dyn KeyStore>,
        stored_keys: Arc<dyn EncryptionKeyQueries>,
    ) -> Self {
        Self {
            clusters,
            cipher,
            keys,
            stored_keys,
        }
    }
}

#[async_trait]
impl CredentialProvider for DatabaseCredentials {
    async fn rest_config(&self, cluster: ClusterId) -> Result<Option<RestConfig>, CredentialError> {
        let Some(stored) = self.clusters.sealed_credentials(cluster).await? else {
            return Ok(None);
        };
        metrics::clusters::named(cluster, &stored.name);
        let place = place(cluster);
        let opened = encryption::open_with(&*self.cipher, &*self.keys, &*self.stored_keys, &place, &stored.sealed)
            .await
            .map_err(|error| match error {
                UseCaseError::Repository(error) => CredentialError::Repository(error),
                UseCaseError::Cipher(error) => CredentialError::Cipher(error),
                UseCaseError::Problem(_)
                | UseCaseError::Password(_)
                | UseCaseError::Token(_)
                | UseCaseError::Stored { .. }
                | UseCaseError::Broken(_) => CredentialError::Malformed,
            })?;
        let text = std::str::from_utf8(&opened).map_err(|_| CredentialError::Malformed)?;
        Ok(Some(RestConfig {
            kubeconfig: Zeroizing::new(text.to_owned()),
            version: stored.version,
            allow_insecure_tls: stored.allow_insecure_tls,
            concurrency_limit: stored.concurrency_limit,
        }))
    }

    fn credential_type(&self) -> &'static str {
        "kubeconfig"
    }
}
