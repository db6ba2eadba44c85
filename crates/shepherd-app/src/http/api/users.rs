//! Users and their role bindings.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::Environment;
use shepherd_domain::access::Scope;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{SystemId, UserId};
use shepherd_domain::problem::{FieldCode, Problem};
use shepherd_ports::identity::UserRecord;
use shepherd_usecases::UseCaseError;
use shepherd_usecases::identity::{bind_role, create_user};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::BASE;
use super::clusters::EnvironmentName;
use crate::http::Api;
use crate::http::extract::{Authorized, Json, Query, page, path_id, requirements};
use crate::http::respond::{Answer, Pagination, created};

requirements! {
    /// `user:manage` or `rbac:read`
    Read = [UserManage, RbacRead],
    /// `user:manage`
    Write = [UserManage],
    /// `rbac:manage`
    Bind = [RbacManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list).service(post_user).service(post_binding);
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
    #[serde(skip_serializing_if = "Option::is_none")]
    last_login_at: Option<DateTime<Utc>>,
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
            last_login_at: record.last_login_at,
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
async fn list(api: web::Data<Api>, _auth: Authorized<Read>, query: Query<ListQuery>) -> Answer {
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
    let Json(body) = auth.body;
    let command = create_user::CreateUser {
        username: body.username,
        password: Zeroizing::new(body.password),
        email: body.email,
        display_name: body.display_name,
        enabled: body.enabled.unwrap_or(true),
        force_password_change: body.force_password_change.unwrap_or(true),
    };
    let id = create_user::execute(&api.platform, &auth.caller, command).await?;
    let record = api
        .platform
        .read
        .get_user(id)
        .await?
        .ok_or(UseCaseError::Broken("a new user is not there"))?;
    Ok(created(
        format!("{BASE}/admin/users/{id}"),
        record.row_version,
        false,
        User::from(record),
    ))
}

/// A role for a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"role_id": "role-operator", "allowed_environments": ["test", "prod"]}))]
struct BindRoleRequest {
    /// Id or key.
    #[schema(min_length = 1, max_length = 63)]
    role_id: String,
    /// `global` or `system`; `global` when absent.
    scope_type: Option<ScopeType>,
    /// The System; required iff the scope is one.
    scope_id: Option<Uuid>,
    /// `["test"]` when absent.
    #[schema(value_type = Option<Vec<EnvironmentName>>, min_items = 1)]
    allowed_environments: Option<Vec<Environment>>,
    expires_at: Option<DateTime<Utc>>,
}

/// Where a binding applies.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ScopeType {
    Global,
    System,
}

/// A role binding.
#[derive(Serialize, ToSchema)]
struct RoleBinding {
    id: Uuid,
    user_id: Uuid,
    role_id: String,
    scope_type: ScopeType,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_id: Option<Uuid>,
    #[schema(value_type = Vec<String>)]
    allowed_environments: EnvironmentSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
}

/// Give a role to a user
///
/// Nobody gives more than they hold.
#[utoipa::path(tag = "users", operation_id = "create_role_binding", params(("user_id" = Uuid, Path)), request_body = BindRoleRequest, responses((status = 201, body = RoleBinding)))]
#[post("/admin/users/{user_id}/role-bindings")]
async fn post_binding(
    api: web::Data<Api>,
    auth: Authorized<Bind, Json<BindRoleRequest>>,
    id: web::Path<String>,
) -> Answer {
    let user: UserId = path_id("user_id", &id)?;
    let Json(body) = auth.body;
    let scope_type = body.scope_type.unwrap_or(ScopeType::Global);
    let command = bind_role::BindRole {
        user,
        role: body.role_id.clone(),
        scope: match (scope_type, body.scope_id) {
            (ScopeType::Global, None) => Scope::Global,
            (ScopeType::System, Some(system)) => Scope::System(SystemId::from_uuid(system)),
            (ScopeType::Global, Some(_)) => {
                return Err(Problem::invalid_field("scope_id", FieldCode::UnknownValue).into());
            }
            (ScopeType::System, None) => return Err(Problem::invalid_field("scope_id", FieldCode::Required).into()),
        },
        environments: body
            .allowed_environments
            .map_or(EnvironmentSet::TEST, EnvironmentSet::from),
        expires_at: body.expires_at,
    };
    let binding = bind_role::execute(&api.platform, &auth.caller, command).await?;
    Ok(created(
        format!("{BASE}/admin/users/{user}/role-bindings/{}", binding.id),
        1,
        false,
        RoleBinding {
            id: binding.id.into(),
            user_id: user.into(),
            role_id: body.role_id,
            scope_type,
            scope_id: body.scope_id,
            allowed_environments: binding.environments,
            expires_at: body.expires_at,
        },
    ))
}
