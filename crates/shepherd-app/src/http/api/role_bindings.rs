//! Who has which role, where.

use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::Environment;
use shepherd_domain::access::Scope;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{RoleBindingId, SystemId, UserId};
use shepherd_domain::page::PageRequest;
use shepherd_domain::problem::{FieldCode, Problem};
use shepherd_ports::roles::{BindingDetails, BindingFilter};
use shepherd_usecases::role::{bind, list, unbind};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::BASE;
use super::clusters::EnvironmentName;
use crate::http::Api;
use crate::http::extract::{Authorized, Json, Query, page, path_id, query_value, requirements};
use crate::http::respond::{Answer, Pagination, created};

requirements! {
    /// `rbac:read`
    Read = [RbacRead],
    /// `rbac:manage`
    Bind = [RbacManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list_bindings)
        .service(list_of_user)
        .service(post_binding)
        .service(delete_binding);
}

/// Where a binding applies.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ScopeType {
    Global,
    System,
}

impl ScopeType {
    /// The type of a scope that names this System, or none.
    pub(super) fn of(system: Option<impl Sized>) -> Self {
        if system.is_some() { Self::System } else { Self::Global }
    }
}

/// A role binding.
#[derive(Serialize, ToSchema)]
struct RoleBinding {
    id: Uuid,
    user_id: Uuid,
    username: String,
    role_id: Uuid,
    role_name: String,
    scope_type: ScopeType,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_id: Option<Uuid>,
    #[schema(value_type = Vec<String>)]
    allowed_environments: EnvironmentSet,
    /// `manual`, `seed`, `idp_mapping`, `idp_default` or `break_glass`.
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    created_by: String,
    created_at: DateTime<Utc>,
}

impl From<BindingDetails> for RoleBinding {
    fn from(binding: BindingDetails) -> Self {
        Self {
            id: binding.id.into(),
            user_id: binding.user_id.into(),
            username: binding.username,
            role_id: binding.role_id.into(),
            role_name: binding.role_name,
            scope_type: ScopeType::of(binding.scope_id),
            scope_id: binding.scope_id.map(Into::into),
            allowed_environments: binding.allowed_environments,
            source: binding.source,
            expires_at: binding.expires_at,
            created_by: binding.created_by.to_string(),
            created_at: binding.created_at,
        }
    }
}

/// A page of role bindings.
#[derive(Serialize, ToSchema)]
struct RoleBindingList {
    items: Vec<RoleBinding>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    role_id: Option<String>,
    /// A System.
    scope_id: Option<String>,
    user_id: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    page: Option<u32>,
    per_page: Option<u32>,
}

/// List role bindings
///
/// Whoever may read roles on single Systems only sees the bindings on those.
#[utoipa::path(tag = "roles", operation_id = "list_role_bindings", params(ListQuery), responses((status = 200, body = RoleBindingList)))]
#[get("/admin/role-bindings")]
async fn list_bindings(api: web::Data<Api>, auth: Authorized<Read>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let filter = BindingFilter {
        user: query_value("user_id", query.user_id.as_deref())?,
        role: query_value("role_id", query.role_id.as_deref())?,
        scope: query_value("scope_id", query.scope_id.as_deref())?,
        visible: None,
    };
    let request = page(query.page, query.per_page)?;
    let found = list::bindings(&api.platform, &auth.caller, filter, request).await?;
    Ok(answer(found))
}

/// List the role bindings of a user
#[utoipa::path(tag = "roles", operation_id = "list_user_role_bindings", params(("user_id" = Uuid, Path), PageQuery), responses((status = 200, body = RoleBindingList)))]
#[get("/admin/users/{user_id}/role-bindings")]
async fn list_of_user(
    api: web::Data<Api>,
    auth: Authorized<Read>,
    id: web::Path<String>,
    query: Query<PageQuery>,
) -> Answer {
    let user: UserId = path_id("user_id", &id)?;
    let query = query.read()?;
    // Without a page these are all of them, as of every short list.
    let request = match (query.page, query.per_page) {
        (None, None) => PageRequest::all(),
        (number, size) => page(number, size)?,
    };
    let found = list::bindings_of(&api.platform, &auth.caller, user, request).await?;
    Ok(answer(found))
}

fn answer(found: shepherd_domain::page::Page<BindingDetails>) -> HttpResponse {
    let pagination = Pagination::of(&found);
    HttpResponse::Ok().json(RoleBindingList {
        items: found.items.into_iter().map(RoleBinding::from).collect(),
        pagination,
    })
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
    /// When the binding ends: in the future, within a hundred years.
    expires_at: Option<DateTime<Utc>>,
}

impl BindRoleRequest {
    fn scope(&self) -> Result<Scope, Problem> {
        match (self.scope_type.unwrap_or(ScopeType::Global), self.scope_id) {
            (ScopeType::Global, None) => Ok(Scope::Global),
            (ScopeType::System, Some(system)) => Ok(Scope::System(SystemId::from_uuid(system))),
            (ScopeType::Global, Some(_)) => Err(Problem::invalid_field("scope_id", FieldCode::UnknownValue)),
            (ScopeType::System, None) => Err(Problem::invalid_field("scope_id", FieldCode::Required)),
        }
    }
}

/// Give a role to a user
///
/// Nobody gives more than they hold.
#[utoipa::path(tag = "roles", operation_id = "create_role_binding", params(("user_id" = Uuid, Path)), request_body = BindRoleRequest, responses((status = 201, body = RoleBinding)))]
#[post("/admin/users/{user_id}/role-bindings")]
async fn post_binding(
    api: web::Data<Api>,
    auth: Authorized<Bind, Json<BindRoleRequest>>,
    id: web::Path<String>,
) -> Answer {
    let request = auth.idempotent(&api);
    let user: UserId = path_id("user_id", &id)?;
    let Json(body) = auth.body;
    let command = bind::BindRole {
        user,
        scope: body.scope()?,
        role: body.role_id,
        environments: body
            .allowed_environments
            .map_or(EnvironmentSet::TEST, EnvironmentSet::from),
        expires_at: body.expires_at,
    };
    let answer = bind::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let binding = answer.outcome;
    let location = format!("{BASE}/admin/users/{user}/role-bindings/{}", binding.id);
    let version = binding.row_version;
    Ok(created(location, version, answer.replayed, RoleBinding::from(binding)))
}

/// Take a role from a user
///
/// Effective with the next request of the user, on every replica.
#[utoipa::path(tag = "roles", operation_id = "delete_role_binding", params(("user_id" = Uuid, Path), ("binding_id" = Uuid, Path)), responses((status = 204)))]
#[delete("/admin/users/{user_id}/role-bindings/{binding_id}")]
async fn delete_binding(api: web::Data<Api>, auth: Authorized<Bind>, ids: web::Path<(String, String)>) -> Answer {
    let user: UserId = path_id("user_id", &ids.0)?;
    let binding: RoleBindingId = path_id("binding_id", &ids.1)?;
    unbind::execute(&api.platform, &auth.caller, user, binding).await?;
    Ok(HttpResponse::NoContent().finish())
}
