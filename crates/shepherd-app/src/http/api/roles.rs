//! Roles, the permission catalogue, and what the caller holds of it.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, delete, get, patch, post, put, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::access::{Permission, Scope};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_ports::roles::RoleDetails;
use shepherd_usecases::UseCaseError;
use shepherd_usecases::role::{create, delete, list, update};
use strum::IntoEnumIterator;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::BASE;
use super::role_bindings::ScopeType;
use crate::http::Api;
use crate::http::extract::{AnySession, Authorized, IfMatch, Json, present, requirements};
use crate::http::respond::{Answer, created, versioned};

requirements! {
    /// `rbac:read`
    Read = [RbacRead],
    /// `rbac:manage`
    Write = [RbacManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(catalogue)
        .service(mine)
        .service(list_roles)
        .service(post_role)
        .service(get_role)
        .service(patch_role)
        .service(put_permissions)
        .service(delete_role);
}

/// A key of the catalogue.
#[derive(Serialize, ToSchema)]
struct PermissionInfo {
    key: &'static str,
    description: &'static str,
    /// Keys that come with it, directly.
    implies: Vec<&'static str>,
}

/// The catalogue.
#[derive(Serialize, ToSchema)]
struct PermissionList {
    items: Vec<PermissionInfo>,
}

/// List the permission catalogue
///
/// Wildcards do not exist; `platform:admin` implies every key.
#[utoipa::path(tag = "roles", operation_id = "list_permissions", responses((status = 200, body = PermissionList)))]
#[get("/admin/permissions")]
async fn catalogue(_auth: Authorized<Read>) -> Answer {
    let items = Permission::iter().map(|permission| PermissionInfo {
        key: permission.as_str(),
        description: permission.description(),
        implies: permission.implied().iter().map(|implied| implied.as_str()).collect(),
    });
    Ok(HttpResponse::Ok().json(PermissionList { items: items.collect() }))
}

/// A permission that the caller holds somewhere.
#[derive(Serialize, ToSchema)]
struct HeldPermission {
    permission: &'static str,
    scope_type: ScopeType,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_id: Option<Uuid>,
    #[schema(value_type = Vec<String>)]
    allowed_environments: EnvironmentSet,
}

/// Everything the caller holds.
#[derive(Serialize, ToSchema)]
struct HeldPermissionList {
    items: Vec<HeldPermission>,
}

/// List the own permissions
///
/// Implied keys are listed as well; per scope the environments of all bindings together. A permission is exercised
/// within one binding, so two limited ones do not add up to more than each gives.
#[utoipa::path(tag = "auth", operation_id = "list_my_permissions", responses((status = 200, body = HeldPermissionList)))]
#[get("/me/permissions")]
async fn mine(auth: Authorized<AnySession>) -> Answer {
    let mut held: BTreeMap<(Permission, Option<Uuid>), EnvironmentSet> = BTreeMap::new();
    for grant in auth.caller.subject.grants() {
        let system = match grant.scope {
            Scope::Global => None,
            Scope::System(system) => Some(system.as_uuid()),
        };
        for permission in grant.permissions.iter() {
            let environments = held.entry((permission, system)).or_default();
            *environments = environments.union(grant.environments);
        }
    }
    let items = held
        .into_iter()
        .map(|((permission, scope_id), allowed_environments)| HeldPermission {
            permission: permission.as_str(),
            scope_type: ScopeType::of(scope_id),
            scope_id,
            allowed_environments,
        });
    Ok(HttpResponse::Ok().json(HeldPermissionList { items: items.collect() }))
}

/// A role: permissions under a name.
#[derive(Serialize, ToSchema)]
struct Role {
    id: Uuid,
    /// Stable key of a built-in role.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    permissions: Vec<String>,
    /// Built-in roles cannot be changed.
    built_in: bool,
    /// A disabled role grants nothing.
    enabled: bool,
    created_at: DateTime<Utc>,
}

impl From<RoleDetails> for Role {
    fn from(role: RoleDetails) -> Self {
        Self {
            id: role.id.into(),
            key: role.key,
            name: role.name,
            display_name: role.display_name,
            description: role.description,
            permissions: role.permissions,
            built_in: role.built_in,
            enabled: role.enabled,
            created_at: role.created_at,
        }
    }
}

/// All roles.
#[derive(Serialize, ToSchema)]
struct RoleList {
    items: Vec<Role>,
}

/// List roles
#[utoipa::path(tag = "roles", operation_id = "list_roles", responses((status = 200, body = RoleList)))]
#[get("/admin/roles")]
async fn list_roles(api: web::Data<Api>, _auth: Authorized<Read>) -> Answer {
    let roles = api.platform.read.list_roles().await?;
    Ok(HttpResponse::Ok().json(RoleList {
        items: roles.into_iter().map(Role::from).collect(),
    }))
}

/// Get a role
#[utoipa::path(tag = "roles", operation_id = "get_role", params(("role_id" = String, Path, description = "Id or key")), responses((status = 200, body = Role)))]
#[get("/admin/roles/{role_id}")]
async fn get_role(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let role = list::role(&api.platform, &auth.caller, &id).await?;
    Ok(versioned(role.row_version, Role::from(role)))
}

/// A new role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Auditor", "permissions": ["audit:read", "audit:export"]}))]
struct CreateRoleRequest {
    /// Unique; 1 to 63 characters.
    #[schema(min_length = 1, max_length = 63)]
    name: String,
    /// Keys of the catalogue.
    #[schema(max_items = 200)]
    permissions: Vec<String>,
    #[schema(max_length = 255)]
    display_name: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    /// `true` when absent.
    enabled: Option<bool>,
}

/// Create a role
///
/// Its author must hold every permission of it everywhere.
#[utoipa::path(tag = "roles", operation_id = "create_role", request_body = CreateRoleRequest, responses((status = 201, body = Role)))]
#[post("/admin/roles")]
async fn post_role(api: web::Data<Api>, auth: Authorized<Write, Json<CreateRoleRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let Json(body) = auth.body;
    let command = create::CreateRole {
        name: body.name,
        permissions: body.permissions,
        display_name: body.display_name,
        description: body.description,
        enabled: body.enabled.unwrap_or(true),
    };
    let answer = create::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let role = stored(&api, &answer.outcome.to_string()).await?;
    let location = format!("{BASE}/admin/roles/{}", role.id);
    Ok(created(location, role.row_version, answer.replayed, Role::from(role)))
}

/// A change of a role; absent leaves a value, null clears it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateRoleRequest {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 255)]
    display_name: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 512)]
    description: Option<Option<String>>,
    /// Keys of the catalogue.
    #[schema(max_items = 200)]
    permissions: Option<Vec<String>>,
    enabled: Option<bool>,
}

