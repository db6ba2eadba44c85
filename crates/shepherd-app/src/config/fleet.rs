//! Keys about clusters and what is done with them by itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shepherd_usecases::settings::ReconcilerSettings;
use strum::{Display, EnumString};

/// `k8s.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct K8sConfig {
    /// Calls to one cluster at once.
    pub cluster_concurrency: usize,
    /// How long an operation may take on its cluster.
    #[serde(with = "humantime_serde")]
    pub operation_timeout: Duration,
    /// How long one call may take.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Duration,
    /// Between two health passes.
    #[serde(with = "humantime_serde")]
    pub health_interval: Duration,
    /// Budget of one health pass.
    #[serde(with = "humantime_serde")]
    pub health_timeout: Duration,
    /// From which a dry run is called slow.
    #[serde(with = "humantime_serde")]
    pub dry_run_warn: Duration,
    /// Requests per second and cluster, of one replica.
    pub qps: u32,
    /// Requests that may come at once before `qps` holds.
    pub burst: u32,
    /// Failures in a row after which a cluster is left alone.
    pub breaker_failures: u32,
    /// For how long it is left alone before one call tries again.
    #[serde(with = "humantime_serde")]
    pub breaker_open: Duration,
}

impl Default for K8sConfig {
    fn default() -> Self {
        Self {
            cluster_concurrency: 20,
            operation_timeout: Duration::from_secs(300),
            call_timeout: Duration::from_secs(30),
            health_interval: Duration::from_secs(60),
            health_timeout: Duration::from_secs(15),
            dry_run_warn: Duration::from_secs(10),
            qps: 20,
            burst: 40,
            breaker_failures: 5,
            breaker_open: Duration::from_secs(60),
        }
    }
}

impl K8sConfig {
    pub(super) fn findings(&self, require: &mut impl FnMut(bool, &str)) {
        require(self.cluster_concurrency >= 1, "k8s.cluster_concurrency: at least 1");
        require(self.qps >= 1, "k8s.qps: at least 1");
        require(self.burst >= 1, "k8s.burst: at least 1");
        require(self.breaker_failures >= 1, "k8s.breaker_failures: at least 1");
    }
}

/// `vm.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VmConfig {
    /// How long a machine may stay in CREATING.
    #[serde(with = "humantime_serde")]
    pub creation_timeout: Duration,
    /// How long the owner of a machine can be shown its one-time password.
    #[serde(with = "humantime_serde")]
    pub initial_password_ttl: Duration,
}

impl Default for VmConfig {
    fn default() -> Self {
        Self {
            creation_timeout: Duration::from_secs(1800),
            initial_password_ttl: Duration::from_secs(168 * 3600),
        }
    }
}

/// `adoption.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdoptionConfig {
    /// Between two scans.
    #[serde(with = "humantime_serde")]
    pub scan_interval: Duration,
}

impl Default for AdoptionConfig {
    fn default() -> Self {
        Self {
            scan_interval: Duration::from_secs(900),
        }
    }
}

/// What scheduled runs of the reconciler do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Display, EnumString)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ReconcilerMode {
    /// Report.
    #[default]
    DryRun,
    /// Report and mark.
    Mark,
}

/// `reconciler.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReconcilerConfig {
    /// Between two scheduled runs.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// What scheduled runs do.
    pub mode: ReconcilerMode,
    /// The part of the examined rows of a cluster above which ghosts halt the run of that cluster.
    pub halt_ratio: f64,
}

impl Default for ReconcilerConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(6 * 3600),
            mode: ReconcilerMode::default(),
            halt_ratio: 0.5,
        }
    }
}

impl ReconcilerConfig {
    pub(super) fn settings(&self) -> ReconcilerSettings {
        ReconcilerSettings {
            interval: self.interval,
            mark: self.mode == ReconcilerMode::Mark,
            halt_ratio: self.halt_ratio,
        }
    }

    pub(super) fn findings(&self, require: &mut impl FnMut(bool, &str)) {
        require((0.0..=1.0).contains(&self.halt_ratio), "reconciler.halt_ratio: 0 to 1");
    }
}
