//! Clusters: status, and what was detected on them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};

/// What the health loop last found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ClusterStatus {
    /// Registered or re-credentialled, not yet checked.
    Unknown,
    /// The API answers and KubeVirt is deployed.
    Healthy,
    /// The API answers, KubeVirt does not work.
    Unhealthy,
    /// The API does not answer.
    Unreachable,
}

impl ClusterStatus {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How far the replica that watches a cluster has come with it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum WatchState {
    /// Nobody has listed the cluster yet, or nobody is to watch it.
    #[default]
    Starting,
    /// Rows follow the cluster.
    Live,
    /// The version the watch stood at is gone (410); a full list is under way.
    Rebuilding,
    /// The breaker is open after repeated failures.
    Degraded,
}

impl WatchState {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Hardware and services found on a cluster. Nobody types these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DetectedCapabilities {
    /// Exact device names, for example `nvidia.com/A10`.
    pub gpu_devices: BTreeSet<String>,
    /// Page sizes, lower case: `2mi`, `1gi`.
    pub hugepages: BTreeSet<String>,
    /// Network attachments of an SR-IOV type, `namespace/name`.
    pub sriov_networks: BTreeSet<String>,
    /// Containerized Data Importer is served.
    pub cdi: bool,
    /// Snapshots are served.
    pub snapshot: bool,
    /// Clones are served.
    pub clone: bool,
}

impl DetectedCapabilities {
    /// Whether a capability key of a size (`gpu`, `gpu:<device>`, `sriov`, `hugepages`, `hugepages:<size>`) is
    /// covered.
    pub fn covers(&self, key: &str) -> bool {
        match key.split_once(':') {
            Some(("gpu", device)) => self.gpu_devices.contains(device),
            Some(("hugepages", size)) => self.hugepages.contains(size),
            Some(_) => false,
            None => match key {
                "gpu" => !self.gpu_devices.is_empty(),
                "hugepages" => !self.hugepages.is_empty(),
                "sriov" => !self.sriov_networks.is_empty(),
                _ => false,
            },
        }
    }

    /// The capability keys that are not covered, in the given order.
    pub fn missing<'a>(&self, keys: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        keys.into_iter().filter(|key| !self.covers(key)).cloned().collect()
    }
}

/// One storage class of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageClass {
    /// Its name.
    pub name: String,
    /// Whether the cluster marks it as its default.
    pub default: bool,
}

/// What one health pass found on a reachable cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Kubernetes version, for example `v1.33.1`.
    pub kubernetes_version: String,
    /// KubeVirt version without a leading `v`, when it says one.
    pub kubevirt_version: Option<String>,
    /// Whether KubeVirt reports phase Deployed.
    pub kubevirt_deployed: bool,
    /// Why KubeVirt is not usable, as a machine reason.
    pub reason: Option<String>,
    /// Feature gates together with the features that are general at this version.
    pub features: Vec<String>,
    /// Hardware and services; `None` when they could not be read, so that the old ones stay.
    pub capabilities: Option<DetectedCapabilities>,
    /// Storage classes by name; `None` when they could not be read, so that the old ones stay.
    pub storage_classes: Option<Vec<StorageClass>>,
}
