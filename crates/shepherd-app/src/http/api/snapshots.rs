//! Snapshots and restores.

use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::{SnapshotId, VmId};
use shepherd_ports::snapshots::SnapshotRecord;
use shepherd_usecases::confirmation::Confirmation;
use shepherd_usecases::snapshot::{create, delete as delete_snapshot, restore};
use shepherd_usecases::vm;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::vm_power::OperationRequest;
use super::vms::{Accepted, accepted};
use crate::http::Api;
use crate::http::extract::{Authorized, Json, OptionalJson, Query, page, path_id, requirements};
use crate::http::respond::{Answer, Pagination};

requirements! {
    /// `vm:read`
    Read = [VmRead],
    /// `vm:snapshot`
    Snap = [VmSnapshot],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(post_snapshot)
        .service(remove)
        .service(post_restore);
}

/// A snapshot of a machine.
#[derive(Serialize, ToSchema)]
#[schema(as = VMSnapshot)]
struct Snapshot {
    id: Uuid,
    vm_id: Uuid,
    name: String,
    /// Whether it can be restored from.
    ready: bool,
    /// Why it cannot be restored from.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    created_by: String,
    created_at: DateTime<Utc>,
}

impl From<SnapshotRecord> for Snapshot {
    fn from(record: SnapshotRecord) -> Self {
        Self {
            id: record.id.into(),
            vm_id: record.vm_id.into(),
            name: record.name,
            ready: record.ready,
            error: record.error,
            created_by: record.created_by.to_string(),
            created_at: record.created_at,
        }
    }
}

/// A page of snapshots.
#[derive(Serialize, ToSchema)]
#[schema(as = VMSnapshotList)]
struct SnapshotList {
    items: Vec<Snapshot>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
}

/// List snapshots of a machine
///
/// Newest first.
#[utoipa::path(tag = "snapshots", operation_id = "list_snapshots", params(("vm_id" = Uuid, Path), ListQuery), responses((status = 200, body = SnapshotList)))]
#[get("/vms/{vm_id}/snapshots")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>, query: Query<ListQuery>) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let vm = vm::visible(
        &api.platform,
        &auth.caller,
        Permission::VmRead,
        ResourceAction::View,
        id,
    )
    .await?;
    let query = query.read()?;
    let found = api
        .platform
        .read
        .list_snapshots(vm.id, page(query.page, query.per_page)?)
        .await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(Snapshot::from).collect();
    Ok(HttpResponse::Ok().json(SnapshotList { items, pagination }))
}

/// A snapshot that is to be taken.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "before-upgrade", "reason": "the upgrade of tonight"}))]
struct CreateSnapshotRequest {
    /// Lower-case letters, digits and inner hyphens; unique among the snapshots of the machine.
    #[schema(min_length = 1, max_length = 63)]
    name: String,
    #[schema(max_length = 1024)]
    reason: Option<String>,
}

/// Request a snapshot
#[utoipa::path(tag = "snapshots", operation_id = "create_snapshot", params(("vm_id" = Uuid, Path)), request_body = CreateSnapshotRequest, responses((status = 202, body = Accepted)))]
#[post("/vms/{vm_id}/snapshots")]
async fn post_snapshot(
    api: web::Data<Api>,
    auth: Authorized<Snap, Json<CreateSnapshotRequest>>,
    id: web::Path<String>,
) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let idempotent = auth.idempotent(&api);
    let Json(body) = auth.body;
    let answer = create::execute(
        &api.platform,
        &api.operations,
        &auth.caller,
        id,
        body.name,
        body.reason,
        idempotent.as_ref(),
    )
    .await?;
    Ok(accepted(answer.outcome, answer.replayed))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeleteQuery {
    /// `true` confirms.
    confirm: Option<bool>,
    /// The exact name confirms as well.
    confirm_name: Option<String>,
}

/// Request the deletion of a snapshot
#[utoipa::path(tag = "snapshots", operation_id = "delete_snapshot", params(("snapshot_id" = Uuid, Path), DeleteQuery), responses((status = 202, body = Accepted)))]
#[delete("/snapshots/{snapshot_id}")]
async fn remove(
    api: web::Data<Api>,
    auth: Authorized<Snap>,
    id: web::Path<String>,
    query: Query<DeleteQuery>,
) -> Answer {
    let id: SnapshotId = path_id("snapshot_id", &id)?;
    let query = query.read()?;
    let given = Confirmation {
        confirm: query.confirm.unwrap_or(false),
        confirm_name: query.confirm_name,
    };
    let submitted = delete_snapshot::execute(&api.platform, &api.operations, &auth.caller, id, &given).await?;
    Ok(accepted(submitted, false))
}

/// Request that a machine becomes what a snapshot holds
///
/// The machine must be stopped.
#[utoipa::path(tag = "snapshots", operation_id = "restore_snapshot", params(("snapshot_id" = Uuid, Path)), request_body = OperationRequest, responses((status = 202, body = Accepted)))]
#[post("/snapshots/{snapshot_id}/restore")]
async fn post_restore(
    api: web::Data<Api>,
    auth: Authorized<Snap, OptionalJson<OperationRequest>>,
    id: web::Path<String>,
) -> Answer {
    let id: SnapshotId = path_id("snapshot_id", &id)?;
    let idempotent = auth.idempotent(&api);
    let OptionalJson(body) = auth.body;
    let answer = restore::execute(
        &api.platform,
        &api.operations,
        &auth.caller,
        id,
        body.reason,
        idempotent.as_ref(),
    )
    .await?;
    Ok(accepted(answer.outcome, answer.replayed))
}
