//! Changing machines: another size or a larger disk; and asking beforehand whether a new one would be accepted.

use actix_web::{HttpResponse, patch, post, web};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::{ClusterId, InstanceSizeId, ServiceId, TemplateId, VmId};
use shepherd_domain::spec::EffectiveNumbers;
use shepherd_usecases::vm::request::RequestVm;
use shepherd_usecases::vm::request_modification::{self, RequestModification};
use shepherd_usecases::vm::validate::{self, Validated};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::vms::{Accepted, accepted};
use crate::http::Api;
use crate::http::extract::{Authorized, Json, path_id, requirements};
use crate::http::respond::{Answer, WarningBody};

requirements! {
    /// `vm:create`
    Create = [VmCreate],
    /// `vm:modify`
    Modify = [VmModify],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(patch_vm).service(validate_vm);
}

/// What is to be different about a machine: at least one of size and disk.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"disk_gb": 80, "reason": "the logs need room"}))]
struct ModifyVmRequest {
    /// An enabled size; its numbers become those of the machine.
    instance_size_id: Option<Uuid>,
    /// Disk in GiB, never less than the machine has; absent leaves it.
    #[schema(minimum = 1, maximum = 1048576)]
    disk_gb: Option<i32>,
    /// Why.
    #[schema(min_length = 1, max_length = 1024)]
    reason: String,
}

impl From<ModifyVmRequest> for RequestModification {
    fn from(body: ModifyVmRequest) -> Self {
        Self {
            size: body.instance_size_id.map(InstanceSizeId::from_uuid),
            disk_gb: body.disk_gb,
            reason: body.reason,
        }
    }
}

/// Request another size or a larger disk
///
/// Processors and memory of a running machine change with its next restart.
#[utoipa::path(tag = "vms", operation_id = "modify_vm", params(("vm_id" = Uuid, Path)), request_body = ModifyVmRequest, responses((status = 202, body = Accepted)))]
#[patch("/vms/{vm_id}")]
async fn patch_vm(
    api: web::Data<Api>,
    auth: Authorized<Modify, Json<ModifyVmRequest>>,
    id: web::Path<String>,
) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let idempotent = auth.idempotent(&api);
    let Json(body) = auth.body;
    let answer = request_modification::execute(
        &api.platform,
        &api.operations,
        &auth.caller,
        id,
        body.into(),
        idempotent.as_ref(),
    )
    .await?;
    Ok(accepted(answer.outcome, answer.replayed))
}

/// A request for a machine that is only to be checked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "service_id": "01983f0e-0000-7000-8000-000000000001", "template_id": "01983f0e-0000-7000-8000-000000000002",
    "instance_size_id": "01983f0e-0000-7000-8000-000000000003", "namespace": "dev", "reason": "a place to work",
}))]
struct ValidateVmRequest {
    service_id: Uuid,
    template_id: Uuid,
    instance_size_id: Uuid,
    /// A registered namespace.
    #[schema(min_length = 1, max_length = 63)]
    namespace: String,
    /// Why.
    #[schema(min_length = 1, max_length = 1024)]
    reason: String,
    /// Disk in GiB; absent takes the size's.
    #[schema(minimum = 1, maximum = 1048576)]
    disk_gb: Option<i32>,
    /// The cluster that is to judge; absent takes the one that would be picked first.
    cluster_id: Option<Uuid>,
}

/// What a machine would get.
#[derive(Serialize, ToSchema)]
struct EstimatedResources {
    cpu_cores: i32,
    memory_mb: i32,
    disk_gb: i32,
}

impl From<EffectiveNumbers> for EstimatedResources {
    fn from(numbers: EffectiveNumbers) -> Self {
        Self {
            cpu_cores: numbers.cpu_cores,
            memory_mb: numbers.memory_mb,
            disk_gb: numbers.disk_gb,
        }
    }
}

/// A request that would be accepted.
#[derive(Serialize, ToSchema)]
struct VmValidation {
    /// True; a request that would be refused is refused here as well.
    valid: bool,
    warnings: Vec<WarningBody>,
    estimated_resources: EstimatedResources,
    /// Absent when no cluster judged it.
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_cluster_id: Option<Uuid>,
}

impl From<Validated> for VmValidation {
    fn from(validated: Validated) -> Self {
        Self {
            valid: true,
            warnings: validated.warnings.into_iter().map(WarningBody::from).collect(),
            estimated_resources: validated.numbers.into(),
            checked_cluster_id: validated.checked_cluster.map(Into::into),
        }
    }
}

/// Check a request for a machine without submitting it
#[utoipa::path(tag = "vms", operation_id = "validate_vm", request_body = ValidateVmRequest, responses((status = 200, body = VmValidation)))]
#[post("/vms/validate")]
async fn validate_vm(api: web::Data<Api>, auth: Authorized<Create, Json<ValidateVmRequest>>) -> Answer {
    let Json(body) = auth.body;
    let cluster = body.cluster_id.map(ClusterId::from_uuid);
    let command = RequestVm {
        service: ServiceId::from_uuid(body.service_id),
        template: TemplateId::from_uuid(body.template_id),
        size: InstanceSizeId::from_uuid(body.instance_size_id),
        namespace: body.namespace,
        disk_gb: body.disk_gb,
        reason: body.reason,
    };
    let validated = validate::execute(&api.platform, &auth.caller, &command, cluster).await?;
    Ok(HttpResponse::Ok().json(VmValidation::from(validated)))
}
