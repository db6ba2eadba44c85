//! Every key in one table: what it is called, what it means, and who may see it or change it when.

use super::nearest::nearest;

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its dotted name.
    pub name: &'static str,
    /// Whether a change of the file takes effect while the process runs (`H` in operations.md §2).
    pub hot: bool,
    /// Whether nobody is shown its value.
    pub secret: bool,
    /// What it says, in one line.
    pub what: &'static str,
}

impl Key {
    /// The variable of the environment that sets it.
    pub fn variable(&self) -> String {
        self.name.to_uppercase().replace('.', "_")
    }

    /// Further names of that variable.
    pub fn short_variable(&self) -> Option<&'static str> {
        SHORT_NAMES
            .iter()
            .find(|(name, _)| *name == self.name)
            .map(|(_, variable)| *variable)
    }
}

/// Secrets may also be named shortly in the environment.
const SHORT_NAMES: [(&str, &str); 2] = [
    ("security.encryption_key", "ENCRYPTION_KEY"),
    ("security.session_secret", "SESSION_SECRET"),
];
/// Keys that the file may not hold.
pub const ENVIRONMENT_ONLY: [&str; 2] = ["security.encryption_key", "security.session_secret"];
/// Variables that are ours and no keys: `shepherd seed` reads them.
const OTHER_VARIABLES: [&str; 1] = ["SEED_ADMIN_PASSWORD"];

const fn fixed(name: &'static str, what: &'static str) -> Key {
    Key {
        name,
        hot: false,
        secret: false,
        what,
    }
}

const fn hot(name: &'static str, what: &'static str) -> Key {
    Key {
        hot: true,
        ..fixed(name, what)
    }
}

const fn secret(name: &'static str, what: &'static str) -> Key {
    Key {
        secret: true,
        ..fixed(name, what)
    }
}

