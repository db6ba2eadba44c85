//! Clones.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::{CloneId, ServiceId, VmId};
use shepherd_domain::infrastructure::ClonePhase;
use shepherd_ports::clones::CloneRecord;
use shepherd_usecases::clone::{self, create};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::vms::{Accepted, accepted};
use crate::http::Api;
use crate::http::extract::{Authorized, Json, path_id, requirements};
use crate::http::respond::Answer;

requirements! {
    /// `vm:read`
    Read = [VmRead],
    /// `vm:create`
    Create = [VmCreate],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(post_clone).service(get_clone);
}

/// The clone of a machine.
#[derive(Serialize, ToSchema)]
#[schema(as = VMClone)]
struct VmClone {
    id: Uuid,
    source_vm_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_vm_id: Option<Uuid>,
    /// PENDING, IN_PROGRESS, SUCCEEDED or FAILED.
    #[schema(value_type = String)]
    phase: ClonePhase,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    ticket_id: Uuid,
    created_by: String,
    created_at: DateTime<Utc>,
}

impl From<CloneRecord> for VmClone {
    fn from(record: CloneRecord) -> Self {
        Self {
            id: record.id.into(),
            source_vm_id: record.source_vm_id.into(),
            target_vm_id: record.target_vm_id.map(Into::into),
            phase: record.phase,
            error: record.error,
            ticket_id: record.ticket_id.into(),
            created_by: record.created_by.to_string(),
            created_at: record.created_at,
        }
    }
}

/// A copy that is to be made. Its name is generated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "a place to try the upgrade", "start_after_clone": true}))]
struct CloneVmRequest {
    /// Service of the copy; absent takes that of the source.
    service_id: Option<Uuid>,
    /// Whether the copy is started once it is there.
    start_after_clone: Option<bool>,
    /// Why.
    #[schema(min_length = 1, max_length = 1024)]
    reason: String,
}

/// Request a copy of a machine
///
/// It goes where its source is. The id of the clone is in the payload of the event.
#[utoipa::path(tag = "clones", operation_id = "clone_vm", params(("vm_id" = Uuid, Path)), request_body = CloneVmRequest, responses((status = 202, body = Accepted)))]
#[post("/vms/{vm_id}/clone")]
async fn post_clone(
    api: web::Data<Api>,
    auth: Authorized<Create, Json<CloneVmRequest>>,
    id: web::Path<String>,
) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let idempotent = auth.idempotent(&api);
    let Json(body) = auth.body;
    let command = create::CloneMachine {
        service: body.service_id.map(ServiceId::from_uuid),
        start: body.start_after_clone.unwrap_or(false),
        reason: body.reason,
    };
    let answer = create::execute(
        &api.platform,
        &api.operations,
        &auth.caller,
        id,
        command,
        idempotent.as_ref(),
    )
    .await?;
    Ok(accepted(answer.outcome, answer.replayed))
}

/// Get a clone
#[utoipa::path(tag = "clones", operation_id = "get_clone", params(("clone_id" = Uuid, Path)), responses((status = 200, body = VmClone)))]
#[get("/clones/{clone_id}")]
async fn get_clone(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let id: CloneId = path_id("clone_id", &id)?;
    let record = clone::visible(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::Ok().json(VmClone::from(record)))
}
