//! The transaction.

use async_trait::async_trait;

use crate::adoptions::AdoptionRepository;
use crate::audit::AuditRepository;
use crate::audit_webhooks::AuditWebhookRepository;
use crate::batches::BatchRepository;
use crate::clones::CloneRepository;
use crate::clusters::ClusterRepository;
use crate::consoles::ConsoleRepository;
use crate::consoles::tokens::ConsoleTokenRepository;
use crate::credentials::CredentialRepository;
use crate::dead_letters::DeadLetterRepository;
use crate::encryption_keys::EncryptionKeyRepository;
use crate::error::RepositoryError;
use crate::events::EventRepository;
use crate::external_approvals::ExternalApprovalRepository;
use crate::idempotency::IdempotencyRepository;
use crate::identity::IdentityRepository;
use crate::legal_holds::LegalHoldRepository;
use crate::limits::LimitRepository;
use crate::members::MemberRepository;
use crate::metrics::Counted;
use crate::migrations::MigrationRepository;
use crate::namespaces::NamespaceRepository;
use crate::notifications::NotificationRepository;
use crate::policies::PolicyRepository;
use crate::queue::JobQueue;
use crate::reconciler::ReconcilerRepository;
use crate::roles::RoleRepository;
use crate::schemas::SchemaRepository;
use crate::services::ServiceRepository;
use crate::sessions::SessionRepository;
use crate::sizes::SizeRepository;
use crate::snapshots::SnapshotRepository;
use crate::systems::SystemRepository;
use crate::templates::TemplateRepository;
use crate::tickets::TicketRepository;
use crate::upkeep::UpkeepRepository;
use crate::users::UserRepository;
use crate::vms::VmRepository;
use crate::watches::WatchRepository;

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
    /// Templates.
    fn templates(&mut self) -> &mut dyn TemplateRepository;
    /// Instance sizes.
    fn sizes(&mut self) -> &mut dyn SizeRepository;
    /// Schemas of virtual machines.
    fn schemas(&mut self) -> &mut dyn SchemaRepository;
    /// Initial passwords.
    fn credentials(&mut self) -> &mut dyn CredentialRepository;
    /// Virtual machines and revisions.
    fn vms(&mut self) -> &mut dyn VmRepository;
    /// How far watches are.
    fn watches(&mut self) -> &mut dyn WatchRepository;
    /// Domain events.
    fn events(&mut self) -> &mut dyn EventRepository;
    /// Tickets and their history.
    fn tickets(&mut self) -> &mut dyn TicketRepository;
    /// Approval policies.
    fn policies(&mut self) -> &mut dyn PolicyRepository;
    /// External approval systems and what was handed to them.
    fn external_approvals(&mut self) -> &mut dyn ExternalApprovalRepository;
    /// Batches.
    fn batches(&mut self) -> &mut dyn BatchRepository;
    /// Limits of batches.
    fn limits(&mut self) -> &mut dyn LimitRepository;
    /// Console grants, tokens and sessions.
    fn consoles(&mut self) -> &mut dyn ConsoleRepository;
    /// Console tokens, and the consoles that are open.
    fn console_tokens(&mut self) -> &mut dyn ConsoleTokenRepository;
    /// Jobs that were given up.
    fn dead_letters(&mut self) -> &mut dyn DeadLetterRepository;
    /// Users, sessions, roles, bindings.
    fn identity(&mut self) -> &mut dyn IdentityRepository;
    /// Users.
    fn users(&mut self) -> &mut dyn UserRepository;
    /// Sessions.
    fn sessions(&mut self) -> &mut dyn SessionRepository;
    /// Roles and bindings.
    fn roles(&mut self) -> &mut dyn RoleRepository;
    /// Members of Systems.
    fn members(&mut self) -> &mut dyn MemberRepository;
    /// Legal holds.
    fn legal_holds(&mut self) -> &mut dyn LegalHoldRepository;
    /// Webhooks of the audit log.
    fn audit_webhooks(&mut self) -> &mut dyn AuditWebhookRepository;
    /// What periodic jobs do.
    fn upkeep(&mut self) -> &mut dyn UpkeepRepository;
    /// Machines that may be adopted.
    fn adoptions(&mut self) -> &mut dyn AdoptionRepository;
    /// Runs of the reconciler.
    fn reconciler(&mut self) -> &mut dyn ReconcilerRepository;
    /// Snapshots.
    fn snapshots(&mut self) -> &mut dyn SnapshotRepository;
    /// Clones.
    fn clones(&mut self) -> &mut dyn CloneRepository;
    /// Live migrations.
    fn migrations(&mut self) -> &mut dyn MigrationRepository;
    /// Encryption keys.
    fn encryption_keys(&mut self) -> &mut dyn EncryptionKeyRepository;
    /// The audit log.
    fn audit(&mut self) -> &mut dyn AuditRepository;
    /// Notifications.
    fn notifications(&mut self) -> &mut dyn NotificationRepository;
    /// Idempotency keys.
    fn idempotency(&mut self) -> &mut dyn IdempotencyRepository;
    /// The job queue: a job is there when the transaction commits, and not otherwise.
    fn jobs(&mut self) -> &mut dyn JobQueue;

    /// What is counted when the transaction is kept.
    fn counted(&mut self) -> &mut Counted;

    /// Keeps everything.
    async fn commit(self: Box<Self>) -> Result<(), RepositoryError>;
}
