//! Starting, stopping and restarting machines.

use actix_web::{post, web};
use serde::Deserialize;
use shepherd_domain::ids::VmId;
use shepherd_usecases::vm::power::{self, PowerAction};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::vms::{Accepted, accepted};
use crate::http::Api;
use crate::http::extract::{Authorized, OptionalJson, path_id, requirements};
use crate::http::respond::Answer;

requirements! {
    /// `vm:operate`
    Operate = [VmOperate],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(start).service(stop).service(restart);
}

/// Why something is asked for.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OperationRequest {
    #[schema(max_length = 1024)]
    pub(super) reason: Option<String>,
}

type Asked = Authorized<Operate, OptionalJson<OperationRequest>>;

/// Start a machine
///
/// A paused one goes on.
#[utoipa::path(tag = "vms", operation_id = "start_vm", params(("vm_id" = Uuid, Path)), request_body = OperationRequest, responses((status = 202, body = Accepted)))]
#[post("/vms/{vm_id}/start")]
async fn start(api: web::Data<Api>, auth: Asked, id: web::Path<String>) -> Answer {
    submit(&api, auth, &id, PowerAction::Start).await
}

/// Stop a machine
#[utoipa::path(tag = "vms", operation_id = "stop_vm", params(("vm_id" = Uuid, Path)), request_body = OperationRequest, responses((status = 202, body = Accepted)))]
#[post("/vms/{vm_id}/stop")]
async fn stop(api: web::Data<Api>, auth: Asked, id: web::Path<String>) -> Answer {
    submit(&api, auth, &id, PowerAction::Stop).await
}

/// Restart a machine
#[utoipa::path(tag = "vms", operation_id = "restart_vm", params(("vm_id" = Uuid, Path)), request_body = OperationRequest, responses((status = 202, body = Accepted)))]
#[post("/vms/{vm_id}/restart")]
async fn restart(api: web::Data<Api>, auth: Asked, id: web::Path<String>) -> Answer {
    submit(&api, auth, &id, PowerAction::Restart).await
}

async fn submit(api: &Api, auth: Asked, id: &str, action: PowerAction) -> Answer {
    let id: VmId = path_id("vm_id", id)?;
    let idempotent = auth.idempotent(api);
    let OptionalJson(body) = auth.body;
    let answer = power::execute(
        &api.platform,
        &api.operations,
        &auth.caller,
        id,
        action,
        body.reason,
        idempotent.as_ref(),
    )
    .await?;
    Ok(accepted(answer.outcome, answer.replayed))
}
