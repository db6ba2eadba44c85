//! The settings that steer the rules (operations.md §2).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shepherd_domain::audit::RetentionDays;
use shepherd_domain::naming::NamingRules;
use shepherd_domain::password::PasswordPolicy;
use shepherd_domain::policy::SelfApproval;
use zeroize::Zeroizing;

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
    /// `features.*`.
    pub features: Features,
    /// `vm.creation_timeout`: how long a machine may stay in CREATING.
    pub creation_timeout: Duration,
    /// `adoption.scan_interval`.
    pub adoption_interval: Duration,
    /// `reconciler.*`.
    pub reconciler: ReconcilerSettings,
}

/// Parts of the product that are off unless they are switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Features {
    /// Snapshots and restores.
    pub snapshots: bool,
    /// Clones.
    pub clones: bool,
    /// Live migrations.
    pub migrations: bool,
}

/// What the reconciler does by itself.
#[derive(Clone, Debug)]
pub struct ReconcilerSettings {
    /// Between two scheduled runs.
    pub interval: Duration,
    /// Whether scheduled runs mark ghosts; otherwise they only report.
    pub mark: bool,
    /// The part of the examined rows of a cluster, 0 to 1, above which ghosts halt the run of that cluster.
    pub halt_ratio: f64,
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
            features: Features::default(),
            creation_timeout: Duration::from_secs(1800),
            adoption_interval: Duration::from_secs(900),
            reconciler: ReconcilerSettings {
                interval: Duration::from_secs(6 * 3600),
                mark: false,
                halt_ratio: 0.5,
            },
        }
    }
}