/// All keys, by name.
pub const KEYS: &[Key] = &[
    hot(
        "adoption.scan_interval",
        "Between two scans for machines that nobody manages, 1m to 7days",
    ),
    hot(
        "approvals.allow_prod_auto_approval",
        "Whether approval policies may approve in prod",
    ),
    hot(
        "approvals.reminder_days",
        "Days a ticket waits before its approvers are reminded, 1 to 365",
    ),
    hot(
        "approvals.self_approval",
        "Who may approve the own request: deny, deny_prod or allow",
    ),
    fixed(
        "audit.purge_enabled",
        "Whether audit rows past their retention are removed",
    ),
    fixed(
        "audit.retention_prod_days",
        "Days audit rows of prod stay, 365 to 36500",
    ),
    fixed(
        "audit.retention_sensitive_days",
        "Days sensitive audit rows stay, 1095 to 36500",
    ),
    fixed("audit.retention_test_days", "Days audit rows of test stay, 90 to 36500"),
    fixed(
        "audit.webhook_env_allowlist",
        "Variables of the environment that headers of webhooks may name",
    ),
    hot("batch.max_approve", "Most tickets that are approved in one call"),
    hot("batch.max_create", "Most machines of one creation"),
    hot("batch.max_delete", "Most machines of one deletion"),
    hot("batch.max_global_pending_parents", "Open batches of everybody"),
    hot(
        "batch.max_global_per_minute",
        "Batches submitted per minute by everybody",
    ),
    hot(
        "batch.max_power",
        "Most machines that are started, stopped or restarted at once",
    ),
    hot(
        "batch.max_user_pending_children",
        "Open machines of one user's creations and deletions",
    ),
    hot("batch.max_user_pending_parents", "Open batches of one user"),
    hot(
        "batch.user_cooldown",
        "How long a user waits after a batch was accepted, 0s to 1day",
    ),
    hot(
        "confirmation.max_failures",
        "Wrong names until a confirmation is refused",
    ),
    hot("confirmation.window", "How long wrong names count, 1m to 1day"),
    hot(
        "console.check_interval",
        "Between two looks at whether an open console may go on, 100ms to 30s",
    ),
    hot("console.grant_ttl", "How long a console grant lasts, 1s to 8h"),
    hot("console.max_sessions", "Open consoles of one replica"),
    hot("console.token_ttl", "How long a console token can be used, 1s to 2h"),
    fixed("database.auto_migrate", "Whether `serve` applies migrations"),
    fixed("database.database", "Name of the database"),
    fixed("database.host", "Host of the database"),
    fixed(
        "database.lock_timeout",
        "How long a statement waits for a lock, 100ms to 10m",
    ),
    fixed(
        "database.max_conn_idle_time",
        "After which an unused connection is closed, 10s to 1day",
    ),
    fixed(
        "database.max_conn_lifetime",
        "After which a connection is replaced, 10s to 7days",
    ),
    fixed("database.max_conns", "Most connections of one replica"),
    fixed("database.min_conns", "Connections that are kept open"),
    secret(
        "database.password",
        "Password of the role; belongs into the environment",
    ),
    fixed("database.port", "Port of the database"),
    fixed(
        "database.sslmode",
        "TLS to the database: disable, prefer, require, verify-ca or verify-full",
    ),
    fixed("database.statement_timeout", "How long a statement may take, 1s to 1h"),
    secret("database.url", "Connection string; wins over the parts"),
    fixed("database.user", "Role"),
    fixed(
        "database.worker_host",
        "Host of a second pool in session mode, for leases, LISTEN and advisory locks",
    ),
    fixed(
        "database.worker_port",
        "Port of the second pool; database.port without it",
    ),
    hot(
        "events.archive_after_days",
        "Days until what has ended leaves the default lists, 1 to 36500",
    ),
    fixed("features.clones", "Clones"),
    fixed("features.external_approval", "External approval systems"),
    fixed("features.migrations", "Live migrations"),
    fixed("features.snapshots", "Snapshots and restores"),
    fixed(
        "k8s.breaker_failures",
        "Failures in a row after which a cluster is left alone",
    ),
    fixed("k8s.breaker_open", "For how long it is left alone, 1s to 1h"),
    hot(
        "k8s.burst",
        "Requests to one cluster that may come at once before k8s.qps holds",
    ),
    fixed("k8s.call_timeout", "How long one call may take, 1s to 10m"),
    hot(
        "k8s.cluster_concurrency",
        "Calls to one cluster at once, by one replica",
    ),
    hot("k8s.dry_run_warn", "From which a dry run is called slow, 100ms to 10m"),
    hot(
        "k8s.health_interval",
        "Between two looks at the health of a cluster, 1s to 1h",
    ),
    hot("k8s.health_timeout", "How long such a look may take, 1s to 10m"),
    fixed(
        "k8s.operation_timeout",
        "How long an operation may take on its cluster, 10s to 1day",
    ),
    hot("k8s.qps", "Requests per second to one cluster, by one replica"),
    fixed("log.format", "json, or text for people"),
    hot("log.level", "error, warn, info, debug or trace"),
    fixed("mask.file", "File of the mask of forms; the built-in one without it"),
    fixed("metrics.bind", "Address of the metrics listener"),
    fixed("metrics.port", "Port of the metrics listener"),
    hot("naming.reserved", "Names nobody may take, beside the built-in ones"),
    hot(
        "naming.reserved_prefixes",
        "Prefixes nobody may use, beside the built-in ones",
    ),
    hot("notifications.retention_days", "Days a notification stays, 1 to 36500"),
    fixed(
        "queue.dead_letter_retention",
        "How long jobs that were given up stay, 1h to 365days",
    ),
    fixed("queue.heartbeat", "How often a worker says that it is alive, 1s to 30s"),
    fixed("queue.max_attempts", "Attempts of one operation"),
    fixed(
        "queue.max_manual_retries",
        "How often a failed ticket may be retried by hand",
    ),
    fixed("queue.max_workers", "Jobs at once, by one replica"),
    fixed(
        "queue.poll_interval",
        "How often the queue is looked at without a wake-up, 100ms to 1m",
    ),
    fixed(
        "queue.recovery_threshold",
        "After which a silent worker's jobs go to another, 3s to 1h",
    ),
    hot(
        "reconciler.halt_ratio",
        "Part of a cluster's machines above which ghosts halt a run, 0 to 1",
    ),
    hot("reconciler.interval", "Between two scheduled runs, 1m to 30days"),
    hot("reconciler.mode", "What scheduled runs do: dry-run or mark"),
    fixed(
        "schema.fetch_retries",
        "Failures to fetch a schema until the administrators are told",
    ),
    fixed(
        "schema.fetch_timeout",
        "How long one attempt to fetch a schema may take, 1s to 10m",
    ),
    fixed(
        "schema.validation_on_version_change",
        "Whether sizes and templates are validated against a new version",
    ),
    fixed(
        "security.allow_insecure_clusters",
        "Whether clusters may be registered with insecure-skip-tls-verify",
    ),
    secret(
        "security.encryption_key",
        "32 bytes in base64; from the environment, else from the database",
    ),
    secret(
        "security.jwt_verification_keys",
        "Further secrets that verify sessions, during a roll-over",
    ),
    hot(
        "security.login.max_failures_ip",
        "Failed logins of one address until it has to wait",
    ),
    hot(
        "security.login.max_failures_user",
        "Failed logins of one user name until it has to wait",
    ),
    hot("security.login.window", "How long failed logins count, 1m to 1day"),
    hot(
        "security.outbound_allowlist",
        "Networks that webhooks and clusters may be in although they are not public",
    ),
    hot(
        "security.password_policy.min_length",
        "Least characters of a password, 8 to 128",
    ),
    hot(
        "security.password_policy.mode",
        "nist, or legacy for the four requirements",
    ),
    hot("security.password_policy.require_digit", "A digit (legacy)"),
    hot(
        "security.password_policy.require_lowercase",
        "A lower-case letter (legacy)",
    ),
    hot(
        "security.password_policy.require_special",
        "A character that is neither letter nor digit (legacy)",
    ),
    hot(
        "security.password_policy.require_uppercase",
        "An upper-case letter (legacy)",
    ),
    secret(
        "security.session_secret",
        "At least 32 characters; from the environment, else from the database",
    ),
    fixed("seed.dir", "Folder of the seed files"),
    hot("server.allow_credentials", "Whether browsers may send credentials"),
    hot("server.allowed_origins", "Origins of browsers that may call the API"),
    hot("server.api_rate_per_user", "Requests of one user at one replica"),
    fixed("server.bind", "Address of the API"),
    hot(
        "server.heavy_write_limit",
        "Writes at once that call clusters or write many rows",
    ),
    hot("server.light_write_limit", "All other writes at once"),
    fixed(
        "server.max_body_bytes",
        "Most bytes of a body; kubeconfigs and imports may have four times as many",
    ),
    fixed("server.port", "Port of the API"),
    hot(
        "server.portal_urls",
        "Where people reach the platform; the first is written into messages",
    ),
    fixed(
        "server.read_timeout",
        "How long a client may take to send the head of a request, and again its body, 1s to 10m",
    ),
    fixed("server.shutdown_timeout", "How long a stop may take, 1s to 1h"),
    fixed(
        "server.trusted_proxies",
        "Proxies whose forwarded addresses are believed",
    ),
    hot(
        "server.unsafe_allow_all_origins",
        "Whether every origin may call, then without credentials",
    ),
    fixed(
        "server.write_timeout",
        "How long a client may leave an answer unread, 1s to 10m",
    ),
    fixed(
        "session.idle_timeout",
        "After which an unused session ends, 1m to 365days",
    ),
    fixed("session.lifetime", "From login to the end, 1m to 365days"),
    fixed(
        "session.max_per_user",
        "Sessions of one user; the oldest ends for a new one",
    ),
    fixed(
        "tracing.otlp_endpoint",
        "Base address of an OTLP receiver; nothing is exported without",
    ),
    fixed("tracing.sample_ratio", "Share of traces that are exported, 0 to 1"),
    hot(
        "vm.creation_timeout",
        "How long a machine may stay in CREATING, 1m to 7days",
    ),
    hot(
        "vm.initial_password_ttl",
        "How long the owner can be shown the one-time password, 1m to 90days",
    ),
    fixed(
        "worker.general_pool_size",
        "Threads for work that blocks: password hashing, files, names",
    ),
    fixed("worker.k8s_pool_size", "Calls to all clusters at once, by one replica"),
];

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.binary_search_by(|key| key.name.cmp(name))
        .ok()
        .and_then(|index| KEYS.get(index))
}

