//! The settings that steer the rules (operations.md §2).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use shepherd_domain::audit::RetentionDays;
use shepherd_domain::audit_webhook::is_variable_name;
use shepherd_domain::mask::Mask;
use shepherd_domain::naming::NamingRules;
use shepherd_domain::password::PasswordPolicy;
use shepherd_domain::policy::SelfApproval;
use shepherd_domain::ticket::MAX_MANUAL_RETRIES;
use zeroize::Zeroizing;

/// The settings as they are now. They change while the platform runs, and then all at once: whoever needs several that
/// belong together takes them from one [`now`](LiveSettings::now).
#[derive(Debug)]
pub struct LiveSettings(ArcSwap<Settings>);

impl LiveSettings {
    /// Settings that hold until they are replaced.
    pub fn new(settings: Settings) -> Self {
        Self(ArcSwap::from_pointee(settings))
    }

    /// What holds now.
    pub fn now(&self) -> Arc<Settings> {
        self.0.load_full()
    }

    /// Puts others in their place; what was taken before stays as it was.
    pub fn replace(&self, settings: Settings) {
        self.0.store(Arc::new(settings));
    }
}

/// Settings of the rules (operations.md §2).
#[derive(Clone, Debug)]
pub struct Settings {
    /// `naming.*`.
    pub naming: NamingRules,
    /// `approvals.self_approval`.
    pub self_approval: SelfApproval,
    /// `approvals.allow_prod_auto_approval`: whether policies may approve in prod.
    pub allow_prod_auto_approval: bool,
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
    /// The first of `server.portal_urls`, without a slash at its end: where external systems send their decisions.
    pub portal_url: String,
    /// `vm.creation_timeout`: how long a machine may stay in CREATING.
    pub creation_timeout: Duration,
    /// `vm.initial_password_ttl`: how long the owner of a machine can be shown its one-time password.
    pub initial_password_ttl: Duration,
    /// `adoption.scan_interval`.
    pub adoption_interval: Duration,
    /// `reconciler.*`.
    pub reconciler: ReconcilerSettings,
    /// `batch.*`.
    pub batch: BatchSettings,
    /// `console.*`.
    pub console: ConsoleSettings,
    /// `schema.*`.
    pub schema: SchemaSettings,
    /// What the file of `mask.file` says, or the built-in mask.
    pub mask: Arc<Mask>,
}

/// How schemas of virtual machines are fetched.
#[derive(Clone, Debug)]
pub struct SchemaSettings {
    /// How long one attempt may take.
    pub fetch_timeout: Duration,
    /// Retries after 30, 60, 120 s; after as many failures the administrators are told.
    pub fetch_retries: u32,
    /// Whether sizes and templates are validated again when a schema is there.
    pub validate_on_version_change: bool,
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
    /// External approval systems.
    pub external_approval: bool,
}

/// `batch.*`: sizes and limits of batches. It is a section of the configuration as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// Most machines of one creation.
    pub max_create: usize,
    /// Most machines of one deletion.
    pub max_delete: usize,
    /// Most machines that are started, stopped or restarted at once.
    pub max_power: usize,
    /// Most tickets that are approved in one call.
    pub max_approve: usize,
    /// Batches that are pending or in progress, of everybody.
    pub max_global_pending_parents: u32,
    /// Submissions per minute, of everybody, refused ones included.
    pub max_global_per_minute: u32,
    /// Batches of one user that are pending or in progress.
    pub max_user_pending_parents: u32,
    /// Open machines of one user's creations and deletions.
    pub max_user_pending_children: u32,
    /// How long a user waits after a batch was accepted.
    #[serde(with = "humantime_serde")]
    pub user_cooldown: Duration,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            max_create: 10,
            max_delete: 10,
            max_power: 50,
            max_approve: 20,
            max_global_pending_parents: 100,
            max_global_per_minute: 1000,
            max_user_pending_parents: 3,
            max_user_pending_children: 30,
            user_cooldown: Duration::from_secs(120),
        }
    }
}

/// `console.*`. It is a section of the configuration as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleSettings {
    /// How long a token can be used; at most 2 hours.
    #[serde(with = "humantime_serde")]
    pub token_ttl: Duration,
    /// How long a grant lasts; at most 8 hours.
    #[serde(with = "humantime_serde")]
    pub grant_ttl: Duration,
    /// Open consoles of one replica.
    pub max_sessions: usize,
    /// Between two looks at whether an open console may go on; at most 30 seconds.
    #[serde(with = "humantime_serde")]
    pub check_interval: Duration,
}

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self {
            token_ttl: Duration::from_secs(2 * 3600),
            grant_ttl: Duration::from_secs(2 * 3600),
            max_sessions: 200,
            check_interval: Duration::from_secs(30),
        }
    }
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
    /// `events.archive_after_days`: when what has ended leaves the default lists.
    pub archive_days: u32,
    /// `queue.dead_letter_retention`: how long jobs that were given up stay.
    pub dead_letters: Duration,
}

/// `audit.webhook_env_allowlist`: the variables of the server's environment that headers of audit webhooks may name, and
/// what they hold. Only the names are ever shown.
#[derive(Clone, Default)]
pub struct HeaderVariables(BTreeMap<String, HeaderVariable>);

