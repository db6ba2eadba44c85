//! Asking for the console of a machine.

use actix_web::http::header::SET_COOKIE;
use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::{TicketId, VmId};
use shepherd_usecases::console::Opened;
use shepherd_usecases::console::request::{self, Asked};
use shepherd_usecases::console::status::{self, Standing};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::vms::{Accepted, accepted};
use crate::http::Api;
use crate::http::extract::{Authorized, OptionalJson, path_id, requirements};
use crate::http::respond::Answer;
use crate::http::vnc::cookie;

requirements! {
    /// `vnc:access`
    Access = [VncAccess],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(post_request).service(get_status);
}

/// Where somebody stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ConsoleAccessStatus {
    /// There is no access.
    NotRequested,
    /// A request waits for an approver.
    PendingApproval,
    /// There is access.
    Approved,
    /// The last request was rejected or cancelled, or failed.
    Rejected,
}

/// Access to the console of a machine.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "status": "APPROVED", "vnc_url": "/api/v1/vms/01983f0e-0000-7000-8000-000000000001/vnc",
    "expires_at": "2026-01-01T12:00:00Z"
}))]
struct ConsoleAccess {
    status: ConsoleAccessStatus,
    /// The request; none for access that was given directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_id: Option<Uuid>,
    /// Where the console is, for whoever carries the cookie `vnc_bootstrap` of this answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    vnc_url: Option<String>,
    /// When the access ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
}

impl ConsoleAccess {
    /// Without access.
    fn none(status: ConsoleAccessStatus, ticket: Option<TicketId>) -> Self {
        Self {
            status,
            ticket_id: ticket.map(Into::into),
            vnc_url: None,
            expires_at: None,
        }
    }
}

/// Why a console is asked for.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConsoleRequest {
    #[schema(max_length = 1024)]
    reason: Option<String>,
}

/// Ask for the console of a machine
///
/// In test access is given at once; in prod the request waits for an approver unless there is access already.
#[utoipa::path(tag = "consoles", operation_id = "request_vm_console", params(("vm_id" = Uuid, Path)), request_body = ConsoleRequest, responses((status = 200, body = ConsoleAccess), (status = 202, body = Accepted)))]
#[post("/vms/{vm_id}/console/request")]
async fn post_request(
    api: web::Data<Api>,
    auth: Authorized<Access, OptionalJson<ConsoleRequest>>,
    id: web::Path<String>,
) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let idempotent = auth.idempotent(&api);
    let OptionalJson(body) = auth.body;
    let asked = request::execute(
        &api.platform,
        &api.operations,
        &auth.caller,
        id,
        body.reason,
        idempotent.as_ref(),
    )
    .await?;
    Ok(match asked {
        Asked::Opened(access) => opened(&access),
        Asked::Waiting(answer) => accepted(answer.outcome, answer.replayed),
    })
}

/// Read the access to the console of a machine
///
/// With access, the answer carries the cookie that opens the console.
#[utoipa::path(tag = "consoles", operation_id = "get_vm_console_status", params(("vm_id" = Uuid, Path)), responses((status = 200, body = ConsoleAccess)))]
#[get("/vms/{vm_id}/console/status")]
async fn get_status(api: web::Data<Api>, auth: Authorized<Access>, id: web::Path<String>) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let body = match status::execute(&api.platform, &auth.caller, id).await? {
        Standing::Opened(access) => return Ok(opened(&access)),
        Standing::NotRequested => ConsoleAccess::none(ConsoleAccessStatus::NotRequested, None),
        Standing::Pending(ticket) => ConsoleAccess::none(ConsoleAccessStatus::PendingApproval, Some(ticket)),
        Standing::Rejected(ticket) => ConsoleAccess::none(ConsoleAccessStatus::Rejected, Some(ticket)),
    };
    Ok(HttpResponse::Ok().json(body))
}

/// 200 with the place of the console, and the cookie that opens it.
fn opened(access: &Opened) -> HttpResponse {
    let vm = access.grant.vm_id;
    HttpResponse::Ok()
        .insert_header((SET_COOKIE, cookie::bootstrap(vm, &access.token)))
        .json(ConsoleAccess {
            status: ConsoleAccessStatus::Approved,
            ticket_id: access.grant.ticket_id.map(Into::into),
            vnc_url: Some(cookie::path(vm)),
            expires_at: Some(access.grant.expires_at),
        })
}
