//! The transaction.

use async_trait::async_trait;

use crate::audit::AuditRepository;
use crate::catalog::CatalogRepository;
use crate::clusters::ClusterRepository;
use crate::error::RepositoryError;
use crate::events::EventRepository;
use crate::idempotency::IdempotencyRepository;
use crate::identity::IdentityRepository;
use crate::namespaces::NamespaceRepository;
use crate::notifications::NotificationRepository;
use crate::queue::JobQueue;
use crate::services::ServiceRepository;
use crate::systems::SystemRepository;
use crate::tickets::TicketRepository;
use crate::vms::VmRepository;

/// Opens transactions.
#[async_trait]
pub trait UnitOfWorkFactory: Send + Sync {
    /// Begins one.
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, RepositoryError>;
}

/// One transaction. Dropping it rolls everything back; only [`commit`](UnitOfWork::commit) keeps it.
#[async_trait]
pub trait UnitOfWork: Send {
    /// Systems and memberships.
    fn systems(&mut self) -> &mut dyn SystemRepository;
    /// Services and their instance numbers.
    fn services(&mut self) -> &mut dyn ServiceRepository;
    /// The namespace registry.
    fn namespaces(&mut self) -> &mut dyn NamespaceRepository;
    /// Clusters.
    fn clusters(&mut self) -> &mut dyn ClusterRepository;
    /// Templates and sizes.
    fn catalog(&mut self) -> &mut dyn CatalogRepository;
    /// Virtual machines and revisions.
    fn vms(&mut self) -> &mut dyn VmRepository;
    /// Domain events.
    fn events(&mut self) -> &mut dyn EventRepository;
    /// Tickets and their history.
    fn tickets(&mut self) -> &mut dyn TicketRepository;
    /// Users, sessions, roles, bindings.
    fn identity(&mut self) -> &mut dyn IdentityRepository;
    /// The audit log.
    fn audit(&mut self) -> &mut dyn AuditRepository;
    /// Notifications.
    fn notifications(&mut self) -> &mut dyn NotificationRepository;
    /// Idempotency keys.
    fn idempotency(&mut self) -> &mut dyn IdempotencyRepository;
    /// The job queue: a job is there when the transaction commits, and not otherwise.
    fn jobs(&mut self) -> &mut dyn JobQueue;

    /// Keeps everything.
    async fn commit(self: Box<Self>) -> Result<(), RepositoryError>;
}
