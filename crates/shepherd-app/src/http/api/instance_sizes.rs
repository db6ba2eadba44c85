//! Instance sizes.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::catalog::{GpuDevice, SizeDraft};
use shepherd_ports::catalog::SizeRecord;
use shepherd_usecases::UseCaseError;
use shepherd_usecases::catalog::create_size;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::BASE;
use crate::http::Api;
use crate::http::extract::{Authorized, Json, requirements};
use crate::http::respond::{Answer, created};

requirements! {
    /// `vm:create` or `instance_size:read`
    Offered = [VmCreate, InstanceSizeRead],
    /// `instance_size:read`
    Read = [InstanceSizeRead],
    /// `instance_size:write`
    Write = [InstanceSizeWrite],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(offered).service(list).service(post_size);
}

/// A GPU of a size.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Gpu {
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

/// Hardware a machine can have.
#[derive(Serialize, ToSchema)]
struct InstanceSize {
    id: Uuid,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    cpu_cores: i32,
    memory_mb: i32,
    disk_gb: i32,
    min_disk_gb: i32,
    max_disk_gb: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_request: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_request_mb: Option<i32>,
    dedicated_cpu: bool,
    requires_gpu: bool,
    requires_sriov: bool,
    requires_hugepages: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    hugepages_size: Option<String>,
    gpu_devices: Vec<Gpu>,
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

impl From<SizeRecord> for InstanceSize {
    fn from(record: SizeRecord) -> Self {
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
            dedicated_cpu: size.dedicated_cpu,
            requires_gpu: size.requires_gpu,
            requires_sriov: size.requires_sriov,
            requires_hugepages: size.requires_hugepages,
            hugepages_size: size.hugepages_size,
            gpu_devices: size.gpu_devices.into_iter().map(Gpu::from).collect(),
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

/// Sizes by sort order and name.
#[derive(Serialize, ToSchema)]
struct InstanceSizeList {
    items: Vec<InstanceSize>,
}

async fn answer_list(api: &Api, enabled_only: bool) -> Answer {
    let found = api.platform.read.list_sizes(enabled_only).await?;
    Ok(HttpResponse::Ok().json(InstanceSizeList {
        items: found.into_iter().map(InstanceSize::from).collect(),
    }))
}

/// List offered sizes
#[utoipa::path(tag = "catalogue", operation_id = "list_instance_sizes", responses((status = 200, body = InstanceSizeList)))]
#[get("/instance-sizes")]
async fn offered(api: web::Data<Api>, _auth: Authorized<Offered>) -> Answer {
    answer_list(&api, true).await
}

/// List all sizes
#[utoipa::path(tag = "catalogue", operation_id = "list_all_instance_sizes", responses((status = 200, body = InstanceSizeList)))]
#[get("/admin/instance-sizes")]
async fn list(api: web::Data<Api>, _auth: Authorized<Read>) -> Answer {
    answer_list(&api, false).await
}

/// A new size.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "medium", "cpu_cores": 4, "memory_mb": 8192, "disk_gb": 40, "min_disk_gb": 10, "max_disk_gb": 500}))]
struct CreateInstanceSizeRequest {
    name: String,
    #[schema(max_length = 255)]
    display_name: Option<String>,
    #[schema(max_length = 2048)]
    description: Option<String>,
    /// CPU limit in cores.
    cpu_cores: i32,
    /// Memory limit in MiB.
    memory_mb: i32,
    /// Default disk in GiB; 100 when absent.
    disk_gb: Option<i32>,
    /// 50 when absent.
    min_disk_gb: Option<i32>,
    /// 500 when absent.
    max_disk_gb: Option<i32>,
    /// At most the limit; absent means equal to it.
    cpu_request: Option<i32>,
    /// At most the limit; absent means equal to it.
    memory_request_mb: Option<i32>,
    dedicated_cpu: Option<bool>,
    requires_gpu: Option<bool>,
    requires_sriov: Option<bool>,
    requires_hugepages: Option<bool>,
    /// `2Mi` or `1Gi`.
    hugepages_size: Option<String>,
    #[schema(max_items = 16)]
    gpu_devices: Option<Vec<Gpu>>,
    sort_order: Option<i32>,
    enabled: Option<bool>,
}

impl From<CreateInstanceSizeRequest> for SizeDraft {
    fn from(body: CreateInstanceSizeRequest) -> Self {
        let gpus = body.gpu_devices.unwrap_or_default();
        Self {
            name: body.name,
            display_name: body.display_name,
            description: body.description,
            cpu_cores: body.cpu_cores,
            memory_mb: body.memory_mb,
            disk_gb: body.disk_gb.unwrap_or(100),
            min_disk_gb: body.min_disk_gb.unwrap_or(50),
            max_disk_gb: body.max_disk_gb.unwrap_or(500),
            cpu_request: body.cpu_request,
            memory_request_mb: body.memory_request_mb,
            dedicated_cpu: body.dedicated_cpu.unwrap_or(false),
            requires_gpu: body.requires_gpu.unwrap_or(false),
            requires_sriov: body.requires_sriov.unwrap_or(false),
            requires_hugepages: body.requires_hugepages.unwrap_or(false),
            hugepages_size: body.hugepages_size,
            gpu_devices: gpus
                .into_iter()
                .map(|gpu| GpuDevice {
                    name: gpu.name,
                    device_name: gpu.device_name,
                })
                .collect(),
            sort_order: body.sort_order.unwrap_or(0),
            enabled: body.enabled.unwrap_or(true),
        }
    }
}

/// Create a size
#[utoipa::path(tag = "catalogue", operation_id = "create_instance_size", request_body = CreateInstanceSizeRequest, responses((status = 201, body = InstanceSize)))]
#[post("/admin/instance-sizes")]
async fn post_size(api: web::Data<Api>, auth: Authorized<Write, Json<CreateInstanceSizeRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let answer = create_size::execute(&api.platform, &auth.caller, auth.body.0.into(), request.as_ref()).await?;
    let record = api
        .platform
        .read
        .get_size(answer.outcome)
        .await?
        .ok_or(UseCaseError::Broken("a new size is not there"))?;
    let location = format!("{BASE}/admin/instance-sizes/{}", record.size.id);
    Ok(created(
        location,
        record.row_version,
        answer.replayed,
        InstanceSize::from(record),
    ))
}
