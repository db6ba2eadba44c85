//! A size as it was asked for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::derived::Derived;
use super::merge::{Given, merge};
use super::{GpuDevice, InstanceSize};
use crate::catalog::SpecOverrides;
use crate::ids::InstanceSizeId;
use crate::problem::Problem;

/// A size as it was asked for. What is absent and can be read from an override is read from there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeDraft {
    /// Unique name, at most 63 characters.
    pub name: String,
    /// Shown to people, at most 255 characters.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Shown to people, at most 2048 characters.
    #[serde(default)]
    pub description: Option<String>,
    /// CPU limit in cores, at least 1; absent means the one of the overrides.
    #[serde(default)]
    pub cpu_cores: Option<i32>,
    /// Memory limit in MiB, at least 1; absent means the one of the overrides.
    #[serde(default)]
    pub memory_mb: Option<i32>,
    /// Default disk in GiB.
    #[serde(default = "SizeDraft::default_disk_gb")]
    pub disk_gb: i32,
    /// Smallest disk in GiB.
    #[serde(default = "SizeDraft::default_min_disk_gb")]
    pub min_disk_gb: i32,
    /// Largest disk in GiB.
    #[serde(default = "SizeDraft::default_max_disk_gb")]
    pub max_disk_gb: i32,
    /// CPU request in cores, at most the limit; absent means equal to it.
    #[serde(default)]
    pub cpu_request: Option<i32>,
    /// Memory request in MiB, at most the limit; absent means equal to it.
    #[serde(default)]
    pub memory_request_mb: Option<i32>,
    /// Pins CPUs; excludes overcommit. Absent means what the overrides say, else not.
    #[serde(default)]
    pub dedicated_cpu: Option<bool>,
    /// Needs any GPU, or those of `gpu_devices`. Absent means that there are some.
    #[serde(default)]
    pub requires_gpu: Option<bool>,
    /// Needs an SR-IOV network. Absent means what the overrides say, else not.
    #[serde(default)]
    pub requires_sriov: Option<bool>,
    /// Needs hugepages of `hugepages_size`. Absent means what the overrides say, else not.
    #[serde(default)]
    pub requires_hugepages: Option<bool>,
    /// `2Mi` or `1Gi`; absent means the one of the overrides.
    #[serde(default)]
    pub hugepages_size: Option<String>,
    /// Exact GPUs, at most 16; absent means those of the overrides.
    #[serde(default)]
    pub gpu_devices: Option<Vec<GpuDevice>>,
    /// Dotted paths below `spec` and what to put there.
    #[serde(default)]
    pub spec_overrides: Map<String, Value>,
    /// Place in lists.
    #[serde(default)]
    pub sort_order: i32,
    /// Whether it is offered.
    #[serde(default = "enabled_by_default")]
    pub enabled: bool,
}

fn enabled_by_default() -> bool {
    true
}

impl SizeDraft {
    /// Default disk in GiB when none is given.
    pub fn default_disk_gb() -> i32 {
        100
    }

    /// Smallest disk in GiB when none is given.
    pub fn default_min_disk_gb() -> i32 {
        50
    }

    /// Largest disk in GiB when none is given.
    pub fn default_max_disk_gb() -> i32 {
        500
    }

    /// Checks the overrides, the fields and their relations, fills the columns that follow from overrides, and derives
    /// the capability keys.
    ///
    /// # Errors
    /// INVALID_SPEC_OVERRIDES; SPEC_OVERRIDE_CONFLICT; VALIDATION_FAILED with all field errors; then OVERCOMMIT_INVALID,
    /// DEDICATED_CPU_OVERCOMMIT_CONFLICT.
    pub fn into_size(self, id: InstanceSizeId) -> Result<InstanceSize, Problem> {
        let spec_overrides = SpecOverrides::parse(&self.spec_overrides)?;
        let given = Given {
            cpu_cores: self.cpu_cores,
            memory_mb: self.memory_mb,
            dedicated_cpu: self.dedicated_cpu,
            requires_gpu: self.requires_gpu,
            requires_sriov: self.requires_sriov,
            requires_hugepages: self.requires_hugepages,
            hugepages_size: self.hugepages_size.map(Some),
            gpu_devices: self.gpu_devices,
        };
        let blank = InstanceSize {
            id,
            name: self.name,
            display_name: self.display_name,
            description: self.description,
            cpu_cores: 0,
            memory_mb: 0,
            disk_gb: self.disk_gb,
            min_disk_gb: self.min_disk_gb,
            max_disk_gb: self.max_disk_gb,
            cpu_request: self.cpu_request,
            memory_request_mb: self.memory_request_mb,
            dedicated_cpu: false,
            requires_gpu: false,
            requires_sriov: false,
            requires_hugepages: false,
            hugepages_size: None,
            gpu_devices: Vec::new(),
            spec_overrides,
            capabilities: Vec::new(),
            sort_order: self.sort_order,
            enabled: self.enabled,
        };
        merge(blank, &Derived::default(), given)
    }
}
