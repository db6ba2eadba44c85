//! Members of Systems.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::Problem;
use shepherd_domain::access::{Permission, ResourceAction, ResourceRole};
use shepherd_domain::ids::{SystemId, UserId};
use shepherd_ports::members::MemberRecord;
use shepherd_usecases::UseCaseError;
use shepherd_usecases::system::{self, members};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::BASE;
use crate::http::Api;
use crate::http::extract::{Authorized, IfMatch, Json, path_id, requirements};
use crate::http::respond::{Answer, created, versioned};

requirements! {
    /// `system:read`; the rest is a matter of the role on the System.
    Read = [SystemRead],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(post_member)
        .service(patch_member)
        .service(delete_member);
}

/// A member of a System.
#[derive(Serialize, ToSchema)]
struct SystemMember {
    user_id: Uuid,
    username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(value_type = String)]
    role: ResourceRole,
    /// When the membership ends; absent for one that does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl From<MemberRecord> for SystemMember {
    fn from(record: MemberRecord) -> Self {
        Self {
            user_id: record.user_id.into(),
            username: record.username,
            email: record.email,
            display_name: record.display_name,
            role: record.role,
            expires_at: record.expires_at,
            created_at: record.created_at,
        }
    }
}

/// The members of a System.
#[derive(Serialize, ToSchema)]
struct SystemMemberList {
    items: Vec<SystemMember>,
}

/// List the members of a System
///
/// Owners first, then by user name; at most 1000. Memberships that have expired are not shown.
#[utoipa::path(tag = "systems", operation_id = "list_system_members", params(("system_id" = Uuid, Path)), responses((status = 200, body = SystemMemberList)))]
#[get("/systems/{system_id}/members")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let id: SystemId = path_id("system_id", &id)?;
    system::visible(
        &api.platform,
        &auth.caller,
        Permission::SystemRead,
        ResourceAction::View,
        id,
    )
    .await?;
    let found = api.platform.read.list_members(id, api.platform.now()).await?;
    let items = found.into_iter().map(SystemMember::from).collect();
    Ok(HttpResponse::Ok().json(SystemMemberList { items }))
}

/// A new member.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user_id": "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a10", "role": "member"}))]
struct AddMemberRequest {
    #[schema(value_type = Uuid)]
    user_id: UserId,
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(min_length = 1, max_length = 64)]
    role: String,
    /// When the membership ends: in the future, within a hundred years, and never for an owner.
    expires_at: Option<DateTime<Utc>>,
}

/// Add a member to a System
///
/// Owners and admins add members; only owners add owners.
#[utoipa::path(tag = "systems", operation_id = "add_system_member", params(("system_id" = Uuid, Path)), request_body = AddMemberRequest, responses((status = 201, body = SystemMember)))]
#[post("/systems/{system_id}/members")]
async fn post_member(
    api: web::Data<Api>,
    auth: Authorized<Read, Json<AddMemberRequest>>,
    id: web::Path<String>,
) -> Answer {
    let request = auth.idempotent(&api);
    let system: SystemId = path_id("system_id", &id)?;
    let Json(body) = auth.body;
    let command = members::add::AddMember {
        system,
        user: body.user_id,
        role: body.role,
        expires_at: body.expires_at,
    };
    let answer = members::add::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let member = stored(&api, system, answer.outcome).await?;
    Ok(created(
        format!("{BASE}/systems/{system}/members/{}", member.user_id),
        member.row_version,
        answer.replayed,
        SystemMember::from(member),
    ))
}

/// A new role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"role": "admin"}))]
struct UpdateMemberRequest {
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(min_length = 1, max_length = 64)]
    role: String,
}

/// Change the role of a member of a System
///
/// Only owners make owners or change one, and one of them remains. The membership of an owner does not expire.
#[utoipa::path(tag = "systems", operation_id = "update_system_member", params(("system_id" = Uuid, Path), ("user_id" = Uuid, Path)), request_body = UpdateMemberRequest, responses((status = 200, body = SystemMember)))]
#[patch("/systems/{system_id}/members/{user_id}")]
async fn patch_member(
    api: web::Data<Api>,
    auth: Authorized<Read, Json<UpdateMemberRequest>>,
    path: web::Path<(String, String)>,
    version: IfMatch,
) -> Answer {
    let (system, user) = ids(&path)?;
    let Json(body) = auth.body;
    members::update::execute(&api.platform, &auth.caller, system, user, &body.role, version.0).await?;
    let member = stored(&api, system, user).await?;
    Ok(versioned(member.row_version, SystemMember::from(member)))
}

/// Remove a member from a System
///
/// Everybody may leave, whatever the role; only owners remove other owners, and one of them remains.
#[utoipa::path(tag = "systems", operation_id = "remove_system_member", params(("system_id" = Uuid, Path), ("user_id" = Uuid, Path)), responses((status = 204)))]
#[delete("/systems/{system_id}/members/{user_id}")]
async fn delete_member(api: web::Data<Api>, auth: Authorized<Read>, path: web::Path<(String, String)>) -> Answer {
    let (system, user) = ids(&path)?;
    members::remove::execute(&api.platform, &auth.caller, system, user).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What was written, unless somebody else has removed it since.
async fn stored(api: &Api, system: SystemId, user: UserId) -> Result<MemberRecord, UseCaseError> {
    let member = api.platform.read.get_member(system, user, api.platform.now()).await?;
    Ok(member.ok_or_else(|| members::not_found(user))?)
}

fn ids(path: &(String, String)) -> Result<(SystemId, UserId), Problem> {
    Ok((path_id("system_id", &path.0)?, path_id("user_id", &path.1)?))
}
