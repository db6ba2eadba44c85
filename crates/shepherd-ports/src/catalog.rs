//! Templates and instance sizes.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use shepherd_domain::ActorId;
use shepherd_domain::catalog::{InstanceSize, TemplateSpec, TemplateStatus};
use shepherd_domain::ids::{InstanceSizeId, TemplateId};
use shepherd_domain::page::{Page, PageRequest};

use crate::error::RepositoryError;

/// A new template version.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.5")]
pub struct NewTemplate {
    pub id: TemplateId,
    pub name: String,
    /// `None` takes the current maximum plus one.
    pub version: Option<i32>,
    pub status: TemplateStatus,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub category: Option<String>,
    pub os_family: Option<String>,
    pub os_version: Option<String>,
    pub spec: TemplateSpec,
    pub content_sha256: String,
    pub seeded: bool,
    pub created_by: ActorId,
    pub at: DateTime<Utc>,
}

/// A template version.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.5")]
pub struct TemplateRecord {
    pub id: TemplateId,
    pub name: String,
    pub version: i32,
    pub status: TemplateStatus,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub category: Option<String>,
    pub os_family: Option<String>,
    pub os_version: Option<String>,
    pub spec: TemplateSpec,
    pub content_sha256: String,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
}

impl TemplateRecord {
    /// The snapshot a ticket keeps (catalog.md §5).
    pub fn snapshot(&self) -> Value {
        serde_json::json!({
            "id": self.id, "name": self.name, "display_name": self.display_name, "version": self.version, "os_family": self.os_family,
            "os_version": self.os_version, "content_sha256": self.content_sha256, "spec": self.spec,
        })
    }
}

/// A size and its bookkeeping.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.6")]
pub struct SizeRecord {
    #[serde(flatten)]
    pub size: InstanceSize,
    pub validation_status: String,
    pub created_by: ActorId,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Filters of the template list.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the query parameters of api.md §8")]
pub struct TemplateFilter {
    pub name: Option<String>,
    pub status: Option<TemplateStatus>,
    pub os_family: Option<String>,
}

/// Writes the catalogue.
#[async_trait]
pub trait CatalogRepository: Send {
    /// Inserts a version and answers its number. An active one deprecates the active one before it.
    async fn insert_template(&mut self, template: &NewTemplate) -> Result<i32, RepositoryError>;
    /// Whether any version of this name exists.
    async fn template_exists(&mut self, name: &str) -> Result<bool, RepositoryError>;
    /// Inserts a size.
    async fn insert_size(&mut self, size: &InstanceSize, created_by: &ActorId) -> Result<(), RepositoryError>;
    /// Whether a size of this name exists.
    async fn size_exists(&mut self, name: &str) -> Result<bool, RepositoryError>;
}

/// Reads the catalogue.
#[async_trait]
pub trait CatalogQueries: Send + Sync {
    /// One template version.
    async fn get_template(&self, id: TemplateId) -> Result<Option<TemplateRecord>, RepositoryError>;
    /// One version of a template by name.
    async fn get_template_version(&self, name: &str, version: i32) -> Result<Option<TemplateRecord>, RepositoryError>;
    /// Templates by name, newest version first.
    async fn list_templates(
        &self,
        filter: &TemplateFilter,
        page: PageRequest,
    ) -> Result<Page<TemplateRecord>, RepositoryError>;
    /// One size.
    async fn get_size(&self, id: InstanceSizeId) -> Result<Option<SizeRecord>, RepositoryError>;
    /// Sizes by sort order and name, at most 1000.
    async fn list_sizes(&self, enabled_only: bool) -> Result<Vec<SizeRecord>, RepositoryError>;
}
