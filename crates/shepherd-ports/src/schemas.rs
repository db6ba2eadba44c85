//! Schemas of virtual machines per KubeVirt minor version, and what is re-validated when one is fetched.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::catalog::TemplateSpec;
use shepherd_domain::ids::{InstanceSizeId, TemplateId};

use crate::error::RepositoryError;
use crate::sizes::SizeRecord;

/// A schema that a cluster served.
#[derive(Clone, Debug)]
pub struct NewSchema {
    /// `1.6`.
    pub minor_version: String,
    /// The reduced schema.
    pub schema: Value,
    /// SHA-256 of its JSON text, in hex.
    pub sha256: String,
    /// When it was read.
    pub fetched_at: DateTime<Utc>,
}

/// A stored schema.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §4")]
pub struct SchemaRecord {
    pub minor_version: String,
    pub schema: Value,
    pub source: String,
    pub sha256: String,
    pub fetched_at: DateTime<Utc>,
}

/// Whether a size, as it was read, may still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SizeVerdict {
    /// Which one.
    pub id: InstanceSizeId,
    /// The version that was looked at; a size that changed since was validated when it did.
    pub row_version: i64,
    /// The finding.
    pub valid: bool,
}

/// An active template, as far as it is re-validated.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.5")]
pub struct ActiveTemplate {
    pub id: TemplateId,
    pub name: String,
    pub version: i32,
    pub spec: TemplateSpec,
}

/// Writes them.
#[async_trait]
pub trait SchemaRepository: Send {
    /// Stores a schema unless one of its version is there, which stays as it is; `false` then.
    async fn insert(&mut self, schema: &NewSchema) -> Result<bool, RepositoryError>;
    /// Stores verdicts about sizes, all at once; answers the names of those that became invalid. The version people
    /// see of a size stays.
    async fn record_verdicts(&mut self, verdicts: &[SizeVerdict]) -> Result<Vec<String>, RepositoryError>;
    /// Takes back that templates were validated; answers the names of those for which this was said.
    async fn take_back_validation(&mut self, templates: &[TemplateId]) -> Result<Vec<String>, RepositoryError>;
}

/// Reads them.
#[async_trait]
pub trait SchemaQueries: Send + Sync {
    /// The schema of a minor version.
    async fn stored_schema(&self, minor_version: &str) -> Result<Option<SchemaRecord>, RepositoryError>;
    /// The minor versions that have one, in no order.
    async fn stored_schema_versions(&self) -> Result<Vec<String>, RepositoryError>;
    /// All sizes, by name.
    async fn sizes_to_validate(&self) -> Result<Vec<SizeRecord>, RepositoryError>;
    /// All active templates, by name.
    async fn templates_to_validate(&self) -> Result<Vec<ActiveTemplate>, RepositoryError>;
}
