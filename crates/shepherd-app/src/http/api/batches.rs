//! Batches: the operations here, what is asked for in `given`, what they show in `shown`.

mod given;
mod shown;

use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, get, post, web};
use serde::Deserialize;
use shepherd_domain::batch::BatchStatus;
use shepherd_ports::batches::BatchFilter;
use shepherd_usecases::batch::read::{self, BatchRef};
use shepherd_usecases::batch::submit::{self, SubmitBatch, SubmittedBatch};
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

use self::given::{BatchPowerRequest, BatchRequest};
use self::shown::{Batch, BatchAccepted, BatchList, BatchSummary};
use super::BASE;
use crate::http::Api;
use crate::http::extract::{AnySession, Authorized, Json, Query, page, query_value, requirements};
use crate::http::respond::{Answer, Pagination};

/// When to look at `status_url` for the first time.
const RETRY_AFTER_SECONDS: u32 = 2;

requirements! {
    /// `vm:create` or `vm:delete`, as the operation demands
    CreateOrDelete = [VmCreate, VmDelete],
    /// `vm:operate`
    Operate = [VmOperate],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(post_batch)
        .service(post_batch_alias)
        .service(post_power)
        .service(list)
        .service(get_batch);
}

type Asked = Authorized<CreateOrDelete, Json<BatchRequest>>;

/// Request or delete several machines
///
/// The machines are one request for its approver, and independent of each other once that is approved. An equal
/// `request_id` with equal content answers the earlier batch.
#[utoipa::path(tag = "batches", operation_id = "submit_batch", request_body = BatchRequest, responses((status = 202, body = BatchAccepted)))]
#[post("/vms/batch")]
async fn post_batch(api: web::Data<Api>, auth: Asked) -> Answer {
    submit_batch(&api, auth).await
}

/// Request or delete several machines (alias)
#[utoipa::path(tag = "batches", operation_id = "submit_batch_alias", request_body = BatchRequest, responses((status = 202, body = BatchAccepted)))]
#[post("/approvals/batch")]
async fn post_batch_alias(api: web::Data<Api>, auth: Asked) -> Answer {
    submit_batch(&api, auth).await
}

async fn submit_batch(api: &Api, auth: Asked) -> Answer {
    let idempotent = auth.idempotent(api);
    let caller = auth.caller;
    let kind = auth.body.0.kind()?;
    // Before the fields of the items, which depend on it.
    caller.require(submit::permission(kind))?;
    let command: SubmitBatch = auth.body.0.command(kind)?;
    let answer = submit::execute(&api.platform, &api.operations, &caller, command, idempotent.as_ref()).await?;
    Ok(accepted(answer.outcome, answer.replayed))
}

/// Start, stop or restart several machines
#[utoipa::path(tag = "batches", operation_id = "submit_power_batch", request_body = BatchPowerRequest, responses((status = 202, body = BatchAccepted)))]
#[post("/vms/batch/power")]
async fn post_power(api: web::Data<Api>, auth: Authorized<Operate, Json<BatchPowerRequest>>) -> Answer {
    let idempotent = auth.idempotent(&api);
    let command = auth.body.0.command()?;
    let answer = submit::execute(
        &api.platform,
        &api.operations,
        &auth.caller,
        command,
        idempotent.as_ref(),
    )
    .await?;
    Ok(accepted(answer.outcome, answer.replayed))
}

/// 202 with the place where the batch can be followed.
fn accepted(submitted: SubmittedBatch, replayed: bool) -> HttpResponse {
    let status_url = format!("{BASE}/vms/batch/{}", submitted.batch_id);
    let mut response = HttpResponse::Accepted();
    response.insert_header((LOCATION, status_url.clone()));
    if replayed {
        response.insert_header(("idempotency-replayed", "true"));
    }
    response.json(BatchAccepted {
        batch_id: submitted.batch_id.into(),
        batch_number: submitted.batch_number,
        status: submitted.status,
        status_url,
        retry_after_seconds: RETRY_AFTER_SECONDS,
    })
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// PENDING_APPROVAL, IN_PROGRESS, COMPLETED, PARTIAL_SUCCESS, FAILED or CANCELLED.
    status: Option<String>,
    /// BATCH_CREATE, BATCH_DELETE or BATCH_POWER.
    batch_type: Option<String>,
}

/// List batches
///
/// Own ones, newest first; platform administrators see all.
#[utoipa::path(tag = "batches", operation_id = "list_batches", params(ListQuery), responses((status = 200, body = BatchList)))]
#[get("/vms/batch")]
async fn list(api: web::Data<Api>, auth: Authorized<AnySession>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let filter = BatchFilter {
        status: query_value::<BatchStatus>("status", query.status.as_deref())?,
        kind: query_value("batch_type", query.batch_type.as_deref())?,
        include_archived: false,
    };
    let request = page(query.page, query.per_page)?;
    let found = read::list(&api.platform, &auth.caller, &filter, request).await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(BatchSummary::from).collect();
    Ok(HttpResponse::Ok().json(BatchList { items, pagination }))
}

/// Get a batch with its requests
///
/// By id or by number.
#[utoipa::path(tag = "batches", operation_id = "get_batch", params(("batch_id" = String, Path)), responses((status = 200, body = Batch)))]
#[get("/vms/batch/{batch_id}")]
async fn get_batch(api: web::Data<Api>, auth: Authorized<AnySession>, batch: web::Path<String>) -> Answer {
    let (record, children) = read::find(&api.platform, &auth.caller, &BatchRef::parse(&batch)).await?;
    Ok(HttpResponse::Ok().json(Batch::new(record, children)))
}
