//! The ports a use case may reach, wired once in the composition root.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use shepherd_domain::audit::{AuditEntry, RetentionDays};
use shepherd_domain::naming::NamingRules;
use shepherd_domain::password::PasswordPolicy;
use shepherd_domain::policy::SelfApproval;
use shepherd_ports::audit::{AuditQueries, AuditStamp};
use shepherd_ports::audit_webhooks::AuditWebhookQueries;
use shepherd_ports::authentication::{PasswordHasher, TokenIssuer};
use shepherd_ports::catalog::CatalogQueries;
use shepherd_ports::clusters::{ClusterQueries, KubeconfigIntake};
use shepherd_ports::crypto::{Cipher, Digests};
use shepherd_ports::events::EventQueries;
use shepherd_ports::identity::IdentityQueries;
use shepherd_ports::leases::LeaseStore;
use shepherd_ports::legal_holds::LegalHoldQueries;
use shepherd_ports::members::MemberQueries;
use shepherd_ports::namespaces::NamespaceQueries;
use shepherd_ports::notifications::{NotificationQueries, NotificationSender};
use shepherd_ports::outbound::OutboundClient;
use shepherd_ports::providers::{InfrastructureProvider, VmRenderer};
use shepherd_ports::roles::RoleQueries;
use shepherd_ports::services::ServiceQueries;
use shepherd_ports::sessions::SessionQueries;
use shepherd_ports::systems::SystemQueries;
use shepherd_ports::tickets::TicketQueries;
use shepherd_ports::upkeep::UpkeepQueries;
use shepherd_ports::users::UserQueries;
use shepherd_ports::vms::VmQueries;
use shepherd_ports::{Clock, IdSource, RepositoryError, RequestContext, UnitOfWork, UnitOfWorkFactory};
use zeroize::Zeroizing;

use crate::auth::SubjectCache;
use crate::execution::steps::StepHook;

/// Everything that reads committed state.
pub trait Queries:
    SystemQueries
    + ServiceQueries
    + NamespaceQueries
    + ClusterQueries
    + CatalogQueries
    + VmQueries
    + TicketQueries
    + EventQueries
    + IdentityQueries
    + AuditQueries
    + NotificationQueries
    + UpkeepQueries
    + AuditWebhookQueries
    + LegalHoldQueries
    + MemberQueries
    + RoleQueries
    + SessionQueries
    + UserQueries
{
}

impl<T> Queries for T where
    T: SystemQueries
        + ServiceQueries
        + NamespaceQueries
        + ClusterQueries
        + CatalogQueries
        + VmQueries
        + TicketQueries
        + EventQueries
        + IdentityQueries
        + AuditQueries
        + NotificationQueries
        + UpkeepQueries
        + AuditWebhookQueries
        + LegalHoldQueries
        + MemberQueries
        + RoleQueries
        + SessionQueries
        + UserQueries
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
    /// Renders documents.
    pub renderer: Arc<dyn VmRenderer>,
    /// Checks kubeconfigs.
    pub intake: Arc<dyn KubeconfigIntake>,
    /// Seals columns.
    pub cipher: Arc<dyn Cipher>,
    /// Digests.
    pub digests: Arc<dyn Digests>,
    /// Hashes passwords.
    pub passwords: Arc<dyn PasswordHasher>,
    /// Signs session tokens.
    pub tokens: Arc<dyn TokenIssuer>,
    /// Sends notifications.
    pub notifications: Arc<dyn NotificationSender>,
    /// Calls addresses that people configured.
    pub outbound: Arc<dyn OutboundClient>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn IdSource>,
    /// Resolved rights, for the current epoch only.
    pub subjects: SubjectCache,
    /// Called at every step of a handler.
    pub step_hook: Arc<dyn StepHook>,
    /// Settings.
    pub settings: Settings,
}

impl Platform {
    /// Opens a transaction.
    pub async fn begin(&self) -> Result<Box<dyn UnitOfWork>, RepositoryError> {
        self.store.begin().await
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
                    retention: self.settings.retention,
                },
            )
            .await
    }
}

/// Settings of the rules (operations.md §2).
#[derive(Clone, Debug)]
pub struct Settings {
    /// `naming.*`.
    pub naming: NamingRules,
    /// `approvals.self_approval`.
    pub self_approval: SelfApproval,
    /// `audit.retention_*_days`.
    pub retention: RetentionDays,
    /// `session.*`.
    pub session: SessionSettings,
    /// `security.login.*`.
    pub login: LoginSettings,
    /// `security.password_policy.*`.
    pub password_policy: PasswordPolicy,
    /// What periodic jobs do.
    pub upkeep: UpkeepSettings,
    /// What the headers of audit webhooks may name.
    pub header_variables: HeaderVariables,
    /// `confirmation.*`.
    pub confirmation: ConfirmationSettings,
    /// `queue.*` and `k8s.*` as far as execution is concerned.
    pub execution: ExecutionSettings,
    /// `k8s.health_*` and leases.
    pub controllers: ControllerSettings,
    /// `k8s.dry_run_warn`.
    pub dry_run_warn: Duration,
}

