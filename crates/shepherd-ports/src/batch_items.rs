//! What the checks of a batch need to know about all of its items, one statement for each table.

use async_trait::async_trait;
use serde::Deserialize;
use shepherd_domain::ids::{ClusterId, InstanceSizeId, ServiceId, TemplateId, TicketId, VmId};

use crate::clusters::ClusterRecord;
use crate::error::RepositoryError;
use crate::namespaces::NamespaceRecord;
use crate::sizes::SizeRecord;
use crate::templates::TemplateRecord;
use crate::tickets::ServiceFacts;
use crate::vms::VmRecord;

/// The open ticket of an operation group on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct OpenOperation {
    pub vm_id: VmId,
    pub id: TicketId,
    pub number: String,
}

/// Reads rows by their ids. What is not there is left out, and the order is nobody's.
#[async_trait]
pub trait BatchItemQueries: Send + Sync {
    /// Machines.
    async fn machines_of(&self, ids: &[VmId]) -> Result<Vec<VmRecord>, RepositoryError>;
    /// Clusters.
    async fn clusters_of(&self, ids: &[ClusterId]) -> Result<Vec<ClusterRecord>, RepositoryError>;
    /// Open tickets of an operation group on machines, at most one for each.
    async fn open_operations_of(&self, vms: &[VmId], group: &str) -> Result<Vec<OpenOperation>, RepositoryError>;
    /// Services with their Systems.
    async fn services_of(&self, ids: &[ServiceId]) -> Result<Vec<ServiceFacts>, RepositoryError>;
    /// Registered namespaces by name; their machines are not counted.
    async fn namespaces_of(&self, names: &[String]) -> Result<Vec<NamespaceRecord>, RepositoryError>;
    /// Template versions.
    async fn templates_of(&self, ids: &[TemplateId]) -> Result<Vec<TemplateRecord>, RepositoryError>;
    /// Sizes.
    async fn sizes_of(&self, ids: &[InstanceSizeId]) -> Result<Vec<SizeRecord>, RepositoryError>;
}
