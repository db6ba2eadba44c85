//! The ports a use case may reach, wired once in the composition root.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use shepherd_domain::audit::AuditEntry;
use shepherd_ports::adoptions::AdoptionQueries;
use shepherd_ports::audit::{AuditQueries, AuditStamp};
use shepherd_ports::audit_webhooks::AuditWebhookQueries;
use shepherd_ports::authentication::{GuestPasswordHasher, PasswordHasher, TokenIssuer};
use shepherd_ports::batch_items::BatchItemQueries;
use shepherd_ports::batches::BatchQueries;
use shepherd_ports::changes::ChangeFeed;
use shepherd_ports::clones::CloneQueries;
use shepherd_ports::clusters::{ClusterQueries, KubeconfigIntake};
use shepherd_ports::consoles::ConsoleQueries;
use shepherd_ports::consoles::tokens::ConsoleTokenQueries;
use shepherd_ports::credentials::CredentialQueries;
use shepherd_ports::crypto::{Cipher, ConsoleSealer, Digests, KeyStore};
use shepherd_ports::dead_letters::DeadLetterQueries;
use shepherd_ports::encryption_keys::EncryptionKeyQueries;
use shepherd_ports::events::EventQueries;
use shepherd_ports::external_approvals::ExternalApprovalQueries;
use shepherd_ports::identity::IdentityQueries;
use shepherd_ports::leases::LeaseStore;
use shepherd_ports::legal_holds::LegalHoldQueries;
use shepherd_ports::limits::LimitQueries;
use shepherd_ports::members::MemberQueries;
use shepherd_ports::metrics::state::MetricsQueries;
use shepherd_ports::migrations::MigrationQueries;
use shepherd_ports::namespaces::NamespaceQueries;
use shepherd_ports::notifications::{NotificationQueries, NotificationSender};
use shepherd_ports::outbound::OutboundClient;
use shepherd_ports::policies::PolicyQueries;
use shepherd_ports::providers::{
    CloneProvider, ConsoleProvider, InfrastructureProvider, InstanceTypeProvider, MigrationProvider, SchemaProvider,
    SnapshotProvider, VmRenderer,
};
use shepherd_ports::reconciler::ReconcilerQueries;
use shepherd_ports::revisions::RevisionQueries;
use shepherd_ports::roles::RoleQueries;
use shepherd_ports::schemas::SchemaQueries;
use shepherd_ports::services::ServiceQueries;
use shepherd_ports::sessions::SessionQueries;
use shepherd_ports::sizes::SizeQueries;
use shepherd_ports::snapshots::SnapshotQueries;
use shepherd_ports::systems::SystemQueries;
use shepherd_ports::templates::TemplateQueries;
use shepherd_ports::tickets::TicketQueries;
use shepherd_ports::traces::TraceContext;
use shepherd_ports::upkeep::UpkeepQueries;
use shepherd_ports::users::UserQueries;
use shepherd_ports::vms::VmQueries;
use shepherd_ports::watches::WatchQueries;
use shepherd_ports::workbench::WorkbenchQueries;
use shepherd_ports::{Clock, IdSource, RepositoryError, RequestContext, UnitOfWork, UnitOfWorkFactory};

use crate::Settings;
use crate::auth::SubjectCache;
use crate::console::token::KeyLooks;
use crate::execution::steps::StepHook;
use crate::schema::SchemaCache;
use crate::settings::LiveSettings;

/// Everything that reads committed state.
pub trait Queries:
    SystemQueries
    + ServiceQueries
    + NamespaceQueries
    + ClusterQueries
    + TemplateQueries
    + PolicyQueries
    + ExternalApprovalQueries
    + DeadLetterQueries
    + BatchQueries
    + BatchItemQueries
    + LimitQueries
    + ConsoleQueries
    + ConsoleTokenQueries
    + SizeQueries
    + SchemaQueries
    + CredentialQueries
    + RevisionQueries
    + VmQueries
    + WatchQueries
    + TicketQueries
    + WorkbenchQueries
    + EventQueries
    + IdentityQueries
    + AuditQueries
    + NotificationQueries
    + UpkeepQueries
    + AuditWebhookQueries
    + LegalHoldQueries
    + MemberQueries
    + MetricsQueries
    + RoleQueries
    + SessionQueries
    + UserQueries
    + AdoptionQueries
    + ReconcilerQueries
    + SnapshotQueries
    + CloneQueries
    + MigrationQueries
    + EncryptionKeyQueries
{
}

