//! Sizes as they are asked for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shepherd_domain::catalog::{GpuDevice, SizeDraft, SizePatch};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::problem::{FieldCode, Problem};
use utoipa::{IntoParams, ToSchema};

use crate::http::extract::present;

/// The only kind of dry run there is.
const ALL: &str = "All";

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TrialQuery {
    /// `All` tries the size and stores nothing.
    #[serde(rename = "dryRun")]
    #[param(example = "All")]
    dry_run: Option<String>,
    /// Id of the enabled cluster that a dry run asks; absent takes the one of environment test that a machine would go
    /// to first.
    #[serde(rename = "targetCluster")]
    target_cluster: Option<String>,
}

/// A dry run.
pub(super) struct Trial {
    /// The cluster to ask, when somebody chose.
    pub(super) target: Option<ClusterId>,
}

impl TrialQuery {
    /// The dry run, if one is wanted.
    ///
    /// # Errors
    /// VALIDATION_FAILED. A target without a dry run is one that was meant to be one.
    pub(super) fn trial(self) -> Result<Option<Trial>, Problem> {
        let invalid = |field, code| Err(Problem::invalid_field(field, code));
        match self.dry_run.as_deref() {
            None if self.target_cluster.is_some() => invalid("dryRun", FieldCode::Required),
            None => Ok(None),
            Some(ALL) => match self.target_cluster.map(|id| id.parse::<ClusterId>()).transpose() {
                Ok(target) => Ok(Some(Trial { target })),
                Err(_) => invalid("targetCluster", FieldCode::InvalidFormat),
            },
            Some(_) => invalid("dryRun", FieldCode::UnknownValue),
        }
    }
}

/// A GPU of a size.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Gpu {
    /// Name inside the machine.
    #[schema(min_length = 1, max_length = 63)]
    name: String,
    /// Exact device name, for example `nvidia.com/A10`.
    #[schema(min_length = 1, max_length = 253)]
    device_name: String,
}

impl From<GpuDevice> for Gpu {
    fn from(gpu: GpuDevice) -> Self {
        Self {
            name: gpu.name,
            device_name: gpu.device_name,
        }
    }
}

impl From<Gpu> for GpuDevice {
    fn from(gpu: Gpu) -> Self {
        Self {
            name: gpu.name,
            device_name: gpu.device_name,
        }
    }
}

fn devices(gpus: Vec<Gpu>) -> Vec<GpuDevice> {
    gpus.into_iter().map(GpuDevice::from).collect()
}

/// A new size. What follows from an override need not be given, and may not contradict it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "pinned-4", "cpu_cores": 4, "memory_mb": 8192, "disk_gb": 40, "min_disk_gb": 10, "max_disk_gb": 500,
    "spec_overrides": {"spec.template.spec.domain.cpu.dedicatedCpuPlacement": true},
}))]
pub(super) struct CreateInstanceSizeRequest {
    /// Unique: lower-case letters, digits and `-`.
    #[schema(min_length = 1, max_length = 63)]
    name: String,
    #[schema(max_length = 255)]
    display_name: Option<String>,
    #[schema(max_length = 2048)]
    description: Option<String>,
    /// CPU limit in cores; required unless an override gives it.
    #[schema(minimum = 1, maximum = 1024)]
    cpu_cores: Option<i32>,
    /// Memory limit in MiB; required unless an override gives it.
    #[schema(minimum = 1, maximum = 33554432)]
    memory_mb: Option<i32>,
    /// Default disk in GiB; 100 when absent.
    #[schema(minimum = 1, maximum = 1048576)]
    disk_gb: Option<i32>,
    /// 50 when absent.
    #[schema(minimum = 1, maximum = 1048576)]
    min_disk_gb: Option<i32>,
    /// 500 when absent.
    #[schema(minimum = 1, maximum = 1048576)]
    max_disk_gb: Option<i32>,
    /// At most the limit; absent means equal to it.
    #[schema(minimum = 1, maximum = 1024)]
    cpu_request: Option<i32>,
    /// At most the limit; absent means equal to it.
    #[schema(minimum = 1, maximum = 33554432)]
    memory_request_mb: Option<i32>,
    /// Pins CPUs; excludes overcommit.
    dedicated_cpu: Option<bool>,
    requires_gpu: Option<bool>,
    requires_sriov: Option<bool>,
    requires_hugepages: Option<bool>,
    /// `2Mi` or `1Gi`.
    #[schema(max_length = 16)]
    hugepages_size: Option<String>,
    #[schema(max_items = 16)]
    gpu_devices: Option<Vec<Gpu>>,
    /// Values by dotted path below `spec`, such as `spec.template.spec.domain.cpu.dedicatedCpuPlacement`. Entries of
    /// lists are `[0]` or, where they have names, `[name=x]`.
    #[schema(value_type = Option<Object>)]
    spec_overrides: Option<Map<String, Value>>,
    /// Place in lists; 0 when absent.
    sort_order: Option<i32>,
    /// True when absent.
    enabled: Option<bool>,
}