/// Change a role
///
/// Built-in roles cannot be changed. What changes is effective with the next request of everybody who has the role.
#[utoipa::path(tag = "roles", operation_id = "update_role", params(("role_id" = String, Path, description = "Id or key")), request_body = UpdateRoleRequest, responses((status = 200, body = Role)))]
#[patch("/admin/roles/{role_id}")]
async fn patch_role(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<UpdateRoleRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let Json(body) = auth.body;
    let command = update::UpdateRole {
        display_name: body.display_name,
        description: body.description,
        permissions: body.permissions,
        enabled: body.enabled,
    };
    let id = update::execute(&api.platform, &auth.caller, &id, command, version.0).await?;
    let role = stored(&api, &id.to_string()).await?;
    Ok(versioned(role.row_version, Role::from(role)))
}

/// All permissions of a role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RolePermissionsRequest {
    /// Keys of the catalogue.
    #[schema(max_items = 200)]
    permissions: Vec<String>,
}

/// Replace the permissions of a role
#[utoipa::path(tag = "roles", operation_id = "replace_role_permissions", params(("role_id" = String, Path, description = "Id or key")), request_body = RolePermissionsRequest, responses((status = 200, body = Role)))]
#[put("/admin/roles/{role_id}/permissions")]
async fn put_permissions(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<RolePermissionsRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let Json(body) = auth.body;
    let command = update::UpdateRole {
        permissions: Some(body.permissions),
        ..update::UpdateRole::default()
    };
    let id = update::execute(&api.platform, &auth.caller, &id, command, version.0).await?;
    let role = stored(&api, &id.to_string()).await?;
    Ok(versioned(role.row_version, Role::from(role)))
}

/// Delete a role that nobody has
#[utoipa::path(tag = "roles", operation_id = "delete_role", params(("role_id" = String, Path, description = "Id or key")), responses((status = 204)))]
#[delete("/admin/roles/{role_id}")]
async fn delete_role(api: web::Data<Api>, auth: Authorized<Write>, id: web::Path<String>) -> Answer {
    delete::execute(&api.platform, &auth.caller, &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn stored(api: &Api, id: &str) -> Result<RoleDetails, UseCaseError> {
    let role = api.platform.read.get_role(id).await?;
    role.ok_or(UseCaseError::Broken("a written role is not there"))
}
