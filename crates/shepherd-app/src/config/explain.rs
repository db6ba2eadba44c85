//! A configuration explained: where each value comes from, and what may be regretted.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;
use shepherd_domain::policy::SelfApproval;

use super::findings::masked;
use super::keys::{KEYS, StrayVariable};
use super::{Config, Finding, Loaded};

/// One key and what it says.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Its dotted name.
    pub key: &'static str,
    /// What it says; secrets are masked.
    pub value: String,
    /// `default`, `file` or `environment`.
    pub source: &'static str,
    /// Which file or variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What the key means.
    pub what: &'static str,
}

/// What `config check` says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Whether the platform would start with it.
    pub valid: bool,
    /// The file, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The keys that somebody set to something else than the default, or all.
    pub keys: Vec<Line>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What may be regretted.
    pub hints: Vec<String>,
}

impl Report {
    /// About a configuration that can be used.
    pub fn of(loaded: &Loaded, all: bool, stray: &[StrayVariable]) -> Self {
        let defaults = Config::default().values();
        let values = loaded.config.values();
        let keys = KEYS
            .iter()
            .filter(|key| all || values.get(key.name) != defaults.get(key.name))
            .map(|key| {
                let source = loaded.source(key.name);
                Line {
                    key: key.name,
                    value: masked(key.name, values.get(key.name).unwrap_or(&Value::Null)),
                    source: source.kind(),
                    origin: source.name(),
                    what: key.what,
                }
            })
            .collect();
        let mut hints = loaded.config.hints();
        hints.extend(stray.iter().map(|stray| {
            let StrayVariable { name, perhaps } = stray;
            format!("{name}: no key is set by this variable; {perhaps} is perhaps meant")
        }));
        Self {
            valid: true,
            file: loaded.file.as_ref().map(|file| file.path.display().to_string()),
            keys,
            findings: Vec::new(),
            hints,
        }
    }
}

impl Config {
    /// What works, and may be regretted; each begins with its key.
    pub fn hints(&self) -> Vec<String> {
        let security = &self.security;
        let database = &self.database;
        let hints = [
            (
                database.auto_migrate,
                "database.auto_migrate: a new replica migrates under the old ones; with several, run `shepherd migrate up` first",
            ),
            (
                !database.is_verified(),
                "database.sslmode: weaker than verify-full, so somebody on the way to the database could pretend to be it",
            ),
            (
                self.server.unsafe_allow_all_origins,
                "server.unsafe_allow_all_origins: pages of every origin may call the API",
            ),
            (
                self.server
                    .allowed_origins
                    .iter()
                    .any(|origin| origin.starts_with("http://") && !is_local(origin)),
                "server.allowed_origins: a page without TLS can be changed on its way",
            ),
            (
                security.allow_insecure_clusters,
                "security.allow_insecure_clusters: credentials of a cluster go to whoever answers at its address",
            ),
            (
                security
                    .outbound_allowlist
                    .iter()
                    .any(|network| network.prefix_len() == 0),
                "security.outbound_allowlist: all networks are open to webhooks",
            ),
            (
                self.approvals.self_approval == SelfApproval::Allow,
                "approvals.self_approval: everybody who may approve may approve the own requests, in prod too",
            ),
            (
                self.approvals.allow_prod_auto_approval,
                "approvals.allow_prod_auto_approval: policies may approve in prod without a person",
            ),
            (
                matches!(self.log.level.as_str(), "debug" | "trace"),
                "log.level: logs grow fast, and name more than an operator has to know",
            ),
            (
                !self.metrics.bind.is_loopback(),
                "metrics.bind: everybody who reaches this address may read the metrics",
            ),
            (
                self.audit.purge_enabled,
                "audit.purge_enabled: audit rows past their retention are removed for good",
            ),
        ];
        hints
            .into_iter()
            .filter(|(holds, _)| *holds)
            .map(|(_, hint)| hint.to_owned())
            .collect()
    }
}

impl super::DatabaseConfig {
    /// Whether the database proves who it is, or is on this host.
    fn is_verified(&self) -> bool {
        let Ok(Ok(url)) = self.connection_url().map(|url| url::Url::parse(&url)) else {
            return false;
        };
        let mode = url.query_pairs().find(|(name, _)| name == "sslmode");
        let is_verified = mode.is_some_and(|(_, mode)| mode == "verify-full");
        is_verified || url.host_str().is_none_or(is_local_host)
    }
}

