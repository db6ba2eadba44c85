//! Templates.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use shepherd_domain::ActorId;
use shepherd_domain::catalog::{FieldRule, TemplateSpec, TemplateStatus};
use shepherd_domain::ids::TemplateId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::transition::Transition;

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
    pub quick_fields: Vec<FieldRule>,
    pub advanced_fields: Vec<FieldRule>,
    pub content_sha256: String,
    pub validated_at: Option<DateTime<Utc>>,
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
    pub quick_fields: Vec<FieldRule>,
    pub advanced_fields: Vec<FieldRule>,
    pub content_sha256: String,
    pub validated_at: Option<DateTime<Utc>>,
    /// `api` or `seed`.
    pub source: String,
    pub created_by: Option<ActorId>,
    pub published_by: Option<ActorId>,
    pub published_at: Option<DateTime<Utc>>,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
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

/// Filters of the template list.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the query parameters of api.md §8")]
pub struct TemplateFilter {
    pub name: Option<String>,
    pub status: Option<TemplateStatus>,
    pub os_family: Option<String>,
}

/// What can be written over in place: everything of a draft, the texts alone of a published version.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.5")]
pub struct TemplateChange {
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub category: Option<String>,
    pub os_family: Option<String>,
    pub os_version: Option<String>,
    pub spec: TemplateSpec,
    pub quick_fields: Vec<FieldRule>,
    pub advanced_fields: Vec<FieldRule>,
    pub content_sha256: String,
    /// When all of the content was found good; `None` leaves what is known about the same content.
    pub validated_at: Option<DateTime<Utc>>,
}

/// Who publishes a version, and when.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.5")]
pub struct Publication {
    pub by: ActorId,
    pub at: DateTime<Utc>,
    /// When its content was found good; `None` leaves what is known.
    pub validated_at: Option<DateTime<Utc>>,
}

/// Writes templates. Every change of a status is one conditional statement that answers whether it happened.
#[async_trait]
pub trait TemplateRepository: Send {
    /// Inserts a version and answers its number. An active one deprecates the active one before it.
    async fn insert(&mut self, template: &NewTemplate) -> Result<i32, RepositoryError>;
    /// Whether any version of this name exists.
    async fn exists(&mut self, name: &str) -> Result<bool, RepositoryError>;
    /// Keeps others that ask for the same from adding or publishing versions of the name until the transaction ends;
    /// answers the number of the newest version.
    async fn lock_name(&mut self, name: &str) -> Result<Option<i32>, RepositoryError>;
    /// The newest version of a name as this transaction sees it.
    async fn latest(&mut self, name: &str) -> Result<Option<TemplateRecord>, RepositoryError>;
    /// The version, which nobody changes and no request can refer to anew until the transaction ends.
    async fn lock(&mut self, id: TemplateId) -> Result<Option<TemplateRecord>, RepositoryError>;
    /// The status of a version, which keeps it until the transaction ends.
    async fn hold(&mut self, id: TemplateId) -> Result<Option<TemplateStatus>, RepositoryError>;
    /// Writes over a draft, or the texts of a published version with this content; `false` when it is neither.
    async fn update(&mut self, id: TemplateId, change: &TemplateChange) -> Result<bool, RepositoryError>;
    /// Publishes a version and deprecates the active one of its name; `false` when it is not where the step begins.
    async fn publish(
        &mut self,
        id: TemplateId,
        step: Transition<TemplateStatus>,
        publication: &Publication,
    ) -> Result<bool, RepositoryError>;
    /// Moves a version; `false` when it is not where the step begins.
    async fn transition(&mut self, id: TemplateId, step: Transition<TemplateStatus>) -> Result<bool, RepositoryError>;
    /// Open tickets that were submitted for the version or approved with it.
    async fn count_references(&mut self, id: TemplateId) -> Result<i64, RepositoryError>;
    /// Removes a draft; `false` when it is none.
    async fn delete_draft(&mut self, id: TemplateId) -> Result<bool, RepositoryError>;
    /// Notes the outcome of a validation that was made up for; `false` when the content is another one by now, or
    /// somebody else noted an outcome.
    async fn record_validation(
        &mut self,
        id: TemplateId,
        content_sha256: &str,
        valid: bool,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
}

/// Reads templates.
#[async_trait]
pub trait TemplateQueries: Send + Sync {
    /// One template version.
    async fn get_template(&self, id: TemplateId) -> Result<Option<TemplateRecord>, RepositoryError>;
    /// One version of a template by name.
    async fn get_template_version(&self, name: &str, version: i32) -> Result<Option<TemplateRecord>, RepositoryError>;
    /// The version of a name that is offered.
    async fn get_active_template(&self, name: &str) -> Result<Option<TemplateRecord>, RepositoryError>;
    /// The newest version of a name, whatever its status.
    async fn get_latest_template(&self, name: &str) -> Result<Option<TemplateRecord>, RepositoryError>;
    /// Templates by name, newest version first.
    async fn list_templates(
        &self,
        filter: &TemplateFilter,
        page: PageRequest,
    ) -> Result<Page<TemplateRecord>, RepositoryError>;
    /// Active versions that no cluster has judged yet, by name; at most `limit`.
    async fn unvalidated_templates(&self, limit: i64) -> Result<Vec<TemplateRecord>, RepositoryError>;
}