impl<T> Queries for T where
    T: SystemQueries
        + ServiceQueries
        + NamespaceQueries
        + ClusterQueries
        + TemplateQueries
        + PolicyQueries
        + ExternalApprovalQueries
        + DeadLetterQueries
        + BatchQueries
        + BatchItemQueries
        + LimitQueries
        + ConsoleQueries
        + ConsoleTokenQueries
        + SizeQueries
        + SchemaQueries
        + CredentialQueries
        + RevisionQueries
        + VmQueries
        + WatchQueries
        + TicketQueries
        + WorkbenchQueries
        + EventQueries
        + IdentityQueries
        + AuditQueries
        + NotificationQueries
        + UpkeepQueries
        + AuditWebhookQueries
        + LegalHoldQueries
        + MemberQueries
        + MetricsQueries
        + RoleQueries
        + SessionQueries
        + UserQueries
        + AdoptionQueries
        + ReconcilerQueries
        + SnapshotQueries
        + CloneQueries
        + MigrationQueries
        + EncryptionKeyQueries
{
}

/// The ports, and the settings that steer the rules.
pub struct Platform {
    /// Opens transactions.
    pub store: Arc<dyn UnitOfWorkFactory>,
    /// Reads committed state.
    pub read: Arc<dyn Queries>,
    /// Leases and heartbeats.
    pub leases: Arc<dyn LeaseStore>,
    /// Clusters.
    pub provider: Arc<dyn InfrastructureProvider>,
    /// Snapshots and restores on clusters.
    pub snapshots: Arc<dyn SnapshotProvider>,
    /// Clones on clusters.
    pub clones: Arc<dyn CloneProvider>,
    /// Live migrations on clusters.
    pub migrations: Arc<dyn MigrationProvider>,
    /// Consoles of running machines.
    pub consoles: Arc<dyn ConsoleProvider>,
    /// Instance types and preferences of clusters.
    pub instance_types: Arc<dyn InstanceTypeProvider>,
    /// Schemas of virtual machines, from clusters.
    pub cluster_schemas: Arc<dyn SchemaProvider>,
    /// Schemas of virtual machines, as far as they are known.
    pub schemas: SchemaCache,
    /// What other replicas changed.
    pub changes: Arc<dyn ChangeFeed>,
    /// Renders documents.
    pub renderer: Arc<dyn VmRenderer>,
    /// Checks kubeconfigs.
    pub intake: Arc<dyn KubeconfigIntake>,
    /// Seals columns.
    pub cipher: Arc<dyn Cipher>,
    /// The keys it seals with.
    pub keys: Arc<dyn KeyStore>,
    /// Seals what a browser carries to open a console.
    pub console_sealer: Arc<dyn ConsoleSealer>,
    /// Looks for the keys of such.
    pub token_key_looks: KeyLooks,
    /// Digests.
    pub digests: Arc<dyn Digests>,
    /// Hashes passwords.
    pub passwords: Arc<dyn PasswordHasher>,
    /// Hashes the passwords of guests.
    pub guest_passwords: Arc<dyn GuestPasswordHasher>,
    /// Signs session tokens.
    pub tokens: Arc<dyn TokenIssuer>,
    /// Sends notifications.
    pub notifications: Arc<dyn NotificationSender>,
    /// Calls addresses that people configured.
    pub outbound: Arc<dyn OutboundClient>,
    /// Hands traces on, from a request to its job.
    pub traces: Arc<dyn TraceContext>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn IdSource>,
    /// Resolved rights, for the current epoch only.
    pub subjects: SubjectCache,
    /// Called at every step of a handler.
    pub step_hook: Arc<dyn StepHook>,
    /// The settings that hold now.
    pub live: LiveSettings,
}

impl Platform {
    /// Opens a transaction.
    pub async fn begin(&self) -> Result<Box<dyn UnitOfWork>, RepositoryError> {
        self.store.begin().await
    }

    /// The settings that hold now; ask again after a wait.
    pub fn settings(&self) -> Arc<Settings> {
        self.live.now()
    }

    /// Now.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Appends audit rows in the caller's transaction.
    pub async fn audit(
        &self,
        uow: &mut dyn UnitOfWork,
        context: &RequestContext,
        at: DateTime<Utc>,
        entries: impl IntoIterator<Item = AuditEntry>,
    ) -> Result<(), RepositoryError> {
        let rows: Vec<_> = entries.into_iter().map(|entry| (self.ids.id(), entry)).collect();
        uow.audit()
            .append(
                &rows,
                &AuditStamp {
                    context,
                    at,
                    retention: self.settings().retention,
                },
            )
            .await
    }
}
