//! Sessions: one's own and, for administrators, those of others.

use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::{SessionId, UserId};
use shepherd_ports::context::Caller;
use shepherd_ports::sessions::SessionRecord;
use shepherd_usecases::session::{list, revoke, revoke_all};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{AnySession, Authorized, OptionalJson, Query, page, path_id, requirements};
use crate::http::respond::{Answer, Pagination};

requirements! {
    /// `session:manage`
    Manage = [SessionManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list_own)
        .service(revoke_all_own)
        .service(revoke_own)
        .service(list_of_user)
        .service(revoke_all_of_user)
        .service(revoke_of_anybody);
}

/// A session that is neither revoked nor expired nor idle for too long.
#[derive(Serialize, ToSchema)]
struct Session {
    id: Uuid,
    issued_at: DateTime<Utc>,
    /// When it ends, whatever happens.
    expires_at: DateTime<Utc>,
    /// To the minute.
    last_seen_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(value_type = Option<String>)]
    ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(value_type = Option<String>)]
    user_agent: String,
    /// Whether it is the one of this request.
    current: bool,
}

impl Session {
    fn of(record: SessionRecord, caller: &Caller) -> Self {
        Self {
            id: record.id.into(),
            issued_at: record.issued_at,
            expires_at: record.expires_at,
            last_seen_at: record.last_seen_at,
            ip: record.ip,
            user_agent: record.user_agent,
            current: record.id == caller.session,
        }
    }
}

/// The caller's sessions.
#[derive(Serialize, ToSchema)]
struct OwnSessionList {
    items: Vec<Session>,
}

/// A page of sessions.
#[derive(Serialize, ToSchema)]
struct SessionList {
    items: Vec<Session>,
    pagination: Pagination,
}

/// What was ended.
#[derive(Serialize, ToSchema)]
struct RevokedSessions {
    /// Live sessions that ended.
    revoked_count: u64,
}

/// List the own sessions
#[utoipa::path(tag = "auth", operation_id = "list_sessions", responses((status = 200, body = OwnSessionList)))]
#[get("/auth/sessions")]
async fn list_own(api: web::Data<Api>, auth: Authorized<AnySession>) -> Answer {
    let found = list::own(&api.platform, &auth.caller).await?;
    let items = found
        .into_iter()
        .map(|record| Session::of(record, &auth.caller))
        .collect();
    Ok(HttpResponse::Ok().json(OwnSessionList { items }))
}

/// End one of the own sessions
#[utoipa::path(tag = "auth", operation_id = "revoke_session", params(("session_id" = Uuid, Path)), responses((status = 204)))]
#[delete("/auth/sessions/{session_id}")]
async fn revoke_own(api: web::Data<Api>, auth: Authorized<AnySession>, id: web::Path<String>) -> Answer {
    let id: SessionId = path_id("session_id", &id)?;
    revoke::own(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Which of the own sessions end.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RevokeAllRequest {
    /// Whether the session of this request stays; `true` when absent.
    keep_current: Option<bool>,
}

/// End the own sessions
#[utoipa::path(tag = "auth", operation_id = "revoke_all_sessions", request_body = RevokeAllRequest, responses((status = 200, body = RevokedSessions)))]
#[post("/auth/sessions/revoke-all")]
async fn revoke_all_own(api: web::Data<Api>, auth: Authorized<AnySession, OptionalJson<RevokeAllRequest>>) -> Answer {
    let OptionalJson(body) = auth.body;
    let keep_current = body.keep_current.unwrap_or(true);
    let revoked_count = revoke_all::own(&api.platform, &auth.caller, keep_current).await?;
    Ok(HttpResponse::Ok().json(RevokedSessions { revoked_count }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
}

/// List the sessions of a user
#[utoipa::path(tag = "users", operation_id = "list_user_sessions", params(("user_id" = Uuid, Path), ListQuery), responses((status = 200, body = SessionList)))]
#[get("/admin/users/{user_id}/sessions")]
async fn list_of_user(
    api: web::Data<Api>,
    auth: Authorized<Manage>,
    id: web::Path<String>,
    query: Query<ListQuery>,
) -> Answer {
    let id: UserId = path_id("user_id", &id)?;
    let query = query.read()?;
    let request = page(query.page, query.per_page)?;
    let found = list::of_user(&api.platform, &auth.caller, id, request).await?;
    let pagination = Pagination::of(&found);
    let items = found
        .items
        .into_iter()
        .map(|record| Session::of(record, &auth.caller))
        .collect();
    Ok(HttpResponse::Ok().json(SessionList { items, pagination }))
}

/// End all sessions of a user
///
/// Only of those who hold no more than the caller.
#[utoipa::path(tag = "users", operation_id = "revoke_all_user_sessions", params(("user_id" = Uuid, Path)), responses((status = 200, body = RevokedSessions)))]
#[post("/admin/users/{user_id}/sessions/revoke-all")]
async fn revoke_all_of_user(api: web::Data<Api>, auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let id: UserId = path_id("user_id", &id)?;
    let revoked_count = revoke_all::of_user(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::Ok().json(RevokedSessions { revoked_count }))
}

/// End a session of anybody
///
/// Only of those who hold no more than the caller.
#[utoipa::path(tag = "users", operation_id = "revoke_user_session", params(("session_id" = Uuid, Path)), responses((status = 204)))]
#[delete("/admin/sessions/{session_id}")]
async fn revoke_of_anybody(api: web::Data<Api>, auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let id: SessionId = path_id("session_id", &id)?;
    revoke::of_anybody(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::NoContent().finish())
}
