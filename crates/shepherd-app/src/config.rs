//! Configuration: defaults, then an optional file, then the environment.
//!
//! The environment name of a key is the key in upper case with `.` as `_`; lists are separated by commas. Keys the
//! file has and the product does not know stop the start. `keys` lists them all; keys that it marks `hot` take effect
//! when the file changes (`crate::reload`).

mod catalogue;
mod checks;
mod durations;
pub mod explain;
mod findings;
mod fleet;
pub mod keys;
mod limits;
mod live;
mod nearest;
mod operating;
#[cfg(test)]
mod reference;
mod secret;
mod security;
mod server;
mod sources;
pub mod values;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shepherd_domain::audit::RetentionDays;
use shepherd_domain::naming::NamingRules;
use shepherd_domain::password::PasswordPolicy;
use shepherd_domain::policy::SelfApproval;
use shepherd_domain::ticket::MAX_MANUAL_RETRIES;
use shepherd_usecases::Settings;
use shepherd_usecases::settings::{
    BatchSettings, ConfirmationSettings, ConsoleSettings, ControllerSettings, ExecutionSettings, Features,
    HeaderVariables, LoginSettings, SessionSettings, UpkeepSettings,
};

pub use catalogue::{MaskConfig, SchemaConfig};
pub use findings::{Finding, MASKED};
pub use fleet::{AdoptionConfig, K8sConfig, ReconcilerConfig, ReconcilerMode, VmConfig};
pub use limits::{ApiRate, NoRate};
pub use live::{LiveConfig, Standing};
pub use operating::{MetricsConfig, TracingConfig, WorkerConfig};
pub use secret::Secret;
pub use security::{LoginConfig, PasswordPolicyConfig, SecurityConfig, SessionConfig};
pub use server::{DatabaseConfig, ServerConfig};
pub use sources::{ConfigError, ConfigFile, Loaded, Source, load, load_file, place};

/// All keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the sections of operations.md §2")]
pub struct Config {
    pub server: ServerConfig,
    pub metrics: MetricsConfig,
    pub tracing: TracingConfig,
    pub database: DatabaseConfig,
    pub session: SessionConfig,
    pub security: SecurityConfig,
    pub naming: NamingConfig,
    pub approvals: ApprovalsConfig,
    pub confirmation: ConfirmationConfig,
    pub queue: QueueConfig,
    pub worker: WorkerConfig,
    pub k8s: K8sConfig,
    pub vm: VmConfig,
    pub adoption: AdoptionConfig,
    pub reconciler: ReconcilerConfig,
    pub schema: SchemaConfig,
    pub mask: MaskConfig,
    pub features: Features,
    pub batch: BatchSettings,
    pub console: ConsoleSettings,
    pub notifications: NotificationsConfig,
    pub events: EventsConfig,
    pub audit: AuditConfig,
    pub seed: SeedConfig,
    pub log: LogConfig,
}

/// `naming.*`, beside the built-in rules.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamingConfig {
    /// Names nobody may take.
    pub reserved: Vec<String>,
    /// Prefixes nobody may use.
    pub reserved_prefixes: Vec<String>,
}

/// `approvals.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalsConfig {
    /// `deny`, `deny_prod` or `allow`.
    pub self_approval: SelfApproval,
    /// Whether approval policies may approve in prod.
    pub allow_prod_auto_approval: bool,
    /// Days a ticket waits before its approvers are reminded, and again.
    pub reminder_days: u32,
}

impl Default for ApprovalsConfig {
    fn default() -> Self {
        Self {
            self_approval: SelfApproval::default(),
            allow_prod_auto_approval: false,
            reminder_days: 7,
        }
    }
}

/// `notifications.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotificationsConfig {
    /// Days a notification stays.
    pub retention_days: u32,
}

impl Default for NotificationsConfig {
    fn default() -> Self {
        Self { retention_days: 90 }
    }
}

/// `events.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// Days until what has ended leaves the default lists.
    pub archive_after_days: u32,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self { archive_after_days: 30 }
    }
}

/// `confirmation.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfirmationConfig {
    /// Wrong names until confirmation is refused.
    pub max_failures: u32,
    /// How long they count.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Default for ConfirmationConfig {
    fn default() -> Self {
        Self {
            max_failures: 3,
            window: Duration::from_secs(300),
        }
    }
}

