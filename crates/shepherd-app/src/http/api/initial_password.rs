//! The one-time password of a guest.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, post, web};
use serde::Serialize;
use shepherd_domain::ids::VmId;
use shepherd_usecases::credential::reveal;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::Api;
use crate::http::extract::{Authorized, path_id, requirements};
use crate::http::respond::Answer;

requirements! {
    /// `vm:read`
    Read = [VmRead],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(reveal_initial_password);
}

/// How the guest is entered for the first time.
#[derive(Serialize, ToSchema)]
struct InitialPassword {
    /// Account in the guest.
    #[schema(example = "cloud-user")]
    username: String,
    /// Has to be changed at the first login.
    password: String,
}

/// Show the initial password of a machine
///
/// Once, to the user who requested the machine and to nobody else, within a week after it was made. It is erased by
/// this; an `Idempotency-Key` does not bring it back.
#[utoipa::path(tag = "vms", operation_id = "reveal_vm_initial_password", params(("vm_id" = Uuid, Path)), responses((status = 200, body = InitialPassword)))]
#[post("/vms/{vm_id}/initial-password")]
async fn reveal_initial_password(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let shown = reveal::execute(&api.platform, &auth.caller, id).await?;
    // Every answer of the API says so; this one must, whatever becomes of that.
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(InitialPassword {
            username: shown.username,
            password: shown.password.as_str().to_owned(),
        }))
}