/// Lifetimes of sessions.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// From login to the end, whatever happens.
    pub lifetime: Duration,
    /// Without a request.
    pub idle_timeout: Duration,
    /// Per user; the oldest is revoked.
    pub max_per_user: u32,
}

/// Limits of login failures.
#[derive(Clone, Debug)]
pub struct LoginSettings {
    /// Per user name.
    pub max_failures_user: u32,
    /// Per address.
    pub max_failures_ip: u32,
    /// How long failures count.
    pub window: Duration,
}

/// What periodic jobs remove and remind of.
#[derive(Clone, Debug)]
pub struct UpkeepSettings {
    /// `audit.purge_enabled`: whether audit rows past their retention are removed; otherwise they stay for ever.
    pub purge_audit: bool,
    /// `notifications.retention_days`.
    pub notification_days: u32,
    /// `approvals.reminder_days`: how long a ticket waits before its approvers are reminded, and again.
    pub reminder_days: u32,
    /// `queue.dead_letter_retention`: how long jobs that were given up stay.
    pub dead_letters: Duration,
}

/// `audit.webhook_env_allowlist`: the variables of the server's environment that headers of audit webhooks may name, and
/// what they hold. Only the names are ever shown.
#[derive(Clone, Default)]
pub struct HeaderVariables(BTreeMap<String, Option<Zeroizing<String>>>);

impl HeaderVariables {
    /// The variables of a list, read by `read`.
    pub fn read(names: &[String], read: impl Fn(&str) -> Option<String>) -> Self {
        let variables = names.iter().map(|name| (name.clone(), read(name).map(Zeroizing::new)));
        Self(variables.collect())
    }

    /// Whether a header may name it, set or not.
    pub fn allows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What it holds, if a header may name it and it is set.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_ref().map(|value| value.as_str())
    }
}

impl fmt::Debug for HeaderVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Limits of wrong confirmation names.
#[derive(Clone, Debug)]
pub struct ConfirmationSettings {
    /// Wrong names until confirmation is refused.
    pub max_failures: u32,
    /// How long they count.
    pub window: Duration,
}

/// How operations are carried out.
#[derive(Clone, Debug)]
pub struct ExecutionSettings {
    /// Attempts of one operation, those that ended with the worker's death included.
    pub max_attempts: u32,
    /// Delays before the second and later attempts; the last one repeats.
    pub retry_delays: Vec<Duration>,
    /// How long to wait while the cluster is unavailable, and for how long in all.
    pub snooze: Duration,
    /// After this long the cluster's absence counts as a failed attempt.
    pub snooze_limit: Duration,
    /// How long a deletion may take until the object is gone.
    pub operation_timeout: Duration,
    /// How long a job waits for the object to go before it makes room for others.
    pub in_job_wait: Duration,
    /// Pause between two looks at an object that is to go.
    pub poll_interval: Duration,
}

/// Continuous loops.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    /// Name of this replica in leases and heartbeats.
    pub instance: String,
    /// How long a lease is held without renewal.
    pub lease_ttl: Duration,
    /// Pause between two looks at what there is to do.
    pub tick: Duration,
    /// Between two health passes of a cluster.
    pub health_interval: Duration,
    /// Budget of one health pass.
    pub health_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            naming: NamingRules::default(),
            self_approval: SelfApproval::default(),
            retention: RetentionDays::default(),
            session: SessionSettings {
                lifetime: Duration::from_secs(24 * 3600),
                idle_timeout: Duration::from_secs(1800),
                max_per_user: 10,
            },
            login: LoginSettings {
                max_failures_user: 5,
                max_failures_ip: 20,
                window: Duration::from_secs(900),
            },
            password_policy: PasswordPolicy::default(),
            upkeep: UpkeepSettings {
                purge_audit: false,
                notification_days: 90,
                reminder_days: 7,
                dead_letters: Duration::from_secs(168 * 3600),
            },
            header_variables: HeaderVariables::default(),
            confirmation: ConfirmationSettings {
                max_failures: 3,
                window: Duration::from_secs(300),
            },
            execution: ExecutionSettings {
                max_attempts: 3,
                retry_delays: vec![Duration::from_secs(15), Duration::from_secs(60)],
                snooze: Duration::from_secs(60),
                snooze_limit: Duration::from_secs(3600),
                operation_timeout: Duration::from_secs(300),
                in_job_wait: Duration::from_secs(15),
                poll_interval: Duration::from_millis(500),
            },
            controllers: ControllerSettings {
                instance: "local".to_owned(),
                lease_ttl: Duration::from_secs(15),
                tick: Duration::from_secs(2),
                health_interval: Duration::from_secs(60),
                health_timeout: Duration::from_secs(15),
            },
            dry_run_warn: Duration::from_secs(10),
        }
    }
}
