//! Instance sizes: limits, requests, disk range and special hardware.

mod derived;
mod draft;
mod merge;
mod patch;
mod quantity;
mod rules;

use serde::{Deserialize, Serialize};

pub use draft::SizeDraft;
pub use patch::SizePatch;

use super::overrides::SpecOverrides;
use crate::ids::InstanceSizeId;
use crate::problem::{ErrorCode, Problem};

/// A GPU of a size.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuDevice {
    /// Name inside the machine.
    pub name: String,
    /// Exact device name, for example `nvidia.com/A10`.
    pub device_name: String,
}

/// Every column of a size; also the snapshot a ticket keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the columns are documented by SizeDraft")]
pub struct InstanceSize {
    pub id: InstanceSizeId,
    pub name: String,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub cpu_cores: i32,
    pub memory_mb: i32,
    pub disk_gb: i32,
    pub min_disk_gb: i32,
    pub max_disk_gb: i32,
    pub cpu_request: Option<i32>,
    pub memory_request_mb: Option<i32>,
    pub dedicated_cpu: bool,
    pub requires_gpu: bool,
    pub requires_sriov: bool,
    pub requires_hugepages: bool,
    pub hugepages_size: Option<String>,
    pub gpu_devices: Vec<GpuDevice>,
    #[serde(default)]
    pub spec_overrides: SpecOverrides,
    pub capabilities: Vec<String>,
    pub sort_order: i32,
    pub enabled: bool,
}

impl InstanceSize {
    /// Checks a disk against the range of the size.
    ///
    /// # Errors
    /// DISK_SIZE_OUT_OF_RANGE.
    pub fn check_disk(&self, disk_gb: i32) -> Result<(), Problem> {
        if (self.min_disk_gb..=self.max_disk_gb).contains(&disk_gb) {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::DiskSizeOutOfRange)
            .with("disk_gb", disk_gb)
            .with("min_disk_gb", self.min_disk_gb)
            .with("max_disk_gb", self.max_disk_gb))
    }

    /// Whether machines of the size need a GPU, SR-IOV, hugepages or dedicated processors.
    pub fn needs_special_hardware(&self) -> bool {
        self.requires_gpu
            || self.requires_sriov
            || self.requires_hugepages
            || self.dedicated_cpu
            || !self.gpu_devices.is_empty()
    }

    /// Checks that memory comes in whole pages where the size has hugepages.
    ///
    /// # Errors
    /// VALIDATION_FAILED on `memory_mb` with OUT_OF_RANGE{multiple_of}.
    pub fn check_memory(&self, memory_mb: i32) -> Result<(), Problem> {
        match rules::whole_pages(self.hugepages_size.as_deref(), memory_mb) {
            Some(error) => Err(Problem::invalid(vec![error])),
            None => Ok(()),
        }
    }
}
