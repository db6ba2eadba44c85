//! Services of Systems.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::ids::{ServiceId, SystemId};
use shepherd_domain::naming::Label;
use shepherd_domain::page::{Page, PageRequest};

use crate::error::RepositoryError;
use crate::systems::{Changed, TextsPatch};

/// A new Service.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.2")]
pub struct NewService {
    pub id: ServiceId,
    pub system_id: SystemId,
    pub name: Label,
    pub description: Option<String>,
    pub documentation: Option<String>,
    pub created_by: ActorId,
}

/// A Service with what lists show beside it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.2")]
pub struct ServiceRecord {
    pub id: ServiceId,
    pub system_id: SystemId,
    pub name: String,
    pub description: Option<String>,
    pub documentation: Option<String>,
    pub next_instance_index: i32,
    pub created_by: ActorId,
    pub vm_count: i64,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What still hangs on a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ServiceUse {
    /// Machine rows.
    pub vm_count: i64,
    /// Open create tickets.
    pub pending_request_count: i64,
}

/// Writes Services.
#[async_trait]
pub trait ServiceRepository: Send {
    /// Inserts a Service.
    async fn insert(&mut self, service: &NewService) -> Result<(), RepositoryError>;
    /// Changes the texts, if the row has the wanted version (when one is given).
    async fn update_texts(
        &mut self,
        id: ServiceId,
        patch: &TextsPatch,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError>;
    /// Takes the next instance number; numbers only grow. `None` when the Service is gone.
    async fn take_instance_index(&mut self, id: ServiceId) -> Result<Option<i32>, RepositoryError>;
    /// Locks the Service and counts what hangs on it; `None` when it is gone.
    async fn lock_and_count_use(&mut self, id: ServiceId) -> Result<Option<ServiceUse>, RepositoryError>;
    /// Deletes a Service.
    async fn delete(&mut self, id: ServiceId) -> Result<bool, RepositoryError>;
}

/// Reads Services.
#[async_trait]
pub trait ServiceQueries: Send + Sync {
    /// One Service of a System, whoever asks.
    async fn get_service(&self, system: SystemId, id: ServiceId) -> Result<Option<ServiceRecord>, RepositoryError>;
    /// The Services of a System by name; `q` looks into name and description.
    async fn list_services(
        &self,
        system: SystemId,
        q: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<ServiceRecord>, RepositoryError>;
}
