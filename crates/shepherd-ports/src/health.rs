//! Readiness of the store.

use async_trait::async_trait;

use crate::error::RepositoryError;

/// Asks the database how it is.
#[async_trait]
pub trait StoreHealth: Send + Sync {
    /// Whether it answers.
    async fn ping(&self) -> Result<(), RepositoryError>;
    /// Names of migrations that were not applied. Writes nothing.
    async fn pending_migrations(&self) -> Result<Vec<String>, RepositoryError>;
}
