//! Values that have the right kind and cannot work all the same.

use std::time::Duration;

use shepherd_domain::audit::RetentionDays;
use shepherd_domain::password::{MAX_LENGTH, MIN_LENGTH};
use shepherd_usecases::settings::HeaderVariables;

use super::Config;

/// Most retries by hand that can be configured.
const MOST_RETRIES: u32 = 100;
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
        require(!self.session.lifetime.is_zero(), "session.lifetime: more than nothing");
        require(
            !self.session.idle_timeout.is_zero(),
            "session.idle_timeout: more than nothing",
        );
        require(self.queue.max_workers >= 1, "queue.max_workers: at least 1");
        require(
            self.queue.max_manual_retries <= MOST_RETRIES,
            "queue.max_manual_retries: at most 100",
        );
        require(self.queue.max_attempts >= 1, "queue.max_attempts: at least 1");
        require(
            self.queue.recovery_threshold > self.queue.heartbeat * 2,
            "queue.recovery_threshold: more than twice queue.heartbeat",
        );
        require(
            !self.queue.dead_letter_retention.is_zero(),
            "queue.dead_letter_retention: more than nothing",
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
        require(
            self.console.token_ttl.as_secs() > 0 && self.console.token_ttl <= Duration::from_secs(2 * 3600),
            "console.token_ttl: more than 0, at most 2h",
        );
        require(
            self.console.grant_ttl.as_secs() > 0 && self.console.grant_ttl <= Duration::from_secs(8 * 3600),
            "console.grant_ttl: more than 0, at most 8h",
        );
        require(
            !self.console.check_interval.is_zero() && self.console.check_interval <= Duration::from_secs(30),
            "console.check_interval: more than 0, at most 30s",
        );
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
        require(self.approvals.reminder_days >= 1, "approvals.reminder_days: at least 1");
        require(
            self.events.archive_after_days >= 1,
            "events.archive_after_days: at least 1",
        );
        let minimum = RetentionDays::default();
        require(
            self.audit.retention_prod_days >= minimum.prod,
            "audit.retention_prod_days: at least 365",
        );
        require(
            self.audit.retention_test_days >= minimum.test,
            "audit.retention_test_days: at least 90",
        );
        require(
            self.audit.retention_sensitive_days >= minimum.sensitive,
            "audit.retention_sensitive_days: at least 1095",
        );
        require(
            self.notifications.retention_days >= 1,
            "notifications.retention_days: at least 1",
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