fn is_local(origin: &str) -> bool {
    url::Url::parse(origin).is_ok_and(|url| url.host_str().is_some_and(is_local_host))
}

fn is_local_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.is_empty() || host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::load_file;

    fn loaded(environment: &[(&str, &str)]) -> Loaded {
        let environment: BTreeMap<&str, &str> = environment.iter().copied().collect();
        load_file(None, |name| environment.get(name).map(|text| (*text).to_owned())).unwrap()
    }

    #[test]
    fn what_is_not_as_it_comes_is_explained_and_secrets_are_masked() {
        let loaded = loaded(&[
            ("DATABASE_URL", "postgres://u:p@localhost/d"),
            ("SESSION_IDLE_TIMEOUT", "10m"),
        ]);
        let report = Report::of(&loaded, false, &[]);
        let lines: Vec<(&str, &str, &str, Option<&str>)> = report
            .keys
            .iter()
            .map(|line| (line.key, line.value.as_str(), line.source, line.origin.as_deref()))
            .collect();
        assert_eq!(
            lines,
            [
                ("database.url", "********", "environment", Some("DATABASE_URL")),
                (
                    "session.idle_timeout",
                    "10m",
                    "environment",
                    Some("SESSION_IDLE_TIMEOUT")
                ),
            ]
        );
        assert_eq!(report.hints, Vec::<String>::new());
        assert_eq!(Report::of(&loaded, true, &[]).keys.len(), KEYS.len());
    }

    #[test]
    fn the_receiver_of_traces_is_shown_without_its_password() {
        let endpoint = "http://shepherd:planted@collector:4318";
        let loaded = loaded(&[("TRACING_OTLP_ENDPOINT", endpoint)]);
        assert_eq!(loaded.config.tracing.otlp_endpoint.as_deref(), Some(endpoint));
        assert!(!format!("{loaded:?}").contains("planted"), "{loaded:?}");
        let report = Report::of(&loaded, false, &[]);
        let values: Vec<&str> = report.keys.iter().map(|line| line.value.as_str()).collect();
        assert_eq!(values, ["http://********@collector:4318"]);

        for wrong in [
            "shepherd:planted@collector:4318",
            "ftp://u:planted@collector",
            "http://u:planted@",
        ] {
            let error = load_file(None, |name| (name == "TRACING_OTLP_ENDPOINT").then(|| wrong.to_owned()));
            let error = error.unwrap_err();
            assert!(!format!("{error} {error:?}").contains("planted"), "{error}");
        }
    }

    #[test]
    fn what_is_as_it_comes_on_one_machine_has_no_hints() {
        assert_eq!(Config::default().hints(), Vec::<String>::new());
    }

    #[test]
    fn what_may_be_regretted_is_named() {
        for (variable, value, key) in [
            ("DATABASE_AUTO_MIGRATE", "true", "database.auto_migrate"),
            ("DATABASE_HOST", "db.example.org", "database.sslmode"),
            (
                "DATABASE_URL",
                "postgres://db.example.org/d?sslmode=require",
                "database.sslmode",
            ),
            (
                "SERVER_UNSAFE_ALLOW_ALL_ORIGINS",
                "true",
                "server.unsafe_allow_all_origins",
            ),
            (
                "SERVER_ALLOWED_ORIGINS",
                "http://portal.example.org",
                "server.allowed_origins",
            ),
            (
                "SECURITY_ALLOW_INSECURE_CLUSTERS",
                "true",
                "security.allow_insecure_clusters",
            ),
            (
                "SECURITY_OUTBOUND_ALLOWLIST",
                "0.0.0.0/0",
                "security.outbound_allowlist",
            ),
            ("APPROVALS_SELF_APPROVAL", "allow", "approvals.self_approval"),
            ("LOG_LEVEL", "debug", "log.level"),
            ("METRICS_BIND", "0.0.0.0", "metrics.bind"),
        ] {
            let hints = loaded(&[(variable, value)]).config.hints();
            assert_eq!(hints.len(), 1, "{variable}: {hints:?}");
            assert!(hints[0].starts_with(&format!("{key}: ")), "{hints:?}");
        }
        let verified = loaded(&[("DATABASE_URL", "postgres://db.example.org/d?sslmode=verify-full")]);
        assert_eq!(verified.config.hints(), Vec::<String>::new());
    }
}
