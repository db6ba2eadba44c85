//! Values that have the right kind and cannot work all the same.

use shepherd_domain::audit::RetentionDays;
use shepherd_domain::password::{MAX_LENGTH, MIN_LENGTH};
use shepherd_usecases::settings::HeaderVariables;

use super::Config;

/// Most retries by hand that can be configured.
const MOST_RETRIES: u32 = 100;
/// Most days that anything is kept: a century. A moment minus all days that could be written is no moment.
const MOST_DAYS: u32 = 36_500;
/// Most days between two reminders.
const MOST_DAYS_OF_WAITING: u32 = 365;
/// Variables that hold secrets of the installation itself; no list opens them.
const OWN_SECRETS: [&str; 8] = [
    "DATABASE_PASSWORD",
    "DATABASE_URL",
    "ENCRYPTION_KEY",
    "SECURITY_ENCRYPTION_KEY",
    "SECURITY_JWT_VERIFICATION_KEYS",
    "SECURITY_SESSION_SECRET",
    "SEED_ADMIN_PASSWORD",
    "SESSION_SECRET",
];

impl Config {
    /// What is wrong with values of the right kind that cannot work, each as `key: what is allowed`.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut require = |holds: bool, finding: &str| {
            if !holds {
                findings.push(finding.to_owned());
            }
        };
        self.database.findings(&mut require);
        self.server.findings(&mut require);
        self.tracing.findings(&mut require);
        self.worker.findings(&mut require);
        require(self.session.max_per_user >= 1, "session.max_per_user: at least 1");
        require(self.queue.max_workers >= 1, "queue.max_workers: at least 1");
        require(
            self.queue.max_manual_retries <= MOST_RETRIES,
            "queue.max_manual_retries: at most 100",
        );
        require(self.queue.max_attempts >= 1, "queue.max_attempts: at least 1");
        let twice = self.queue.heartbeat.checked_mul(2);
        require(
            twice.is_some_and(|twice| self.queue.recovery_threshold > twice),
            "queue.recovery_threshold: more than twice queue.heartbeat",
        );
        self.k8s.findings(&mut require);
        self.reconciler.findings(&mut require);
        for (most, finding) in [
            (self.batch.max_create, "batch.max_create: 1 to 500"),
            (self.batch.max_delete, "batch.max_delete: 1 to 500"),
            (self.batch.max_power, "batch.max_power: 1 to 500"),
            (self.batch.max_approve, "batch.max_approve: 1 to 500"),
        ] {
            require((1..=500).contains(&most), finding);
        }
        self.duration_findings(&mut require);
        self.schema.findings(&mut require);
        self.mask.findings(&mut require);
        require(
            self.confirmation.max_failures >= 1,
            "confirmation.max_failures: at least 1",
        );
        require(
            self.security.login.max_failures_user >= 1,
            "security.login.max_failures_user: at least 1",
        );
        require(
            self.security.login.max_failures_ip >= 1,
            "security.login.max_failures_ip: at least 1",
        );
        require(
            (MIN_LENGTH..=MAX_LENGTH).contains(&self.security.password_policy.min_length),
            "security.password_policy.min_length: 8 to 128",
        );
        require(
            (1..=MOST_DAYS_OF_WAITING).contains(&self.approvals.reminder_days),
            "approvals.reminder_days: 1 to 365",
        );
        require(
            (1..=MOST_DAYS).contains(&self.events.archive_after_days),
            "events.archive_after_days: 1 to 36500",
        );
        let minimum = RetentionDays::default();
        require(
            (minimum.prod..=MOST_DAYS).contains(&self.audit.retention_prod_days),
            "audit.retention_prod_days: 365 to 36500",
        );
        require(
            (minimum.test..=MOST_DAYS).contains(&self.audit.retention_test_days),
            "audit.retention_test_days: 90 to 36500",
        );
        require(
            (minimum.sensitive..=MOST_DAYS).contains(&self.audit.retention_sensitive_days),
            "audit.retention_sensitive_days: 1095 to 36500",
        );
        require(
            (1..=MOST_DAYS).contains(&self.notifications.retention_days),
            "notifications.retention_days: 1 to 36500",
        );
        let variables = &self.audit.webhook_env_allowlist;
        require(
            variables.iter().all(|entry| HeaderVariables::is_entry(entry)),
            "audit.webhook_env_allowlist: names of variables, each alone or as NAME@https://host",
        );
        require(
            !variables
                .iter()
                .any(|entry| OWN_SECRETS.contains(&HeaderVariables::parts(entry).0)),
            "audit.webhook_env_allowlist: no secrets of the installation itself",
        );
        let secret = self.security.session_secret.as_ref();
        require(
            secret.is_none_or(|secret| secret.chars().count() >= 32),
            "security.session_secret: at least 32 characters",
        );
        require(
            ["error", "warn", "info", "debug", "trace"].contains(&self.log.level.as_str()),
            "log.level: one of error, warn, info, debug, trace",
        );
        findings
    }
}
