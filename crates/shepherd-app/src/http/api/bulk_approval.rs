//! Several tickets approved in one call.

use actix_web::{HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::{ClusterId, TicketId};
use shepherd_usecases::approval::approve::Choice;
use shepherd_usecases::approval::bulk_approve::{self, Decided};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::extract::{Authorized, Json, requirements};
use crate::http::respond::Answer;

requirements! {
    /// `approval:approve`
    Approve = [ApprovalApprove],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(post_bulk_approve);
}

/// Which requests, and where they go.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "ticket_ids": ["01983f0e-0000-7000-8000-000000000001", "01983f0e-0000-7000-8000-000000000002"],
    "comment": "as agreed"
}))]
struct BulkApproveRequest {
    /// Each ticket once; they are decided in this order.
    ticket_ids: Vec<Uuid>,
    /// May be absent when exactly one cluster is eligible.
    selected_cluster_id: Option<Uuid>,
    /// Absent or empty takes the cluster's default.
    #[schema(max_length = 253)]
    selected_storage_class: Option<String>,
    /// Absent takes the version the requester saw.
    #[schema(minimum = 1)]
    selected_template_version: Option<i32>,
    #[schema(max_length = 1024)]
    comment: Option<String>,
}

/// What became of one ticket.
#[derive(Serialize, ToSchema)]
struct BulkApproveResult {
    ticket_id: Uuid,
    /// Whether it is approved.
    ok: bool,
    /// Why not: the answer that the approval of this ticket alone would have got.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

impl From<Decided> for BulkApproveResult {
    fn from(decided: Decided) -> Self {
        let error = decided
            .outcome
            .err()
            .map(|error| ErrorBody::from(ApiError::from(error)));
        Self {
            ticket_id: decided.ticket.into(),
            ok: error.is_none(),
            error,
        }
    }
}

/// What became of each ticket.
#[derive(Serialize, ToSchema)]
struct BulkApproveAnswer {
    /// In the order of the request.
    results: Vec<BulkApproveResult>,
}

/// Approve several requests
///
/// Each is approved by itself: what one of them refuses stops none of the others.
#[utoipa::path(tag = "approvals", operation_id = "bulk_approve", request_body = BulkApproveRequest, responses((status = 200, body = BulkApproveAnswer)))]
#[post("/admin/approvals/bulk-approve")]
async fn post_bulk_approve(api: web::Data<Api>, auth: Authorized<Approve, Json<BulkApproveRequest>>) -> Answer {
    let Json(body) = auth.body;
    let tickets: Vec<TicketId> = body.ticket_ids.into_iter().map(TicketId::from_uuid).collect();
    let choice = Choice {
        cluster: body.selected_cluster_id.map(ClusterId::from_uuid),
        storage_class: body.selected_storage_class,
        template_version: body.selected_template_version,
        comment: body.comment,
        modification: None,
    };
    let decided = bulk_approve::execute(&api.platform, &api.operations, &auth.caller, &tickets, &choice).await?;
    let results = decided.into_iter().map(BulkApproveResult::from).collect();
    Ok(HttpResponse::Ok().json(BulkApproveAnswer { results }))
}
