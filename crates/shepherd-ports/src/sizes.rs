//! Instance sizes.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::catalog::InstanceSize;
use shepherd_domain::ids::InstanceSizeId;
use shepherd_domain::page::{Page, PageRequest};

use crate::error::RepositoryError;
use crate::systems::Changed;

/// A size and its bookkeeping.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.6")]
pub struct SizeRecord {
    #[serde(flatten)]
    pub size: InstanceSize,
    pub cpu_overcommit_enabled: bool,
    pub memory_overcommit_enabled: bool,
    pub validation_status: String,
    pub created_by: ActorId,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Writes sizes. What is written was checked against the schemas of the clusters, so it is stored as valid; what later
/// schemas say about it is stored by [`crate::schemas::SchemaRepository`].
#[async_trait]
pub trait SizeRepository: Send {
    /// Inserts a size.
    async fn insert(&mut self, size: &InstanceSize, created_by: &ActorId) -> Result<(), RepositoryError>;
    /// Whether a size of this name exists.
    async fn exists(&mut self, name: &str) -> Result<bool, RepositoryError>;
    /// The size as it is now; nobody else changes, deletes or asks for it until the transaction ends.
    async fn lock(&mut self, id: InstanceSizeId) -> Result<Option<SizeRecord>, RepositoryError>;
    /// Keeps the size from being deleted until the transaction ends; answers whether it is offered, `None` when it is
    /// not there.
    async fn hold(&mut self, id: InstanceSizeId) -> Result<Option<bool>, RepositoryError>;
    /// Writes every column of a size, if it has this version; without one in any case.
    async fn update(&mut self, size: &InstanceSize, version: Option<i64>) -> Result<Changed, RepositoryError>;
    /// Open tickets that refer to the size, as requested or as modified by an approver.
    async fn count_open_tickets(&mut self, id: InstanceSizeId) -> Result<i64, RepositoryError>;
    /// Deletes a size; `false` when there was none.
    async fn delete(&mut self, id: InstanceSizeId) -> Result<bool, RepositoryError>;
}

/// Reads sizes.
#[async_trait]
pub trait SizeQueries: Send + Sync {
    /// One size.
    async fn get_size(&self, id: InstanceSizeId) -> Result<Option<SizeRecord>, RepositoryError>;
    /// All sizes by sort order and name.
    async fn list_sizes(&self, enabled_only: bool) -> Result<Vec<SizeRecord>, RepositoryError>;
    /// A page of sizes by sort order and name.
    async fn page_of_sizes(&self, enabled_only: bool, page: PageRequest) -> Result<Page<SizeRecord>, RepositoryError>;
}
