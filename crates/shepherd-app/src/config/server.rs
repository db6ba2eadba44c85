//! Where the server listens, what it accepts, and which database it uses.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::{ApiRate, Secret};

/// `server.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Port of the API.
    pub port: u16,
    /// Address of the API.
    pub bind: IpAddr,
    /// How long a client may take to send the head of a request, and again for its body.
    #[serde(with = "humantime_serde")]
    pub read_timeout: Duration,
    /// How long a client may leave an answer unread, or a part of it; then its connection is closed.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
    /// How long a stop may take.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    /// Most bytes of a body; kubeconfigs may have four times as many.
    pub max_body_bytes: usize,
    /// Origins of browsers that may call the API.
    pub allowed_origins: Vec<String>,
    /// Whether browsers may send credentials.
    pub allow_credentials: bool,
    /// Whether browsers may call from everywhere; then never with credentials. Consoles stay closed to other origins.
    pub unsafe_allow_all_origins: bool,
    /// Where people reach the platform, and other systems the API below it; the first one is written into messages.
    pub portal_urls: Vec<String>,
    /// Proxies whose forwarded addresses are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Requests of one user, or of one network without a user, at one replica.
    pub api_rate_per_user: ApiRate,
    /// Writes that call clusters or write many rows, at the same time at one replica.
    pub heavy_write_limit: usize,
    /// All other writes at the same time at one replica.
    pub light_write_limit: usize,
}

impl ServerConfig {
    /// The first portal, without a slash at its end.
    pub(super) fn portal_url(&self) -> String {
        let first = self.portal_urls.first().map(String::as_str).unwrap_or_default();
        first.trim_end_matches('/').to_owned()
    }

    /// How long the listener stays open while the process stops: a tenth of the whole. Load balancers hear from
    /// readiness in that time that the replica goes, and what they still send is answered.
    pub fn draining_time(&self) -> Duration {
        self.shutdown_timeout / 10
    }

    /// How long the last requests may take after that.
    pub fn answering_time(&self) -> Duration {
        self.shutdown_timeout.saturating_sub(self.draining_time())
    }
}

impl ServerConfig {
    pub(super) fn findings(&self, require: &mut impl FnMut(bool, &str)) {
        require(self.max_body_bytes >= 1024, "server.max_body_bytes: at least 1024");
        require(
            self.allowed_origins.iter().all(|origin| is_origin(origin)),
            "server.allowed_origins: each as a browser writes it, like https://portal.example.org",
        );
        let is_address = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        require(
            !self.portal_urls.is_empty() && self.portal_urls.iter().all(is_address),
            "server.portal_urls: at least one, each with https:// or http://",
        );
        self.rate_findings(require);
    }
}

/// Whether a browser could send this as the origin of a page: scheme, host and port, and nothing behind them.
fn is_origin(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization().eq_ignore_ascii_case(text)
    })
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            port: 8080,
            bind: IpAddr::from([0, 0, 0, 0]),
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(30),
            max_body_bytes: 1024 * 1024,
            allowed_origins: vec!["http://localhost:3000".to_owned(), "http://127.0.0.1:3000".to_owned()],
            allow_credentials: true,
            unsafe_allow_all_origins: false,
            portal_urls: vec!["http://localhost:3000".to_owned()],
            trusted_proxies: Vec::new(),
            api_rate_per_user: ApiRate::default(),
            heavy_write_limit: 30,
            light_write_limit: 80,
        }
    }
}