/// `queue.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Jobs at once.
    pub max_workers: usize,
    /// How often the queue is looked at without a wake-up.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// Attempts of one operation.
    pub max_attempts: u32,
    /// How often a failed ticket may be retried by hand.
    pub max_manual_retries: u32,
    /// How often a worker says that it is alive.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// After which a silent worker's jobs go to another.
    #[serde(with = "humantime_serde")]
    pub recovery_threshold: Duration,
    /// How long jobs that were given up stay.
    #[serde(with = "humantime_serde")]
    pub dead_letter_retention: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_workers: 10,
            poll_interval: Duration::from_secs(1),
            max_attempts: 3,
            max_manual_retries: MAX_MANUAL_RETRIES,
            heartbeat: Duration::from_secs(5),
            recovery_threshold: Duration::from_secs(20),
            dead_letter_retention: Duration::from_secs(168 * 3600),
        }
    }
}

/// `audit.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Days rows of prod stay at least.
    pub retention_prod_days: u32,
    /// Days rows of test stay at least.
    pub retention_test_days: u32,
    /// Days sensitive rows stay at least.
    pub retention_sensitive_days: u32,
    /// Whether rows past their retention are removed; otherwise they stay for ever.
    pub purge_enabled: bool,
    /// Variables of the environment that headers of webhooks may name: `NAME@https://host` for webhooks to that origin
    /// alone. A name without an origin goes wherever a person who sets up webhooks points it.
    pub webhook_env_allowlist: Vec<String>,
}

impl Default for AuditConfig {
    fn default() -> Self {
        let days = RetentionDays::default();
        Self {
            retention_prod_days: days.prod,
            retention_test_days: days.test,
            retention_sensitive_days: days.sensitive,
            purge_enabled: false,
            webhook_env_allowlist: Vec::new(),
        }
    }
}

/// `seed.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeedConfig {
    /// Folder of the seed files.
    pub dir: PathBuf,
}

impl Default for SeedConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("seed"),
        }
    }
}

/// `log.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// JSON unless text is asked for.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Json,
        }
    }
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

impl Config {
    /// The settings of the rules.
    pub fn settings(&self, instance: String) -> Settings {
        let defaults = Settings::default();
        Settings {
            naming: NamingRules::extended(&self.naming.reserved, &self.naming.reserved_prefixes),
            self_approval: self.approvals.self_approval,
            allow_prod_auto_approval: self.approvals.allow_prod_auto_approval,
            retention: RetentionDays {
                sensitive: self.audit.retention_sensitive_days,
                prod: self.audit.retention_prod_days,
                test: self.audit.retention_test_days,
            },
            session: SessionSettings {
                lifetime: self.session.lifetime,
                idle_timeout: self.session.idle_timeout,
                max_per_user: self.session.max_per_user,
            },
            login: LoginSettings {
                max_failures_user: self.security.login.max_failures_user,
                max_failures_ip: self.security.login.max_failures_ip,
                window: self.security.login.window,
            },
            password_policy: PasswordPolicy {
                mode: self.security.password_policy.mode,
                min_length: self.security.password_policy.min_length,
                require_uppercase: self.security.password_policy.require_uppercase,
                require_lowercase: self.security.password_policy.require_lowercase,
                require_digit: self.security.password_policy.require_digit,
                require_special: self.security.password_policy.require_special,
            },
            upkeep: UpkeepSettings {
                purge_audit: self.audit.purge_enabled,
                notification_days: self.notifications.retention_days,
                reminder_days: self.approvals.reminder_days,
                archive_days: self.events.archive_after_days,
                dead_letters: self.queue.dead_letter_retention,
            },
            header_variables: HeaderVariables::read(&self.audit.webhook_env_allowlist, |name| std::env::var(name).ok()),
            confirmation: ConfirmationSettings {
                max_failures: self.confirmation.max_failures,
                window: self.confirmation.window,
            },
            execution: ExecutionSettings {
                max_attempts: self.queue.max_attempts,
                max_manual_retries: self.queue.max_manual_retries,
                operation_timeout: self.k8s.operation_timeout,
                ..defaults.execution
            },
            controllers: ControllerSettings {
                instance,
                health_interval: self.k8s.health_interval,
                health_timeout: self.k8s.health_timeout,
                ..defaults.controllers
            },
            dry_run_warn: self.k8s.dry_run_warn,
            features: self.features,
            portal_url: self.server.portal_url(),
            creation_timeout: self.vm.creation_timeout,
            initial_password_ttl: self.vm.initial_password_ttl,
            adoption_interval: self.adoption.scan_interval,
            reconciler: self.reconciler.settings(),
            batch: self.batch.clone(),
            console: self.console.clone(),
            schema: self.schema.settings(),
            mask: defaults.mask,
        }
    }
}
