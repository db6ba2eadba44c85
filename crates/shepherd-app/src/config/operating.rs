//! How the platform is watched, and what it may take of its machine.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

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

/// `tracing.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TracingConfig {
    /// Base address of an OTLP receiver over HTTP, as `http://collector:4318`; without one nothing is exported.
    pub otlp_endpoint: Option<String>,
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