#[derive(Clone, Default)]
struct HeaderVariable {
    value: Option<Zeroizing<String>>,
    /// The receivers it is for; all when there are none.
    origins: Vec<String>,
}

impl HeaderVariables {
    /// The variables of a list, read by `read`. An entry is a name, or a name and the only origin it is for:
    /// `NAME@https://host`; several entries of one name add up.
    pub fn read(entries: &[String], read: impl Fn(&str) -> Option<String>) -> Self {
        let mut variables: BTreeMap<String, HeaderVariable> = BTreeMap::new();
        for entry in entries {
            let (name, origin) = Self::parts(entry);
            let variable = variables.entry(name.to_owned()).or_default();
            variable.value = read(name).map(Zeroizing::new);
            variable.origins.extend(origin.map(normal_origin));
        }
        Self(variables)
    }

    /// Whether this can be an entry.
    pub fn is_entry(entry: &str) -> bool {
        let (name, origin) = Self::parts(entry);
        let is_host = |host: &str| {
            !host.is_empty() && !host.contains(|c: char| "/?#@\\".contains(c) || c.is_whitespace() || c.is_control())
        };
        is_variable_name(name) && origin.is_none_or(|origin| origin.strip_prefix("https://").is_some_and(is_host))
    }

    /// Name and origin of an entry.
    pub fn parts(entry: &str) -> (&str, Option<&str>) {
        match entry.split_once('@') {
            Some((name, origin)) => (name, Some(origin)),
            None => (entry, None),
        }
    }

    /// Whether a header for the receiver at this origin may name it, set or not.
    pub fn allows(&self, name: &str, origin: &str) -> bool {
        self.found(name, origin).is_some()
    }

    /// What it holds, if a header for the receiver at this origin may name it and it is set.
    pub fn value(&self, name: &str, origin: &str) -> Option<&str> {
        self.found(name, origin)?.value.as_ref().map(|value| value.as_str())
    }

    fn found(&self, name: &str, origin: &str) -> Option<&HeaderVariable> {
        let variable = self.0.get(name)?;
        let is_for_it = variable.origins.is_empty() || variable.origins.contains(&normal_origin(origin));
        is_for_it.then_some(variable)
    }
}

/// Origins are compared as texts: whatever is written otherwise is another one.
fn normal_origin(origin: &str) -> String {
    let lower = origin.to_ascii_lowercase();
    lower.strip_suffix(":443").unwrap_or(&lower).to_owned()
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
    /// `queue.max_manual_retries`: how often a failed ticket may be retried by hand.
    pub max_manual_retries: u32,
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
            allow_prod_auto_approval: false,
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
                archive_days: 30,
                dead_letters: Duration::from_secs(168 * 3600),
            },
            header_variables: HeaderVariables::default(),
            confirmation: ConfirmationSettings {
                max_failures: 3,
                window: Duration::from_secs(300),
            },
            execution: ExecutionSettings {
                max_attempts: 3,
                max_manual_retries: MAX_MANUAL_RETRIES,
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
            portal_url: "http://localhost:3000".to_owned(),
            creation_timeout: Duration::from_secs(1800),
            initial_password_ttl: Duration::from_secs(168 * 3600),
            adoption_interval: Duration::from_secs(900),
            reconciler: ReconcilerSettings {
                interval: Duration::from_secs(6 * 3600),
                mark: false,
                halt_ratio: 0.5,
            },
            batch: BatchSettings::default(),
            console: ConsoleSettings::default(),
            schema: SchemaSettings {
                fetch_timeout: Duration::from_secs(30),
                fetch_retries: 3,
                validate_on_version_change: true,
            },
            mask: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_for_one_receiver_goes_to_no_other() {
        let entries = ["ANY".to_owned(), "SIEM@https://Siem.example.org:443".to_owned()];
        let variables = HeaderVariables::read(&entries, |name| (name == "SIEM").then(|| "secret".to_owned()));
        assert_eq!(variables.value("SIEM", "https://siem.example.org"), Some("secret"));
        for elsewhere in [
            "https://siem.example.org:8443",
            "https://siem.example.org@evil.example.org",
            "https://siem.example.org.evil.example.org",
            "http://siem.example.org",
            "",
        ] {
            assert!(!variables.allows("SIEM", elsewhere), "{elsewhere}");
            assert_eq!(variables.value("SIEM", elsewhere), None);
            assert!(variables.allows("ANY", elsewhere));
        }
        assert!(!variables.allows("OTHER", "https://siem.example.org"));
    }

    #[test]
    fn an_entry_is_a_name_with_or_without_an_origin() {
        for entry in [
            "SIEM",
            "SIEM@https://siem.example.org",
            "SIEM@https://siem.example.org:8443",
        ] {
            assert!(HeaderVariables::is_entry(entry), "{entry}");
        }
        for entry in [
            "",
            "SIEM@",
            "@https://siem.example.org",
            "SIEM@siem.example.org",
            "SIEM@http://siem.example.org",
            "SIEM@https://",
            "SIEM@https://siem.example.org/",
            "SIEM@https://a@siem.example.org",
        ] {
            assert!(!HeaderVariables::is_entry(entry), "{entry}");
        }
    }
}
