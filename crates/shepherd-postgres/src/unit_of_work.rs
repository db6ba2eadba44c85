//! The transaction. It is every repository at once; each port is implemented in the module of its aggregate.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use shepherd_ports::adoptions::AdoptionRepository;
use shepherd_ports::audit::AuditRepository;
use shepherd_ports::audit_webhooks::AuditWebhookRepository;
use shepherd_ports::batches::BatchRepository;
use shepherd_ports::clones::CloneRepository;
use shepherd_ports::clusters::ClusterRepository;
use shepherd_ports::consoles::ConsoleRepository;
use shepherd_ports::consoles::tokens::ConsoleTokenRepository;
use shepherd_ports::credentials::CredentialRepository;
use shepherd_ports::dead_letters::DeadLetterRepository;
use shepherd_ports::encryption_keys::EncryptionKeyRepository;
use shepherd_ports::events::EventRepository;
use shepherd_ports::external_approvals::ExternalApprovalRepository;
use shepherd_ports::idempotency::IdempotencyRepository;
use shepherd_ports::identity::IdentityRepository;
use shepherd_ports::legal_holds::LegalHoldRepository;
use shepherd_ports::limits::LimitRepository;
use shepherd_ports::members::MemberRepository;
use shepherd_ports::metrics::Counted;
use shepherd_ports::migrations::MigrationRepository;
use shepherd_ports::namespaces::NamespaceRepository;
use shepherd_ports::notifications::NotificationRepository;
use shepherd_ports::policies::PolicyRepository;
use shepherd_ports::queue::JobQueue;
use shepherd_ports::reconciler::ReconcilerRepository;
use shepherd_ports::roles::RoleRepository;
use shepherd_ports::schemas::SchemaRepository;
use shepherd_ports::services::ServiceRepository;
use shepherd_ports::sessions::SessionRepository;
use shepherd_ports::sizes::SizeRepository;
use shepherd_ports::snapshots::SnapshotRepository;
use shepherd_ports::systems::SystemRepository;
use shepherd_ports::templates::TemplateRepository;
use shepherd_ports::tickets::TicketRepository;
use shepherd_ports::upkeep::UpkeepRepository;
use shepherd_ports::users::UserRepository;
use shepherd_ports::vms::VmRepository;
use shepherd_ports::watches::WatchRepository;
use shepherd_ports::{RepositoryError, UnitOfWork};

use crate::errors::store_error;

/// A transaction that remembers whether one of its statements failed.
///
/// PostgreSQL answers COMMIT of a failed transaction with a silent ROLLBACK. A caller who handled the error of a
/// statement and committed all the same would believe that its rows were kept.
pub(crate) struct Transaction {
    inner: DatabaseTransaction,
    failed: AtomicBool,
}

impl Transaction {
    fn noted<T>(&self, outcome: Result<T, DbErr>) -> Result<T, DbErr> {
        if outcome.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.noted(self.inner.execute_raw(statement).await)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.noted(self.inner.execute_unprepared(sql).await)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.noted(self.inner.query_one_raw(statement).await)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.noted(self.inner.query_all_raw(statement).await)
    }
}

/// One transaction; dropping it rolls back.
pub(crate) struct PgUnitOfWork {
    pub(crate) tx: Transaction,
    pub(crate) counted: Counted,
}

impl PgUnitOfWork {
    pub(crate) fn new(transaction: DatabaseTransaction) -> Self {
        Self {
            tx: Transaction {
                inner: transaction,
                failed: AtomicBool::new(false),
            },
            counted: Counted::default(),
        }
    }

    pub(crate) async fn keep(self) -> Result<(), RepositoryError> {
        let Self { tx, counted } = self;
        let Transaction { inner, failed } = tx;
        if failed.into_inner() {
            return Err(RepositoryError::Other(
                "a statement of the transaction failed; nothing of it was kept".into(),
            ));
        }
        inner.commit().await.map_err(store_error)?;
        counted.now();
        Ok(())
    }
}

#[async_trait]
impl UnitOfWork for PgUnitOfWork {
    fn systems(&mut self) -> &mut dyn SystemRepository {
        self
    }

    fn services(&mut self) -> &mut dyn ServiceRepository {
        self
    }

    fn namespaces(&mut self) -> &mut dyn NamespaceRepository {
        self
    }

    fn clusters(&mut self) -> &mut dyn ClusterRepository {
        self
    }

    fn policies(&mut self) -> &mut dyn PolicyRepository {
        self
    }

    fn external_approvals(&mut self) -> &mut dyn ExternalApprovalRepository {
        self
    }

    fn batches(&mut self) -> &mut dyn BatchRepository {
        self
    }

    fn limits(&mut self) -> &mut dyn LimitRepository {
        self
    }

    fn consoles(&mut self) -> &mut dyn ConsoleRepository {
        self
    }

    fn console_tokens(&mut self) -> &mut dyn ConsoleTokenRepository {
        self
    }

    fn dead_letters(&mut self) -> &mut dyn DeadLetterRepository {
        self
    }

    fn templates(&mut self) -> &mut dyn TemplateRepository {
        self
    }

    fn sizes(&mut self) -> &mut dyn SizeRepository {
        self
    }

    fn schemas(&mut self) -> &mut dyn SchemaRepository {
        self
    }

    fn credentials(&mut self) -> &mut dyn CredentialRepository {
        self
    }

    fn vms(&mut self) -> &mut dyn VmRepository {
        self
    }

    fn watches(&mut self) -> &mut dyn WatchRepository {
        self
    }

    fn events(&mut self) -> &mut dyn EventRepository {
        self
    }

    fn tickets(&mut self) -> &mut dyn TicketRepository {
        self
    }

    fn identity(&mut self) -> &mut dyn IdentityRepository {
        self
    }

    fn users(&mut self) -> &mut dyn UserRepository {
        self
    }

    fn sessions(&mut self) -> &mut dyn SessionRepository {
        self
    }

    fn roles(&mut self) -> &mut dyn RoleRepository {
        self
    }

    fn members(&mut self) -> &mut dyn MemberRepository {
        self
    }

    fn legal_holds(&mut self) -> &mut dyn LegalHoldRepository {
        self
    }

    fn audit_webhooks(&mut self) -> &mut dyn AuditWebhookRepository {
        self
    }

    fn upkeep(&mut self) -> &mut dyn UpkeepRepository {
        self
    }

    fn adoptions(&mut self) -> &mut dyn AdoptionRepository {
        self
    }

    fn reconciler(&mut self) -> &mut dyn ReconcilerRepository {
        self
    }

    fn snapshots(&mut self) -> &mut dyn SnapshotRepository {
        self
    }

    fn clones(&mut self) -> &mut dyn CloneRepository {
        self
    }

    fn migrations(&mut self) -> &mut dyn MigrationRepository {
        self
    }

    fn encryption_keys(&mut self) -> &mut dyn EncryptionKeyRepository {
        self
    }

    fn audit(&mut self) -> &mut dyn AuditRepository {
        self
    }

    fn notifications(&mut self) -> &mut dyn NotificationRepository {
        self
    }

    fn idempotency(&mut self) -> &mut dyn IdempotencyRepository {
        self
    }

    fn jobs(&mut self) -> &mut dyn JobQueue {
        self
    }

    fn counted(&mut self) -> &mut Counted {
        &mut self.counted
    }

    async fn commit(self: Box<Self>) -> Result<(), RepositoryError> {
        self.keep().await
    }
}
