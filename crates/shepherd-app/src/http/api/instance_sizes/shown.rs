//! Sizes as they are shown.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shepherd_domain::catalog::SpecOverrides;
use shepherd_domain::problem::Problem;
use shepherd_ports::sizes::SizeRecord;
use shepherd_usecases::instance_size::dry_run::{ClusterVerdict, SizeDryRun};
use utoipa::ToSchema;
use uuid::Uuid;

use super::given::Gpu;
use crate::http::error::ErrorBody;

/// Hardware a machine can have.
#[derive(Serialize, ToSchema)]
pub(in crate::http::api) struct InstanceSize {
    id: Uuid,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// CPU limit in cores.
    cpu_cores: i32,
    /// Memory limit in MiB.
    memory_mb: i32,
    disk_gb: i32,
    min_disk_gb: i32,
    max_disk_gb: i32,
    /// Guaranteed cores; absent when they equal the limit, and from the list of offered sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_request: Option<i32>,
    /// Guaranteed MiB; absent when they equal the limit, and from the list of offered sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_request_mb: Option<i32>,
    /// Whether fewer cores are guaranteed than may be used. Absent from the list of offered sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_overcommit_enabled: Option<bool>,
    /// Whether less memory is guaranteed than may be used. Absent from the list of offered sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_overcommit_enabled: Option<bool>,
    dedicated_cpu: bool,
    requires_gpu: bool,
    requires_sriov: bool,
    requires_hugepages: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    hugepages_size: Option<String>,
    gpu_devices: Vec<Gpu>,
    /// Values by dotted path, one for each leaf. Absent from the list of offered sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    spec_overrides: Option<SpecOverrides>,
    /// What a cluster must have.
    capabilities: Vec<String>,
    sort_order: i32,
    enabled: bool,
    /// `valid`, `invalid` or `unknown`.
    validation_status: String,
    created_by: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl InstanceSize {
    /// For those who ask for machines.
    pub(in crate::http::api) fn offered(record: SizeRecord) -> Self {
        Self {
            cpu_request: None,
            memory_request_mb: None,
            cpu_overcommit_enabled: None,
            memory_overcommit_enabled: None,
            spec_overrides: None,
            ..Self::whole(record)
        }
    }

    /// For administrators.
    pub(super) fn whole(record: SizeRecord) -> Self {
        let size = record.size;
        Self {
            id: size.id.into(),
            name: size.name,
            display_name: size.display_name,
            description: size.description,
            cpu_cores: size.cpu_cores,
            memory_mb: size.memory_mb,
            disk_gb: size.disk_gb,
            min_disk_gb: size.min_disk_gb,
            max_disk_gb: size.max_disk_gb,
            cpu_request: size.cpu_request,
            memory_request_mb: size.memory_request_mb,
            cpu_overcommit_enabled: Some(record.cpu_overcommit_enabled),
            memory_overcommit_enabled: Some(record.memory_overcommit_enabled),
            dedicated_cpu: size.dedicated_cpu,
            requires_gpu: size.requires_gpu,
            requires_sriov: size.requires_sriov,
            requires_hugepages: size.requires_hugepages,
            hugepages_size: size.hugepages_size,
            gpu_devices: size.gpu_devices.into_iter().map(Gpu::from).collect(),
            spec_overrides: Some(size.spec_overrides),
            capabilities: size.capabilities,
            sort_order: size.sort_order,
            enabled: size.enabled,
            validation_status: record.validation_status,
            created_by: record.created_by.to_string(),
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// What came of a dry run. What a write would refuse is answered by the same error instead.
#[derive(Serialize, ToSchema)]
pub(super) struct InstanceSizeDryRun {
    /// Whether there are no errors. A cluster that could not be asked makes none.
    valid: bool,
    /// SCHEMA_VALIDATION_FAILED for what the newest schema does not know of the machine, and DRY_RUN_REJECTED.
    #[schema(value_type = Vec<ErrorBody>)]
    errors: Vec<Problem>,
    /// The machine that was tried: the size with the first active template.
    rendered_yaml: String,
    /// Enabled clusters that have what the size needs and know what it sets, by name.
    compatible_clusters: Vec<CompatibleCluster>,
    cluster_validation: ClusterValidation,
}

/// A cluster that a machine of the size could go to.
#[derive(Serialize, ToSchema)]
struct CompatibleCluster {
    cluster_id: Uuid,
    name: String,
}

/// What a cluster says about the machine.
#[derive(Serialize, ToSchema)]
struct ClusterValidation {
    /// Absent when there was no cluster to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubevirt_version: Option<String>,
    /// `valid`, `rejected`, `unreachable`, or `skipped` when no cluster looked at the machine.
    #[schema(value_type = String)]
    result: ClusterVerdict,
}

impl From<SizeDryRun> for InstanceSizeDryRun {
    fn from(found: SizeDryRun) -> Self {
        let clusters = found.compatible_clusters.into_iter();
        Self {
            valid: found.errors.is_empty(),
            errors: found.errors,
            rendered_yaml: found.rendered_yaml,
            compatible_clusters: clusters
                .map(|cluster| CompatibleCluster {
                    cluster_id: cluster.id.into(),
                    name: cluster.name,
                })
                .collect(),
            cluster_validation: ClusterValidation {
                cluster_id: found.cluster_validation.cluster.map(Uuid::from),
                kubevirt_version: found.cluster_validation.kubevirt_version,
                result: found.cluster_validation.verdict,
            },
        }
    }
}
