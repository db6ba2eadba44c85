//! The console itself: authenticated by the cookie that a request for it left in the browser.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, get, web};
use serde::Serialize;
use shepherd_domain::ids::VmId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_usecases::console::door::{self, Visitor};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{marks, path_id, stated_user};
use crate::http::respond::Answer;
use crate::http::vnc::upgrade::{self, Handshake};
use crate::http::vnc::{Upgrade, cookie};
use crate::runtime::Worker;

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(open);
}

/// A console that can be opened.
#[derive(Serialize, ToSchema)]
#[schema(as = ConsoleReady)]
struct Ready {
    /// Always `SESSION_READY`.
    #[schema(example = "SESSION_READY")]
    status: &'static str,
    vm_id: Uuid,
    /// Where the WebSocket is.
    #[schema(example = "/api/v1/vms/01983f0e-7c1e-7aa0-8000-2f6d2c1d9a10/vnc")]
    websocket_path: String,
}

/// Open the console of a machine
///
/// With `Upgrade: websocket` the cookie `vnc_bootstrap` is used up, and RFB runs in binary messages until either side
/// ends it; close codes above 4400 say why the server did: 4403 access lost, 4408 grant ended, 4410 machine stopped,
/// 4502 cluster failed. Without it the cookie is only looked at.
#[utoipa::path(tag = "consoles", operation_id = "open_vm_console", params(("vm_id" = Uuid, Path)), responses((status = 200, body = Ready), (status = 101, description = "A WebSocket")))]
#[get("/vms/{vm_id}/vnc")]
async fn open(
    api: web::Data<Api>,
    worker: web::Data<Worker>,
    request: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
) -> Answer {
    let from = marks(&request);
    api.limits.count_address(from.ip)?;
    let token = cookie::read(&request).ok_or_else(|| Problem::new(ErrorCode::InvalidVncToken))?;
    let vm: VmId = path_id("vm_id", &id)?;
    let visitor = Visitor {
        vm,
        token: Some(token),
        bearer: stated_user(&api, &request).await?,
        marks: &from,
    };
    if !upgrade::is_wanted(&request) {
        door::inspect(&api.platform, &visitor).await?;
        return Ok(HttpResponse::Ok().json(Ready {
            status: "SESSION_READY",
            vm_id: vm.into(),
            websocket_path: cookie::path(vm),
        }));
    }
    let handshake = Handshake::read(&request)?;
    upgrade::require_origin(&request, |origin| api.origins.is_listed(origin))?;
    // Strangers take no seats, and who finds none keeps the token.
    let guest = door::admit(&api.platform, &visitor).await?;
    let seat = api.consoles.seat(api.platform.settings().console.max_sessions)?;
    let platform = Arc::clone(&api.platform);
    let upgrade = Upgrade {
        handshake: &handshake,
        payload,
        worker: &worker,
    };
    Ok(api.consoles.start(platform, vm, guest, seat, upgrade).await?)
}
