//! Systems and who works on them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::access::{ResourceRole, Visibility};
use shepherd_domain::ids::{MembershipId, SystemId, UserId};
use shepherd_domain::naming::Label;
use shepherd_domain::page::{Page, PageRequest};

use crate::error::RepositoryError;

/// A new System.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.1")]
pub struct NewSystem {
    pub id: SystemId,
    pub name: Label,
    pub description: Option<String>,
    pub documentation: Option<String>,
    pub created_by: ActorId,
}

/// A System with what lists show beside it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.1")]
pub struct SystemRecord {
    pub id: SystemId,
    pub name: String,
    pub description: Option<String>,
    pub documentation: Option<String>,
    pub created_by: ActorId,
    pub created_by_name: Option<String>,
    pub tenant_id: String,
    pub service_count: i64,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// New texts of a System or Service; an outer `None` leaves the text, an inner one clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextsPatch {
    /// At most 512 characters.
    pub description: Option<Option<String>>,
    /// At most 65,536 characters of Markdown.
    pub documentation: Option<Option<String>>,
}

/// What became of a conditional change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was made.
    Yes,
    /// The row has another version than the caller saw.
    VersionMismatch {
        /// The version it has.
        current: i64,
    },
    /// The row is gone.
    Gone,
}

/// How a list of Systems is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameOrCreated {
    /// By name.
    #[default]
    Name,
    /// By time of creation.
    CreatedAt,
}

/// Writes Systems.
#[async_trait]
pub trait SystemRepository: Send {
    /// Inserts a System.
    async fn insert(&mut self, system: &NewSystem) -> Result<(), RepositoryError>;
    /// Inserts a membership.
    async fn add_member(
        &mut self,
        id: MembershipId,
        system: SystemId,
        user: UserId,
        role: ResourceRole,
        granted_by: &ActorId,
    ) -> Result<(), RepositoryError>;
    /// Changes the texts, if the row has the wanted version (when one is given).
    async fn update_texts(
        &mut self,
        id: SystemId,
        patch: &TextsPatch,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError>;
    /// Locks the System against new Services and counts those it has; `None` when it is gone.
    async fn lock_and_count_services(&mut self, id: SystemId) -> Result<Option<i64>, RepositoryError>;
    /// Deletes a System and its memberships.
    async fn delete(&mut self, id: SystemId) -> Result<bool, RepositoryError>;
}

/// Reads Systems.
#[async_trait]
pub trait SystemQueries: Send + Sync {
    /// One System, whoever asks.
    async fn get_system(&self, id: SystemId) -> Result<Option<SystemRecord>, RepositoryError>;
    /// Visible Systems; `q` looks into name and description.
    async fn list_systems(
        &self,
        visibility: &Visibility,
        q: Option<&str>,
        sort: NameOrCreated,
        descending: bool,
        page: PageRequest,
    ) -> Result<Page<SystemRecord>, RepositoryError>;
}