/// What may be asked of TLS to the database.
const SSL_MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// `database.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// Connection string, which may hold the password; wins over the parts.
    pub url: Option<Secret>,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Password; belongs into the environment.
    pub password: Option<Secret>,
    /// Database.
    pub database: String,
    /// `disable`, `prefer`, `require`, `verify-ca` or `verify-full`.
    pub sslmode: String,
    /// Most connections.
    pub max_conns: u32,
    /// Connections kept open.
    pub min_conns: u32,
    /// After which a connection is replaced.
    #[serde(with = "humantime_serde")]
    pub max_conn_lifetime: Duration,
    /// After which an unused connection is closed.
    #[serde(with = "humantime_serde")]
    pub max_conn_idle_time: Duration,
    /// How long a statement waits for a lock.
    #[serde(with = "humantime_serde")]
    pub lock_timeout: Duration,
    /// How long a statement may take.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// Host of a second pool in session mode, for leases, LISTEN and advisory locks.
    pub worker_host: Option<String>,
    /// Its port; `port` without it.
    pub worker_port: Option<u16>,
    /// Whether `serve` applies migrations.
    pub auto_migrate: bool,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: None,
            host: "localhost".to_owned(),
            port: 5432,
            user: "shepherd".to_owned(),
            password: None,
            database: "shepherd".to_owned(),
            sslmode: "prefer".to_owned(),
            max_conns: 50,
            min_conns: 5,
            max_conn_lifetime: Duration::from_secs(3600),
            max_conn_idle_time: Duration::from_secs(600),
            lock_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            worker_host: None,
            worker_port: None,
            auto_migrate: false,
        }
    }
}

impl DatabaseConfig {
    pub(super) fn findings(&self, require: &mut impl FnMut(bool, &str)) {
        require(
            self.max_conns >= 2,
            "database.max_conns: at least 2, one of which listens for jobs",
        );
        require(
            self.min_conns <= self.max_conns,
            "database.min_conns: at most database.max_conns",
        );
        require(
            self.url.as_ref().is_none_or(|url| url::Url::parse(url).is_ok()),
            "database.url: a URL, like postgres://shepherd@db.example.org/shepherd",
        );
        require(
            SSL_MODES.contains(&self.sslmode.as_str()),
            "database.sslmode: one of disable, prefer, require, verify-ca, verify-full",
        );
        require(
            self.worker_port.is_none() || self.worker_host.is_some(),
            "database.worker_port: only with database.worker_host",
        );
    }

    /// The connection string.
    pub fn connection_url(&self) -> Result<String, url::ParseError> {
        if let Some(url) = &self.url {
            return Ok(url.to_string());
        }
        let mut url = url::Url::parse("postgres://localhost")?;
        // A host that the URL refuses is reported by the connection attempt, with its name.
        let _ = url.set_host(Some(&self.host));
        let _ = url.set_port(Some(self.port));
        // The URL itself would leave a percent sign alone, and whoever reads it would decode it.
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let _ = url.set_username(&encoded(&self.user));
        let _ = url.set_password(self.password.as_deref().map(encoded).as_deref());
        url.set_path(&self.database);
        url.query_pairs_mut().append_pair("sslmode", &self.sslmode);
        Ok(url.into())
    }

    /// The connection string of what needs a session of the server for itself; none without `database.worker_host`.
    pub fn session_url(&self) -> Result<Option<String>, url::ParseError> {
        let Some(host) = &self.worker_host else {
            return Ok(None);
        };
        let mut url = url::Url::parse(&self.connection_url()?)?;
        // A host that the URL refuses is an error here: the old one stays in it and would lead to the pooler.
        url.set_host(Some(host))?;
        if let Some(port) = self.worker_port {
            let _ = url.set_port(Some(port));
        }
        Ok(Some(url.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_arrives_as_it_was_given() {
        for password in ["ab%41cd", "100%", "p@ss/w:rd?#&", "schön geheim", "+ -"] {
            let config = DatabaseConfig {
                password: Some(Secret::new(password.to_owned())),
                user: "she%20pherd".to_owned(),
                worker_host: Some("db.example.org".to_owned()),
                ..DatabaseConfig::default()
            };
            for url in [config.connection_url().unwrap(), config.session_url().unwrap().unwrap()] {
                let url = url::Url::parse(&url).unwrap();
                let read = |text: &str| {
                    percent_encoding::percent_decode_str(text)
                        .decode_utf8()
                        .unwrap()
                        .into_owned()
                };
                assert_eq!(read(url.password().unwrap()), password);
                assert_eq!(read(url.username()), "she%20pherd");
            }
        }
    }
}
