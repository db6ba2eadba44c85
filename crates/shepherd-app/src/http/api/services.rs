//! Services of a System.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::{ServiceId, SystemId};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::services::ServiceRecord;
use shepherd_usecases::UseCaseError;
use shepherd_usecases::service::{self, create, update};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::BASE;
use super::systems::{ConfirmationQuery, TextsRequest};
use crate::http::Api;
use crate::http::extract::{Authorized, IfMatch, Json, Query, page, path_id, requirements};
use crate::http::respond::{Answer, Pagination, WarningBody, created, versioned, warnings};

requirements! {
    /// `service:read`
    Read = [ServiceRead],
    /// `service:create`
    Write = [ServiceCreate],
    /// `service:delete`
    Delete = [ServiceDelete],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(post_service)
        .service(get_service)
        .service(patch_service)
        .service(delete_service);
}

/// A Service: what the machines of a System are for.
#[derive(Serialize, ToSchema)]
struct Service {
    id: Uuid,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    documentation: Option<String>,
    system_id: Uuid,
    /// Number of the next machine; it only grows.
    next_instance_index: i32,
    created_by: String,
    vm_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<WarningBody>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<ServiceRecord> for Service {
    fn from(record: ServiceRecord) -> Self {
        Self {
            id: record.id.into(),
            name: record.name,
            description: record.description,
            documentation: record.documentation,
            system_id: record.system_id.into(),
            next_instance_index: record.next_instance_index,
            created_by: record.created_by.to_string(),
            vm_count: record.vm_count,
            warnings: None,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// A page of Services.
#[derive(Serialize, ToSchema)]
struct ServiceList {
    items: Vec<Service>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// Looks into name and description.
    q: Option<String>,
}

/// List the Services of a System
#[utoipa::path(tag = "services", operation_id = "list_services", params(("system_id" = Uuid, Path), ListQuery), responses((status = 200, body = ServiceList)))]
#[get("/systems/{system_id}/services")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>, query: Query<ListQuery>) -> Answer {
    let system: SystemId = path_id("system_id", &id)?;
    service::in_system(&auth.caller, Permission::ServiceRead, ResourceAction::View, system)?;
    // Administrators of the platform are owners of every id, also of those that nothing has.
    if api.platform.read.get_system(system).await?.is_none() {
        return Err(Problem::not_found(ErrorCode::SystemNotFound, system).into());
    }
    let query = query.read()?;
    let found = api
        .platform
        .read
        .list_services(system, query.q.as_deref(), page(query.page, query.per_page)?)
        .await?;
    let pagination = Pagination::of(&found);
    Ok(HttpResponse::Ok().json(ServiceList {
        items: found.items.into_iter().map(Service::from).collect(),
        pagination,
    }))
}

/// A new Service.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "redis"}))]
struct CreateServiceRequest {
    /// 1 to 15 of `a-z`, `0-9` and single hyphens; unique within the System and immutable.
    name: String,
    #[schema(max_length = 512)]
    description: Option<String>,
    /// Markdown.
    #[schema(max_length = 65536)]
    documentation: Option<String>,
}

/// Create a Service
#[utoipa::path(tag = "services", operation_id = "create_service", params(("system_id" = Uuid, Path)), request_body = CreateServiceRequest, responses((status = 201, body = Service)))]
#[post("/systems/{system_id}/services")]
async fn post_service(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<CreateServiceRequest>>,
    id: web::Path<String>,
) -> Answer {
    let request = auth.idempotent(&api);
    let system: SystemId = path_id("system_id", &id)?;
    let Json(body) = auth.body;
    let command = create::CreateService {
        system,
        name: body.name,
        description: body.description,
        documentation: body.documentation,
    };
    let answer = create::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let record = api
        .platform
        .read
        .get_service(system, answer.outcome.id)
        .await?
        .ok_or(UseCaseError::Broken("a new service is not there"))?;
    let version = record.row_version;
    let service = Service {
        warnings: warnings(answer.outcome.warnings),
        ..record.into()
    };
    Ok(created(
        format!("{BASE}/systems/{system}/services/{}", service.id),
        version,
        answer.replayed,
        service,
    ))
}

/// Get a Service
#[utoipa::path(tag = "services", operation_id = "get_service", params(("system_id" = Uuid, Path), ("service_id" = Uuid, Path)), responses((status = 200, body = Service)))]
#[get("/systems/{system_id}/services/{service_id}")]
async fn get_service(api: web::Data<Api>, auth: Authorized<Read>, path: web::Path<(String, String)>) -> Answer {
    let (system, id) = ids(&path)?;
    let record = service::visible(
        &api.platform,
        &auth.caller,
        Permission::ServiceRead,
        ResourceAction::View,
        system,
        id,
    )
    .await?;
    Ok(versioned(record.row_version, Service::from(record)))
}

/// Change the texts of a Service
#[utoipa::path(tag = "services", operation_id = "update_service", params(("system_id" = Uuid, Path), ("service_id" = Uuid, Path)), request_body = TextsRequest, responses((status = 200, body = Service)))]
#[patch("/systems/{system_id}/services/{service_id}")]
async fn patch_service(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<TextsRequest>>,
    path: web::Path<(String, String)>,
    version: IfMatch,
) -> Answer {
    let (system, id) = ids(&path)?;
    let Json(body) = auth.body;
    update::execute(&api.platform, &auth.caller, system, id, body.into(), version.0).await?;
    let record = api
        .platform
        .read
        .get_service(system, id)
        .await?
        .ok_or(UseCaseError::Broken("a changed service is not there"))?;
    Ok(versioned(record.row_version, Service::from(record)))
}

/// Delete an unused Service
#[utoipa::path(tag = "services", operation_id = "delete_service", params(("system_id" = Uuid, Path), ("service_id" = Uuid, Path), ConfirmationQuery), responses((status = 204)))]
#[delete("/systems/{system_id}/services/{service_id}")]
async fn delete_service(
    api: web::Data<Api>,
    auth: Authorized<Delete>,
    path: web::Path<(String, String)>,
    query: Query<ConfirmationQuery>,
) -> Answer {
    let (system, id) = ids(&path)?;
    service::delete::execute(&api.platform, &auth.caller, system, id, &query.read()?.into()).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn ids(path: &(String, String)) -> Result<(SystemId, ServiceId), shepherd_domain::Problem> {
    Ok((path_id("system_id", &path.0)?, path_id("service_id", &path.1)?))
}