impl From<CreateInstanceSizeRequest> for SizeDraft {
    fn from(body: CreateInstanceSizeRequest) -> Self {
        Self {
            name: body.name,
            display_name: body.display_name,
            description: body.description,
            cpu_cores: body.cpu_cores,
            memory_mb: body.memory_mb,
            disk_gb: body.disk_gb.unwrap_or_else(Self::default_disk_gb),
            min_disk_gb: body.min_disk_gb.unwrap_or_else(Self::default_min_disk_gb),
            max_disk_gb: body.max_disk_gb.unwrap_or_else(Self::default_max_disk_gb),
            cpu_request: body.cpu_request,
            memory_request_mb: body.memory_request_mb,
            dedicated_cpu: body.dedicated_cpu,
            requires_gpu: body.requires_gpu,
            requires_sriov: body.requires_sriov,
            requires_hugepages: body.requires_hugepages,
            hugepages_size: body.hugepages_size,
            gpu_devices: body.gpu_devices.map(devices),
            spec_overrides: body.spec_overrides.unwrap_or_default(),
            sort_order: body.sort_order.unwrap_or(0),
            enabled: body.enabled.unwrap_or(true),
        }
    }
}

/// What changes of a size; absent leaves a value, null clears it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"memory_mb": 16384, "cpu_request": null, "enabled": false}))]
pub(super) struct UpdateInstanceSizeRequest {
    #[schema(min_length = 1, max_length = 63)]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 255)]
    display_name: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 2048)]
    description: Option<Option<String>>,
    #[schema(minimum = 1, maximum = 1024)]
    cpu_cores: Option<i32>,
    #[schema(minimum = 1, maximum = 33554432)]
    memory_mb: Option<i32>,
    #[schema(minimum = 1, maximum = 1048576)]
    disk_gb: Option<i32>,
    #[schema(minimum = 1, maximum = 1048576)]
    min_disk_gb: Option<i32>,
    #[schema(minimum = 1, maximum = 1048576)]
    max_disk_gb: Option<i32>,
    /// Null makes it equal to the limit.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i32>, nullable, minimum = 1, maximum = 1024)]
    cpu_request: Option<Option<i32>>,
    /// Null makes it equal to the limit.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i32>, nullable, minimum = 1, maximum = 33554432)]
    memory_request_mb: Option<Option<i32>>,
    dedicated_cpu: Option<bool>,
    requires_gpu: Option<bool>,
    requires_sriov: Option<bool>,
    requires_hugepages: Option<bool>,
    /// `2Mi` or `1Gi`; null when there are to be none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 16)]
    hugepages_size: Option<Option<String>>,
    /// All of them from now on.
    #[schema(max_items = 16)]
    gpu_devices: Option<Vec<Gpu>>,
    /// All of them from now on; null removes them. A column that followed from an override that is removed falls back
    /// to what a size has by default; CPU and memory keep their numbers.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Object>, nullable)]
    spec_overrides: Option<Option<Map<String, Value>>>,
    sort_order: Option<i32>,
    /// A disabled size takes no new requests.
    enabled: Option<bool>,
}

impl From<UpdateInstanceSizeRequest> for SizePatch {
    fn from(body: UpdateInstanceSizeRequest) -> Self {
        Self {
            name: body.name,
            display_name: body.display_name,
            description: body.description,
            cpu_cores: body.cpu_cores,
            memory_mb: body.memory_mb,
            disk_gb: body.disk_gb,
            min_disk_gb: body.min_disk_gb,
            max_disk_gb: body.max_disk_gb,
            cpu_request: body.cpu_request,
            memory_request_mb: body.memory_request_mb,
            dedicated_cpu: body.dedicated_cpu,
            requires_gpu: body.requires_gpu,
            requires_sriov: body.requires_sriov,
            requires_hugepages: body.requires_hugepages,
            hugepages_size: body.hugepages_size,
            gpu_devices: body.gpu_devices.map(devices),
            spec_overrides: body.spec_overrides.map(Option::unwrap_or_default),
            sort_order: body.sort_order,
            enabled: body.enabled,
        }
    }
}
