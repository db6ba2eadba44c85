//! What is done to a batch that is there: its failed children are carried out again, those that wait are withdrawn.

use actix_web::{HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::TicketId;
use shepherd_usecases::batch::affected::Affected;
use shepherd_usecases::batch::read::BatchRef;
use shepherd_usecases::batch::{cancel, retry};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{AnySession, Authorized, OptionalJson};
use crate::http::respond::Answer;

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(post_retry).service(post_cancel);
}

/// The children that are meant.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"ticket_ids": ["01983f0e-0000-7000-8000-000000000001"]}))]
struct BatchChangeRequest {
    /// Children of the batch; absent means all that it can be done to.
    #[schema(max_items = 1000)]
    ticket_ids: Option<Vec<Uuid>>,
}

impl BatchChangeRequest {
    fn tickets(self) -> Option<Vec<TicketId>> {
        let ids = self.ticket_ids?;
        Some(ids.into_iter().map(TicketId::from_uuid).collect())
    }
}

/// What was done to a batch.
#[derive(Serialize, ToSchema)]
struct BatchChange {
    batch_id: Uuid,
    /// PENDING_APPROVAL, IN_PROGRESS, COMPLETED, PARTIAL_SUCCESS, FAILED or CANCELLED.
    status: &'static str,
    affected_count: usize,
    /// In the order of the batch.
    affected_ticket_ids: Vec<Uuid>,
}

impl From<Affected> for BatchChange {
    fn from(affected: Affected) -> Self {
        Self {
            batch_id: affected.batch.into(),
            status: affected.status.as_str(),
            affected_count: affected.tickets.len(),
            affected_ticket_ids: affected.tickets.into_iter().map(Uuid::from).collect(),
        }
    }
}

/// Retry failed children of a batch
///
/// What was approved is carried out again; the decision stands. A child can be retried three times.
#[utoipa::path(tag = "batches", operation_id = "retry_batch", params(("batch_id" = String, Path, description = "Id or number")), request_body = BatchChangeRequest, responses((status = 200, body = BatchChange)))]
#[post("/vms/batch/{batch_id}/retry")]
async fn post_retry(
    api: web::Data<Api>,
    auth: Authorized<AnySession, OptionalJson<BatchChangeRequest>>,
    id: web::Path<String>,
) -> Answer {
    let OptionalJson(body) = auth.body;
    let affected = retry::execute(
        &api.platform,
        &auth.caller,
        &BatchRef::parse(&id),
        body.tickets().as_deref(),
    )
    .await?;
    Ok(HttpResponse::Ok().json(BatchChange::from(affected)))
}

/// Cancel pending children of a batch
///
/// Those that are approved or under way go on. With the last pending one the batch may end.
#[utoipa::path(tag = "batches", operation_id = "cancel_batch", params(("batch_id" = String, Path, description = "Id or number")), request_body = BatchChangeRequest, responses((status = 200, body = BatchChange)))]
#[post("/vms/batch/{batch_id}/cancel")]
async fn post_cancel(
    api: web::Data<Api>,
    auth: Authorized<AnySession, OptionalJson<BatchChangeRequest>>,
    id: web::Path<String>,
) -> Answer {
    let OptionalJson(body) = auth.body;
    let affected = cancel::execute(
        &api.platform,
        &auth.caller,
        &BatchRef::parse(&id),
        body.tickets().as_deref(),
    )
    .await?;
    Ok(HttpResponse::Ok().json(BatchChange::from(affected)))
}
