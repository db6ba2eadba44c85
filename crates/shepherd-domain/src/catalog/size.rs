//! Instance sizes: limits, requests, disk range and special hardware.

use serde::{Deserialize, Serialize};

use crate::ids::InstanceSizeId;
use crate::problem::{ErrorCode, FieldCode, FieldError, Problem};

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A size as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeDraft {
    /// Unique name, at most 63 characters.
    pub name: String,
    /// Shown to people.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Shown to people.
    #[serde(default)]
    pub description: Option<String>,
    /// CPU limit in cores, at least 1.
    pub cpu_cores: i32,
    /// Memory limit in MiB, at least 1.
    pub memory_mb: i32,
    /// Default disk in GiB.
    #[serde(default = "default_disk")]
    pub disk_gb: i32,
    /// Smallest disk in GiB.
    #[serde(default = "default_min_disk")]
    pub min_disk_gb: i32,
    /// Largest disk in GiB.
    #[serde(default = "default_max_disk")]
    pub max_disk_gb: i32,
    /// CPU request in cores, at most the limit; absent means equal to it.
    #[serde(default)]
    pub cpu_request: Option<i32>,
    /// Memory request in MiB, at most the limit; absent means equal to it.
    #[serde(default)]
    pub memory_request_mb: Option<i32>,
    /// Pins CPUs; excludes overcommit.
    #[serde(default)]
    pub dedicated_cpu: bool,
    /// Needs any GPU, or those of `gpu_devices`.
    #[serde(default)]
    pub requires_gpu: bool,
    /// Needs an SR-IOV network.
    #[serde(default)]
    pub requires_sriov: bool,
    /// Needs hugepages of `hugepages_size`.
    #[serde(default)]
    pub requires_hugepages: bool,
    /// `2Mi` or `1Gi`.
    #[serde(default)]
    pub hugepages_size: Option<String>,
    /// Exact GPUs.
    #[serde(default)]
    pub gpu_devices: Vec<GpuDevice>,
    /// Place in lists.
    #[serde(default)]
    pub sort_order: i32,
    /// Whether it is offered.
    #[serde(default = "enabled_by_default")]
    pub enabled: bool,
}

fn default_disk() -> i32 {
    100
}

fn default_min_disk() -> i32 {
    50
}

fn default_max_disk() -> i32 {
    500
}

fn enabled_by_default() -> bool {
    true
}

impl SizeDraft {
    /// Checks the fields and their relations and derives the capability keys.
    ///
    /// # Errors
    /// VALIDATION_FAILED with all field errors; then OVERCOMMIT_INVALID, DEDICATED_CPU_OVERCOMMIT_CONFLICT.
    pub fn into_size(self, id: InstanceSizeId) -> Result<InstanceSize, Problem> {
        self.check_fields()?;
        self.check_requests()?;
        let mut draft = self;
        draft.requires_gpu |= !draft.gpu_devices.is_empty();
        let capabilities = draft.capabilities();
        Ok(InstanceSize {
            id,
            name: draft.name,
            display_name: draft.display_name,
            description: draft.description,
            cpu_cores: draft.cpu_cores,
            memory_mb: draft.memory_mb,
            disk_gb: draft.disk_gb,
            min_disk_gb: draft.min_disk_gb,
            max_disk_gb: draft.max_disk_gb,
            cpu_request: draft.cpu_request,
            memory_request_mb: draft.memory_request_mb,
            dedicated_cpu: draft.dedicated_cpu,
            requires_gpu: draft.requires_gpu,
            requires_sriov: draft.requires_sriov,
            requires_hugepages: draft.requires_hugepages,
            hugepages_size: draft.hugepages_size,
            gpu_devices: draft.gpu_devices,
            capabilities,
            sort_order: draft.sort_order,
            enabled: draft.enabled,
        })
    }

