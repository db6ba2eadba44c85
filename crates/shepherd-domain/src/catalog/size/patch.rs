//! What is to change of a size.

use serde_json::{Map, Value};

use super::derived::Derived;
use super::merge::{Given, merge};
use super::{GpuDevice, InstanceSize};
use crate::catalog::SpecOverrides;
use crate::problem::Problem;

/// What is to change of a size: what is `None` stays, an inner `None` clears. The fields are those of
/// [`SizeDraft`](super::SizeDraft).
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the columns are documented by SizeDraft")]
pub struct SizePatch {
    pub name: Option<String>,
    pub display_name: Option<Option<String>>,
    pub description: Option<Option<String>>,
    pub cpu_cores: Option<i32>,
    pub memory_mb: Option<i32>,
    pub disk_gb: Option<i32>,
    pub min_disk_gb: Option<i32>,
    pub max_disk_gb: Option<i32>,
    pub cpu_request: Option<Option<i32>>,
    pub memory_request_mb: Option<Option<i32>>,
    pub dedicated_cpu: Option<bool>,
    pub requires_gpu: Option<bool>,
    pub requires_sriov: Option<bool>,
    pub requires_hugepages: Option<bool>,
    pub hugepages_size: Option<Option<String>>,
    pub gpu_devices: Option<Vec<GpuDevice>>,
    /// All overrides, which replace the present ones.
    pub spec_overrides: Option<Map<String, Value>>,
    pub sort_order: Option<i32>,
    pub enabled: Option<bool>,
}

impl InstanceSize {
    /// The size after a change; all rules hold for the outcome and not for the change alone.
    ///
    /// A column that the patch does not have follows the override that gives it. Where the patch takes that override
    /// away, the column falls back to what a size has by default; CPU and memory, which have no default, keep their
    /// numbers.
    ///
    /// # Errors
    /// Those of [`SizeDraft::into_size`](super::SizeDraft::into_size).
    pub fn patched(self, patch: SizePatch) -> Result<Self, Problem> {
        // What is stored went through the same rules; were it otherwise, no column would count as derived.
        let before = Derived::of(&self.spec_overrides).unwrap_or_default();
        let spec_overrides = match &patch.spec_overrides {
            Some(map) => SpecOverrides::parse(map)?,
            None => self.spec_overrides,
        };
        let given = Given {
            cpu_cores: patch.cpu_cores,
            memory_mb: patch.memory_mb,
            dedicated_cpu: patch.dedicated_cpu,
            requires_gpu: patch.requires_gpu,
            requires_sriov: patch.requires_sriov,
            requires_hugepages: patch.requires_hugepages,
            hugepages_size: patch.hugepages_size,
            gpu_devices: patch.gpu_devices,
        };
        let row = Self {
            name: patch.name.unwrap_or(self.name),
            display_name: patch.display_name.unwrap_or(self.display_name),
            description: patch.description.unwrap_or(self.description),
            disk_gb: patch.disk_gb.unwrap_or(self.disk_gb),
            min_disk_gb: patch.min_disk_gb.unwrap_or(self.min_disk_gb),
            max_disk_gb: patch.max_disk_gb.unwrap_or(self.max_disk_gb),
            cpu_request: patch.cpu_request.unwrap_or(self.cpu_request),
            memory_request_mb: patch.memory_request_mb.unwrap_or(self.memory_request_mb),
            spec_overrides,
            sort_order: patch.sort_order.unwrap_or(self.sort_order),
            enabled: patch.enabled.unwrap_or(self.enabled),
            ..self
        };
        merge(row, &before, given)
    }
}
