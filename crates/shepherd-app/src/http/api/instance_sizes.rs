//! Instance sizes: the operations here, what they take in `given`, and what they show in `shown`.

mod given;
pub(super) mod shown;

use actix_web::{HttpResponse, delete, get, patch, post, web};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::InstanceSizeId;
use shepherd_domain::page::PageRequest;
use shepherd_ports::sizes::SizeRecord;
use shepherd_usecases::UseCaseError;
use shepherd_usecases::instance_size::{self, create, delete as delete_size, dry_run, update};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use self::given::{CreateInstanceSizeRequest, TrialQuery, UpdateInstanceSizeRequest};
use self::shown::{InstanceSize, InstanceSizeDryRun};
use super::BASE;
use crate::http::Api;
use crate::http::extract::{Authorized, IfMatch, Json, Query, page, path_id, requirements};
use crate::http::respond::{Answer, Pagination, created, versioned};

requirements! {
    /// `vm:create` or `instance_size:read`
    Offered = [VmCreate, InstanceSizeRead],
    /// `instance_size:read`
    Read = [InstanceSizeRead],
    /// `instance_size:write`
    Write = [InstanceSizeWrite],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(offered)
        .service(list)
        .service(post_size)
        .service(get_size)
        .service(patch_size)
        .service(remove_size);
}

/// Sizes by sort order and name.
#[derive(Serialize, ToSchema)]
struct InstanceSizeList {
    items: Vec<InstanceSize>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Page number, from 1. Without `page` and `per_page` the first 1000 sizes are listed.
    page: Option<u32>,
    per_page: Option<u32>,
}

async fn answer_list(
    api: &Api,
    enabled_only: bool,
    query: &Query<ListQuery>,
    show: fn(SizeRecord) -> InstanceSize,
) -> Answer {
    let query = query.read()?;
    let request = match (query.page, query.per_page) {
        (None, None) => PageRequest::all(),
        (number, size) => page(number, size)?,
    };
    let found = api.platform.read.page_of_sizes(enabled_only, request).await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(show).collect();
    Ok(HttpResponse::Ok().json(InstanceSizeList { items, pagination }))
}

/// List offered sizes
///
/// What a machine may use, without what it is guaranteed and without overrides.
#[utoipa::path(tag = "catalogue", operation_id = "list_instance_sizes", params(ListQuery), responses((status = 200, body = InstanceSizeList)))]
#[get("/instance-sizes")]
async fn offered(api: web::Data<Api>, _auth: Authorized<Offered>, query: Query<ListQuery>) -> Answer {
    answer_list(&api, true, &query, InstanceSize::offered).await
}

/// List all sizes
#[utoipa::path(tag = "catalogue", operation_id = "list_all_instance_sizes", params(ListQuery), responses((status = 200, body = InstanceSizeList)))]
#[get("/admin/instance-sizes")]
async fn list(api: web::Data<Api>, _auth: Authorized<Read>, query: Query<ListQuery>) -> Answer {
    answer_list(&api, false, &query, InstanceSize::whole).await
}

/// Create a size
///
/// Overrides are held against the schemas of all enabled clusters. With `dryRun=All` nothing is stored: what the
/// creation would refuse is refused, and otherwise the answer says what clusters make of a machine of this size.
#[utoipa::path(tag = "catalogue", operation_id = "create_instance_size", params(TrialQuery), request_body = CreateInstanceSizeRequest, responses((status = 201, description = "Created", body = InstanceSize), (status = 200, description = "Tried, with `dryRun=All`", body = InstanceSizeDryRun)))]
#[post("/admin/instance-sizes")]
async fn post_size(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<CreateInstanceSizeRequest>>,
    query: Query<TrialQuery>,
) -> Answer {
    let trial = query.read()?.trial()?;
    let request = auth.idempotent(&api);
    let Json(body) = auth.body;
    if let Some(trial) = trial {
        let found = dry_run::of_new(&api.platform, &auth.caller, body.into(), trial.target).await?;
        return Ok(HttpResponse::Ok().json(InstanceSizeDryRun::from(found)));
    }
    let answer = create::execute(&api.platform, &auth.caller, body.into(), request.as_ref()).await?;
    let record = stored(&api, answer.outcome).await?;
    let location = format!("{BASE}/admin/instance-sizes/{}", record.size.id);
    Ok(created(
        location,
        record.row_version,
        answer.replayed,
        InstanceSize::whole(record),
    ))
}

/// Get a size
#[utoipa::path(tag = "catalogue", operation_id = "get_instance_size", params(("instance_size_id" = Uuid, Path)), responses((status = 200, body = InstanceSize)))]
#[get("/admin/instance-sizes/{instance_size_id}")]
async fn get_size(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let id: InstanceSizeId = path_id("instance_size_id", &id)?;
    let record = instance_size::get(&api.platform, &auth.caller, id).await?;
    Ok(versioned(record.row_version, InstanceSize::whole(record)))
}

/// Change a size
///
/// All rules hold for the size as it becomes. Machines and approved tickets keep the size that they were approved with.
/// A size is retired by disabling it. With `dryRun=All` nothing is stored, as at the creation.
#[utoipa::path(tag = "catalogue", operation_id = "update_instance_size", params(("instance_size_id" = Uuid, Path), TrialQuery), request_body = UpdateInstanceSizeRequest, responses((status = 200, description = "The size, or what came of a dry run", body = ChangedInstanceSize)))]
#[patch("/admin/instance-sizes/{instance_size_id}")]
async fn patch_size(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<UpdateInstanceSizeRequest>>,
    id: web::Path<String>,
    version: IfMatch,
    query: Query<TrialQuery>,
) -> Answer {
    let id: InstanceSizeId = path_id("instance_size_id", &id)?;
    let trial = query.read()?.trial()?;
    let Json(body) = auth.body;
    if let Some(trial) = trial {
        let found = dry_run::of_change(&api.platform, &auth.caller, id, body.into(), version.0, trial.target).await?;
        return Ok(HttpResponse::Ok().json(ChangedInstanceSize::Tried(Box::new(found.into()))));
    }
    update::execute(&api.platform, &auth.caller, id, body.into(), version.0).await?;
    let record = stored(&api, id).await?;
    Ok(versioned(
        record.row_version,
        ChangedInstanceSize::Stored(Box::new(InstanceSize::whole(record))),
    ))
}

/// The answer to a change.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ChangedInstanceSize {
    /// The size as it is now.
    Stored(Box<InstanceSize>),
    /// What came of a dry run.
    Tried(Box<InstanceSizeDryRun>),
}

/// Delete a size
///
/// Refused while an open ticket refers to it. Machines that have the size keep what they have.
#[utoipa::path(tag = "catalogue", operation_id = "delete_instance_size", params(("instance_size_id" = Uuid, Path)), responses((status = 204)))]
#[delete("/admin/instance-sizes/{instance_size_id}")]
async fn remove_size(api: web::Data<Api>, auth: Authorized<Write>, id: web::Path<String>) -> Answer {
    let id: InstanceSizeId = path_id("instance_size_id", &id)?;
    delete_size::execute(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn stored(api: &Api, id: InstanceSizeId) -> Result<SizeRecord, UseCaseError> {
    api.platform
        .read
        .get_size(id)
        .await?
        .ok_or(UseCaseError::Broken("a size that was just written is not there"))
}
