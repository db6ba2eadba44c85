//! Users.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::UserId;
use shepherd_ports::identity::UserRecord;
use shepherd_ports::users::FoundUser;
use shepherd_usecases::UseCaseError;
use shepherd_usecases::identity::{account, create_user, delete_user, search_users, update_user};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::BASE;
use crate::http::Api;
use crate::http::extract::{AnySession, Authorized, IfMatch, Json, Query, page, path_id, present, requirements};
use crate::http::respond::{Answer, Pagination, WarningBody, created, versioned, warnings};

requirements! {
    /// `user:manage` or `rbac:read`
    Read = [UserManage, RbacRead],
    /// `user:manage`
    Write = [UserManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(search)
        .service(list)
        .service(post_user)
        .service(get_user)
        .service(patch_user)
        .service(remove_user);
}

/// A user.
#[derive(Serialize, ToSchema)]
struct User {
    id: Uuid,
    username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    enabled: bool,
    /// Names of the roles.
    roles: Vec<String>,
    /// The provider that knows the password; absent for a local user.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_provider_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_login_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<WarningBody>>,
    created_at: DateTime<Utc>,
}

impl From<UserRecord> for User {
    fn from(record: UserRecord) -> Self {
        Self {
            id: record.id.into(),
            username: record.username,
            email: record.email,
            display_name: record.display_name,
            enabled: record.enabled,
            roles: record.roles,
            auth_provider_id: record.auth_provider_id.map(Uuid::from),
            last_login_at: record.last_login_at,
            warnings: None,
            created_at: record.created_at,
        }
    }
}

/// A page of users.
#[derive(Serialize, ToSchema)]
struct UserList {
    items: Vec<User>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// Looks into user name, display name and e-mail.
    q: Option<String>,
    enabled: Option<bool>,
}

/// List users
#[utoipa::path(tag = "users", operation_id = "list_users", params(ListQuery), responses((status = 200, body = UserList)))]
#[get("/admin/users")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, query: Query<ListQuery>) -> Answer {
    account::require_reader(&auth.caller)?;
    let query = query.read()?;
    let found = api
        .platform
        .read
        .list_users(query.q.as_deref(), query.enabled, page(query.page, query.per_page)?)
        .await?;
    let pagination = Pagination::of(&found);
    Ok(HttpResponse::Ok().json(UserList {
        items: found.items.into_iter().map(User::from).collect(),
        pagination,
    }))
}

/// A new local user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateUserRequest {
    #[schema(min_length = 1, max_length = 255)]
    username: String,
    #[schema(min_length = 1, max_length = 1024, format = Password)]
    password: String,
    #[schema(max_length = 255)]
    email: Option<String>,
    #[schema(max_length = 255)]
    display_name: Option<String>,
    /// `true` when absent.
    enabled: Option<bool>,
    /// `true` when absent.
    force_password_change: Option<bool>,
}

/// Create a local user
#[utoipa::path(tag = "users", operation_id = "create_user", request_body = CreateUserRequest, responses((status = 201, body = User)))]
#[post("/admin/users")]
async fn post_user(api: web::Data<Api>, auth: Authorized<Write, Json<CreateUserRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let Json(body) = auth.body;
    let command = create_user::CreateUser {
        username: body.username,
        password: Zeroizing::new(body.password),
        email: body.email,
        display_name: body.display_name,
        enabled: body.enabled.unwrap_or(true),
        force_password_change: body.force_password_change.unwrap_or(true),
    };
    let answer = create_user::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let id = answer.outcome;
    let record = api
        .platform
        .read
        .get_user(id)
        .await?
        .ok_or(UseCaseError::Broken("a new user is not there"))?;
    Ok(created(
        format!("{BASE}/admin/users/{id}"),
        record.row_version,
        answer.replayed,
        User::from(record),
    ))
}

/// Get a user
#[utoipa::path(tag = "users", operation_id = "get_user", params(("user_id" = Uuid, Path)), responses((status = 200, body = User)))]
#[get("/admin/users/{user_id}")]
async fn get_user(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let id: UserId = path_id("user_id", &id)?;
    let record = account::visible(&api.platform, &auth.caller, id).await?;
    Ok(versioned(record.row_version, User::from(record)))
}

/// What changes; absent leaves a value, null clears a text.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"enabled": false}))]
struct UpdateUserRequest {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 255)]
    email: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 255)]
    display_name: Option<Option<String>>,
    /// `false` ends all sessions of the user.
    enabled: Option<bool>,
    /// Local users only, and not one's own; ends all sessions of the user.
    #[schema(min_length = 1, max_length = 1024, format = Password)]
    password: Option<String>,
    /// `true` when absent and a password is given.
    force_password_change: Option<bool>,
}

/// Change a user
///
/// Only those who hold no more than the caller.
#[utoipa::path(tag = "users", operation_id = "update_user", params(("user_id" = Uuid, Path)), request_body = UpdateUserRequest, responses((status = 200, body = User)))]
#[patch("/admin/users/{user_id}")]
async fn patch_user(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<UpdateUserRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let id: UserId = path_id("user_id", &id)?;
    let Json(body) = auth.body;
    let command = update_user::UpdateUser {
        email: body.email,
        display_name: body.display_name,
        enabled: body.enabled,
        password: body.password.map(Zeroizing::new),
        force_password_change: body.force_password_change,
    };
    let found = update_user::execute(&api.platform, &auth.caller, id, command, version.0).await?;
    let record = account::visible(&api.platform, &auth.caller, id).await?;
    let version = record.row_version;
    let user = User {
        warnings: warnings(found),
        ..record.into()
    };
    Ok(versioned(version, user))
}

/// Delete a user
///
/// Sessions, role bindings and memberships go as well; what the user did stays on record.
#[utoipa::path(tag = "users", operation_id = "delete_user", params(("user_id" = Uuid, Path)), responses((status = 204)))]
#[delete("/admin/users/{user_id}")]
async fn remove_user(api: web::Data<Api>, auth: Authorized<Write>, id: web::Path<String>) -> Answer {
    let id: UserId = path_id("user_id", &id)?;
    delete_user::execute(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A user as others find one.
#[derive(Serialize, ToSchema)]
struct UserBrief {
    id: Uuid,
    username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
}

impl From<FoundUser> for UserBrief {
    fn from(user: FoundUser) -> Self {
        Self {
            id: user.id.into(),
            username: user.username,
            display_name: user.display_name,
        }
    }
}

/// Users that were found.
#[derive(Serialize, ToSchema)]
struct UserBriefList {
    items: Vec<UserBrief>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// At least 2 characters; looked for in user name and display name. Required.
    q: Option<String>,
}

/// Find enabled users
///
/// For those who manage the members of a System, or users, or roles. At most 10, those whose user name begins with the
/// text first.
#[utoipa::path(tag = "users", operation_id = "search_users", params(SearchQuery), responses((status = 200, body = UserBriefList)))]
#[get("/users/search")]
async fn search(api: web::Data<Api>, auth: Authorized<AnySession>, query: Query<SearchQuery>) -> Answer {
    let query = query.read()?;
    let found = search_users::execute(&api.platform, &auth.caller, query.q.as_deref()).await?;
    let items = found.into_iter().map(UserBrief::from).collect();
    Ok(HttpResponse::Ok().json(UserBriefList { items }))
}