/// Whether keys are below this name.
pub fn is_section(name: &str) -> bool {
    KEYS.iter()
        .any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// A variable of the environment that looks like one of ours and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrayVariable {
    /// Its name.
    pub name: String,
    /// The variable that is perhaps meant.
    pub perhaps: String,
}

/// The variables among these that begin like a section and almost are a key.
pub fn stray_variables(names: impl IntoIterator<Item = String>) -> Vec<StrayVariable> {
    let known: Vec<String> = KEYS.iter().map(Key::variable).collect();
    let begins_like_ours = |name: &str| {
        KEYS.iter().any(|key| {
            let section = key.name.split('.').next().unwrap_or_default().to_uppercase();
            name.strip_prefix(&section).is_some_and(|rest| rest.starts_with('_'))
        })
    };
    let mut stray: Vec<StrayVariable> = names
        .into_iter()
        .filter(|name| !known.contains(name) && !OTHER_VARIABLES.contains(&name.as_str()))
        .filter(|name| !KEYS.iter().any(|key| key.short_variable() == Some(name.as_str())))
        .filter(|name| begins_like_ours(name))
        .filter_map(|name| {
            let perhaps = nearest(&name, known.iter().map(String::as_str))?.to_owned();
            Some(StrayVariable { name, perhaps })
        })
        .collect();
    stray.sort_by(|one, other| one.name.cmp(&other.name));
    stray
}

#[cfg(test)]
mod tests;
