//! How the platform is watched, and what it may take of its machine.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Secret;

/// `metrics.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Address of the listener that serves nothing but `GET /metrics`, to anybody who reaches it.
    pub bind: IpAddr,
    /// Its port; 0 takes a free one, which the log names.
    pub port: u16,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            bind: IpAddr::from([127, 0, 0, 1]),
            port: 9090,
        }
    }
}

/// `worker.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// Threads for work that blocks its thread: password hashing, files, look-ups of names.
    pub general_pool_size: usize,
    /// Calls to all clusters together at once, by one replica. One call to each cluster comes on top, so that clusters
    /// that hang never take all.
    pub k8s_pool_size: usize,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            general_pool_size: 100,
            k8s_pool_size: 50,
        }
    }
}

impl WorkerConfig {
    pub(super) fn findings(&self, require: &mut impl FnMut(bool, &str)) {
        let sizes = 1..=10_000;
        require(
            sizes.contains(&self.general_pool_size),
            "worker.general_pool_size: 1 to 10000",
        );
        require(sizes.contains(&self.k8s_pool_size), "worker.k8s_pool_size: 1 to 10000");
    }
}

/// `tracing.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TracingConfig {
    /// Base address of an OTLP receiver over HTTP, as `http://collector:4318`; without one nothing is exported. It may
    /// hold a user and a password, which are shown nowhere.
    pub otlp_endpoint: Option<Secret>,
    /// Share of requests that are exported with all that follows from them, whatever clients say of their own traces:
    /// 0 to 1.
    pub sample_ratio: f64,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            sample_ratio: 1.0,
        }
    }
}

impl TracingConfig {
    pub(super) fn findings(&self, require: &mut impl FnMut(bool, &str)) {
        require((0.0..=1.0).contains(&self.sample_ratio), "tracing.sample_ratio: 0 to 1");
        let is_address = |text: &Secret| {
            url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        };
        require(
            self.otlp_endpoint.as_ref().is_none_or(is_address),
            "tracing.otlp_endpoint: an address with https:// or http://",
        );
    }
}
