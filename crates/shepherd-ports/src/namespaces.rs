//! The namespace registry.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::NamespaceId;
use shepherd_domain::naming::Label;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::{ActorId, Environment};

use crate::error::RepositoryError;
use crate::systems::Changed;

/// A new entry.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.7")]
pub struct NewNamespace {
    pub id: NamespaceId,
    pub name: Label,
    pub environment: Environment,
    pub description: Option<String>,
    pub created_by: ActorId,
}

/// A registered namespace.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.7")]
pub struct NamespaceRecord {
    pub id: NamespaceId,
    pub name: String,
    pub environment: Environment,
    pub description: Option<String>,
    pub enabled: bool,
    pub vm_count: i64,
    pub created_by: ActorId,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What a change sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespacePatch {
    /// `Some(None)` clears.
    pub description: Option<Option<String>>,
    /// Whether new requests are taken.
    pub enabled: Option<bool>,
}

/// What still hangs on an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct NamespaceUse {
    /// Machine rows.
    pub vm_count: i64,
    /// Open tickets.
    pub pending_request_count: i64,
}

/// Writes the registry.
#[async_trait]
pub trait NamespaceRepository: Send {
    /// Inserts an entry.
    async fn insert(&mut self, namespace: &NewNamespace) -> Result<(), RepositoryError>;
    /// Changes an entry, if the row has the wanted version (when one is given).
    async fn update(
        &mut self,
        id: NamespaceId,
        patch: &NamespacePatch,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError>;
    /// Keeps the entry from being changed or deleted until the transaction ends, and reads it.
    async fn hold(&mut self, name: &str) -> Result<Option<NamespaceRecord>, RepositoryError>;
    /// Locks the entry and counts what hangs on it; `None` when it is gone.
    async fn lock_and_count_use(&mut self, id: NamespaceId) -> Result<Option<NamespaceUse>, RepositoryError>;
    /// Deletes an entry; the Kubernetes namespace is left alone.
    async fn delete(&mut self, id: NamespaceId) -> Result<bool, RepositoryError>;
}

/// Reads the registry.
#[async_trait]
pub trait NamespaceQueries: Send + Sync {
    /// One entry.
    async fn get_namespace(&self, id: NamespaceId) -> Result<Option<NamespaceRecord>, RepositoryError>;
    /// Entries of the visible environments, by name.
    async fn list_namespaces(
        &self,
        visible: EnvironmentSet,
        environment: Option<Environment>,
        page: PageRequest,
    ) -> Result<Page<NamespaceRecord>, RepositoryError>;
}
