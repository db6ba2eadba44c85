//! The installation's own secrets, before anything can be sealed with them.

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::error::RepositoryError;

/// Which secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretName {
    /// Seals columns.
    EncryptionKey,
    /// Signs session tokens.
    SessionSecret,
}

impl SecretName {
    /// `key_name` in `system_secrets`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EncryptionKey => "ENCRYPTION_KEY",
            Self::SessionSecret => "SESSION_SECRET",
        }
    }
}

/// Keeps the secrets that were not given by the environment.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// The stored secret, or the candidate if none was stored: under an advisory lock, so that all replicas of a first
    /// start end up with the same value.
    async fn load_or_create(
        &self,
        name: SecretName,
        candidate: Zeroizing<String>,
    ) -> Result<Zeroizing<String>, RepositoryError>;
    /// The stored secret, if there is one.
    async fn stored(&self, name: SecretName) -> Result<Option<Zeroizing<String>>, RepositoryError>;
    /// Ids of the keys that sealed existing rows.
    async fn sealing_key_ids(&self) -> Result<Vec<String>, RepositoryError>;
}
