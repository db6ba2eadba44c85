//! What external approval systems call back with. Nobody has to be known to send something here.

use actix_web::{HttpRequest, HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::TicketId;
use shepherd_usecases::external_approval::callback::{self, Callback, Received};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::Api;
use crate::http::extract::{checked_body, marks, signed_body};
use crate::http::respond::Answer;

/// Most bytes of a callback.
const MAX_CALLBACK_BYTES: usize = 64 * 1024;

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(call_back);
}

/// What a system decided.
///
/// It carries `X-Shepherd-Timestamp`, at most five minutes from now, and `X-Signature-256` as tickets do. A network that
/// sends 20 callbacks in 15 minutes without a right signature has to wait.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "shepherd_ticket_id": "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a10", "external_ticket_id": "CHG-4711", "status": "approved",
    "approver": "dora@example.org", "comments": "in the change window", "approved_at": "2026-11-21T12:00:00Z",
}))]
struct ApprovalCallbackRequest {
    #[schema(value_type = Uuid)]
    shepherd_ticket_id: TicketId,
    /// As the system names it. The signature tells who sends it, so another id than that of the submission is accepted
    /// and put on record.
    #[schema(min_length = 1, max_length = 255)]
    external_ticket_id: String,
    /// A word of the system; its status mapping says what it means.
    #[schema(min_length = 1, max_length = 64)]
    status: String,
    /// Who decided there. An approval that names nobody is left to the approvers, as a remark on the ticket, where
    /// requesters must not approve their own requests.
    #[schema(max_length = 255)]
    approver: Option<String>,
    #[schema(max_length = 4096)]
    comments: Option<String>,
    /// When it was decided there.
    #[schema(max_length = 64)]
    approved_at: Option<String>,
}

/// What became of a callback.
#[derive(Serialize, ToSchema)]
struct ApprovalCallbackAnswer {
    /// Whether things stand now as it says. What comes again is answered as before; what comes too late is not.
    accepted: bool,
}

/// Take the decision of an external approval system
#[utoipa::path(tag = "approvals", operation_id = "approval_callback", request_body = ApprovalCallbackRequest, responses((status = 200, body = ApprovalCallbackAnswer)))]
#[post("/webhooks/approval-callback")]
async fn call_back(api: web::Data<Api>, request: HttpRequest, payload: web::Payload) -> Answer {
    let bytes = signed_body(&api, &request, payload, MAX_CALLBACK_BYTES).await?;
    let marks = marks(&request);
    let received = Received {
        timestamp: header(&request, "x-shepherd-timestamp"),
        signature: header(&request, "x-signature-256"),
        body: &bytes,
    };
    let verified = callback::verify(&api.platform, received, &marks).await?;
    let body: ApprovalCallbackRequest = checked_body(&api, &bytes)?;
    let callback = Callback {
        ticket: body.shepherd_ticket_id,
        external_id: body.external_ticket_id,
        status: body.status,
        approver: body.approver,
        comments: body.comments,
        approved_at: body.approved_at,
    };
    let accepted = callback::execute(&api.platform, &api.operations, &verified, &callback, &marks).await?;
    Ok(HttpResponse::Ok().json(ApprovalCallbackAnswer { accepted }))
}

/// The one value of a header; nothing when there are several, which nobody can have signed.
fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    let mut values = request.headers().get_all(name);
    let value = values.next()?.to_str().ok();
    values.next().map_or(value, |_| None)
}