    fn check_fields(&self) -> Result<(), Problem> {
        let mut errors = Vec::new();
        let name_ok = (1..=63).contains(&self.name.len())
            && self
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && self.name.starts_with(|c: char| c.is_ascii_lowercase())
            && !self.name.ends_with('-');
        if !name_ok {
            errors.push(FieldError::new("name", FieldCode::InvalidFormat));
        }
        let mut at_least_one = |field: &str, value: Option<i32>, max: i32| {
            if value.is_some_and(|value| !(1..=max).contains(&value)) {
                errors.push(
                    FieldError::new(field, FieldCode::OutOfRange)
                        .with("min", 1)
                        .with("max", max),
                );
            }
        };
        // Ceilings far above any machine that exists, so that no product of them overflows.
        at_least_one("cpu_cores", Some(self.cpu_cores), 1_024);
        at_least_one("memory_mb", Some(self.memory_mb), 33_554_432);
        at_least_one("cpu_request", self.cpu_request, 1_024);
        at_least_one("memory_request_mb", self.memory_request_mb, 33_554_432);
        at_least_one("min_disk_gb", Some(self.min_disk_gb), 1_048_576);
        at_least_one("max_disk_gb", Some(self.max_disk_gb), 1_048_576);
        if self.disk_gb < self.min_disk_gb || self.disk_gb > self.max_disk_gb {
            errors.push(
                FieldError::new("disk_gb", FieldCode::OutOfRange)
                    .with("min", self.min_disk_gb)
                    .with("max", self.max_disk_gb),
            );
        }
        match (self.requires_hugepages, self.hugepages_size.as_deref()) {
            (true, None) => errors.push(FieldError::new("hugepages_size", FieldCode::Required)),
            (true, Some("2Mi")) if self.memory_mb % 2 != 0 => {
                errors.push(FieldError::new("memory_mb", FieldCode::OutOfRange).with("multiple_of", 2))
            }
            (true, Some("1Gi")) if self.memory_mb % 1024 != 0 => {
                errors.push(FieldError::new("memory_mb", FieldCode::OutOfRange).with("multiple_of", 1024));
            }
            (true, Some("2Mi" | "1Gi")) | (false, None) => {}
            (_, Some(_)) => errors.push(FieldError::new("hugepages_size", FieldCode::UnknownValue)),
        }
        for (index, gpu) in self.gpu_devices.iter().enumerate() {
            if gpu.name.is_empty() || gpu.device_name.is_empty() || gpu.device_name.len() > 253 {
                errors.push(FieldError::new(
                    format!("gpu_devices[{index}]"),
                    FieldCode::InvalidFormat,
                ));
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(errors))
        }
    }

    fn check_requests(&self) -> Result<(), Problem> {
        check_overcommit("cpu", self.cpu_request, self.cpu_cores, self.dedicated_cpu)?;
        check_overcommit("memory", self.memory_request_mb, self.memory_mb, self.dedicated_cpu)
    }

    fn capabilities(&self) -> Vec<String> {
        let mut keys = Vec::new();
        if self.requires_gpu && self.gpu_devices.is_empty() {
            keys.push("gpu".to_owned());
        }
        keys.extend(self.gpu_devices.iter().map(|gpu| format!("gpu:{}", gpu.device_name)));
        if self.requires_sriov {
            keys.push("sriov".to_owned());
        }
        if let Some(size) = &self.hugepages_size {
            keys.push(format!("hugepages:{}", size.to_lowercase()));
        }
        keys.sort();
        keys.dedup();
        keys
    }
}

fn check_overcommit(resource: &str, request: Option<i32>, limit: i32, dedicated: bool) -> Result<(), Problem> {
    let problem = |code, request: i32| {
        Problem::new(code)
            .with("resource", resource)
            .with("request", request)
            .with("limit", limit)
    };
    match request {
        Some(request) if request > limit => Err(problem(ErrorCode::OvercommitInvalid, request)),
        Some(request) if request != limit && dedicated => {
            Err(problem(ErrorCode::DedicatedCpuOvercommitConflict, request))
        }
        Some(_) | None => Ok(()),
    }
}
