//! Login and one's own session.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::Environment;
use shepherd_usecases::auth::{change_password, login, logout};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::http::Api;
use crate::http::extract::{Authorized, Json, OwnSession, marks, public_body};
use crate::http::respond::Answer;

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(log_in).service(log_out).service(me).service(change);
}

/// What a user types to log in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"username": "alice", "password": "correct horse battery staple"}))]
struct LoginRequest {
    /// Case does not matter.
    #[schema(min_length = 1, max_length = 255)]
    username: String,
    /// Never trimmed.
    #[schema(min_length = 1, max_length = 1024, format = Password)]
    password: String,
}

/// A session.
#[derive(Serialize, ToSchema)]
struct LoginResponse {
    /// Bearer token.
    token: String,
    /// When it ends, whatever happens.
    expires_at: DateTime<Utc>,
    /// Whether nothing but a password change is possible.
    force_password_change: bool,
}

/// Log in
///
/// Unknown, disabled and non-local users and wrong passwords get the same answer after the same work.
#[utoipa::path(tag = "auth", request_body = LoginRequest, responses((status = 200, body = LoginResponse)))]
#[post("/auth/login")]
async fn log_in(api: web::Data<Api>, request: HttpRequest, payload: web::Payload) -> Answer {
    let body: LoginRequest = public_body(&api, &request, payload).await?;
    let command = login::Login {
        username: body.username,
        password: Zeroizing::new(body.password),
    };
    let session = login::execute(&api.platform, command, &marks(&request)).await?;
    Ok(HttpResponse::Ok().json(LoginResponse {
        token: session.token.to_string(),
        expires_at: session.expires_at,
        force_password_change: session.force_password_change,
    }))
}

/// Log out
#[utoipa::path(tag = "auth", responses((status = 204)))]
#[post("/auth/logout")]
async fn log_out(api: web::Data<Api>, auth: Authorized<OwnSession>) -> Answer {
    logout::execute(&api.platform, &auth.caller).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The caller.
#[derive(Serialize, ToSchema)]
struct UserInfo {
    id: Uuid,
    username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    /// Names of the roles.
    roles: Vec<String>,
    /// Permission keys held somewhere, implied ones included.
    permissions: Vec<&'static str>,
    force_password_change: bool,
    #[schema(value_type = Vec<String>)]
    allowed_environments: Vec<Environment>,
}

/// Who am I
#[utoipa::path(tag = "auth", responses((status = 200, body = UserInfo)))]
#[get("/auth/me")]
async fn me(api: web::Data<Api>, auth: Authorized<OwnSession>) -> Answer {
    let subject = &auth.caller.subject;
    let user = api.platform.read.get_user(subject.user()).await?;
    let (email, display_name, roles) = user
        .map(|user| (user.email, user.display_name, user.roles))
        .unwrap_or_default();
    Ok(HttpResponse::Ok().json(UserInfo {
        id: subject.user().into(),
        username: auth.caller.username.clone(),
        email,
        display_name,
        roles,
        permissions: subject
            .all_permissions()
            .iter()
            .map(shepherd_domain::access::Permission::as_str)
            .collect(),
        force_password_change: auth.caller.force_password_change,
        allowed_environments: subject.all_environments().into(),
    }))
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangePasswordRequest {
    #[schema(min_length = 1, max_length = 1024, format = Password)]
    old_password: String,
    /// 8 to 128 characters.
    #[schema(min_length = 1, max_length = 1024, format = Password)]
    new_password: String,
}

/// Change the own password
///
/// All other sessions of the user end.
#[utoipa::path(tag = "auth", request_body = ChangePasswordRequest, responses((status = 204)))]
#[post("/auth/change-password")]
async fn change(api: web::Data<Api>, auth: Authorized<OwnSession, Json<ChangePasswordRequest>>) -> Answer {
    let Json(body) = auth.body;
    let command = change_password::ChangePassword {
        old: Zeroizing::new(body.old_password),
        new: Zeroizing::new(body.new_password),
    };
    change_password::execute(&api.platform, &auth.caller, command).await?;
    Ok(HttpResponse::NoContent().finish())
}
