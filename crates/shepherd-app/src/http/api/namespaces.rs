//! The namespace registry.

use actix_web::{HttpResponse, delete, get, post, put, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::ids::NamespaceId;
use shepherd_ports::namespaces::{NamespacePatch, NamespaceRecord};
use shepherd_usecases::UseCaseError;
use shepherd_usecases::namespace::{self, create, update};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::BASE;
use super::clusters::EnvironmentName;
use super::systems::ConfirmationQuery;
use crate::http::Api;
use crate::http::extract::{Authorized, IfMatch, Json, Query, page, path_id, present, query_value, requirements};
use crate::http::respond::{Answer, Pagination, WarningBody, created, versioned, warnings};

requirements! {
    /// `cluster:read`
    Read = [ClusterRead],
    /// `cluster:write`
    Write = [ClusterWrite],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(post_namespace)
        .service(get_namespace)
        .service(put_namespace)
        .service(delete_namespace);
}

/// A registered namespace.
#[derive(Serialize, ToSchema)]
struct NamespaceRegistry {
    id: Uuid,
    name: String,
    #[schema(value_type = String)]
    environment: Environment,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Whether new requests are taken.
    enabled: bool,
    vm_count: i64,
    created_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<WarningBody>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<NamespaceRecord> for NamespaceRegistry {
    fn from(record: NamespaceRecord) -> Self {
        Self {
            id: record.id.into(),
            name: record.name,
            environment: record.environment,
            description: record.description,
            enabled: record.enabled,
            vm_count: record.vm_count,
            created_by: record.created_by.to_string(),
            warnings: None,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// A page of namespaces.
#[derive(Serialize, ToSchema)]
struct NamespaceRegistryList {
    items: Vec<NamespaceRegistry>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    environment: Option<String>,
}

/// List namespaces
#[utoipa::path(tag = "namespaces", operation_id = "list_namespaces", params(ListQuery), responses((status = 200, body = NamespaceRegistryList)))]
#[get("/admin/namespaces")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let visible = auth.caller.subject.environments(Permission::ClusterRead, None);
    let environment = query_value("environment", query.environment.as_deref())?;
    let found = api
        .platform
        .read
        .list_namespaces(visible, environment, page(query.page, query.per_page)?)
        .await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(NamespaceRegistry::from).collect();
    Ok(HttpResponse::Ok().json(NamespaceRegistryList { items, pagination }))
}

/// A namespace to be registered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "dev", "environment": "test"}))]
struct CreateNamespaceRequest {
    /// 1 to 15 of `a-z`, `0-9` and single hyphens; unique and immutable.
    name: String,
    /// Set explicitly, never inferred.
    #[schema(value_type = EnvironmentName)]
    environment: Environment,
    #[schema(max_length = 512)]
    description: Option<String>,
}

/// Register a namespace
#[utoipa::path(tag = "namespaces", operation_id = "create_namespace", request_body = CreateNamespaceRequest, responses((status = 201, body = NamespaceRegistry)))]
#[post("/admin/namespaces")]
async fn post_namespace(api: web::Data<Api>, auth: Authorized<Write, Json<CreateNamespaceRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let Json(body) = auth.body;
    let command = create::CreateNamespace {
        name: body.name,
        environment: body.environment,
        description: body.description,
    };
    let answer = create::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let (id, found) = answer.outcome;
    let record = api
        .platform
        .read
        .get_namespace(id)
        .await?
        .ok_or(UseCaseError::Broken("a new namespace is not there"))?;
    let version = record.row_version;
    let body = NamespaceRegistry {
        warnings: warnings(found),
        ..record.into()
    };
    Ok(created(
        format!("{BASE}/admin/namespaces/{id}"),
        version,
        answer.replayed,
        body,
    ))
}

/// Get a namespace
#[utoipa::path(tag = "namespaces", operation_id = "get_namespace", params(("namespace_id" = Uuid, Path)), responses((status = 200, body = NamespaceRegistry)))]
#[get("/admin/namespaces/{namespace_id}")]
async fn get_namespace(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let id: NamespaceId = path_id("namespace_id", &id)?;
    let record = namespace::visible(&api.platform, &auth.caller, Permission::ClusterRead, id).await?;
    Ok(versioned(record.row_version, NamespaceRegistry::from(record)))
}

/// What changes; absent leaves a value, null clears it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateNamespaceRequest {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 512)]
    description: Option<Option<String>>,
    enabled: Option<bool>,
}

/// Change a namespace
#[utoipa::path(tag = "namespaces", operation_id = "update_namespace", params(("namespace_id" = Uuid, Path)), request_body = UpdateNamespaceRequest, responses((status = 200, body = NamespaceRegistry)))]
#[put("/admin/namespaces/{namespace_id}")]
async fn put_namespace(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<UpdateNamespaceRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let id: NamespaceId = path_id("namespace_id", &id)?;
    let Json(body) = auth.body;
    let patch = NamespacePatch {
        description: body.description,
        enabled: body.enabled,
    };
    update::execute(&api.platform, &auth.caller, id, patch, version.0).await?;
    let record = api
        .platform
        .read
        .get_namespace(id)
        .await?
        .ok_or(UseCaseError::Broken("a changed namespace is not there"))?;
    Ok(versioned(record.row_version, NamespaceRegistry::from(record)))
}

/// Delete an unused namespace entry
///
/// The Kubernetes namespace is left alone.
#[utoipa::path(tag = "namespaces", operation_id = "delete_namespace", params(("namespace_id" = Uuid, Path), ConfirmationQuery), responses((status = 204)))]
#[delete("/admin/namespaces/{namespace_id}")]
async fn delete_namespace(
    api: web::Data<Api>,
    auth: Authorized<Write>,
    id: web::Path<String>,
    query: Query<ConfirmationQuery>,
) -> Answer {
    let id: NamespaceId = path_id("namespace_id", &id)?;
    namespace::delete::execute(&api.platform, &auth.caller, id, &query.read()?.into()).await?;
    Ok(HttpResponse::NoContent().finish())
}
