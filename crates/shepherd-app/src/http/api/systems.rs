//! Systems.

use actix_web::{HttpResponse, delete, get, patch, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::access::{Permission, ResourceAction, ResourceRole};
use shepherd_domain::ids::SystemId;
use shepherd_ports::context::Caller;
use shepherd_ports::systems::{NameOrCreated, SystemRecord, TextsPatch};
use shepherd_usecases::UseCaseError;
use shepherd_usecases::confirmation::Confirmation;
use shepherd_usecases::system::{self, create, members, update};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::BASE;
use crate::http::Api;
use crate::http::extract::{Authorized, IfMatch, Json, Query, page, path_id, present, requirements};
use crate::http::respond::{Answer, Pagination, WarningBody, created, versioned, warnings};

requirements! {
    /// `system:read`
    Read = [SystemRead],
    /// `system:write`
    Write = [SystemWrite],
    /// `system:delete`
    Delete = [SystemDelete],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(post_system)
        .service(get_system)
        .service(patch_system)
        .service(delete_system);
}

/// A System: what belongs together in an organisation.
#[derive(Serialize, ToSchema)]
struct System {
    id: Uuid,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    documentation: Option<String>,
    created_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by_name: Option<String>,
    tenant_id: String,
    /// `owner`, `admin`, `member` or `viewer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    my_role: Option<ResourceRole>,
    service_count: i64,
    /// What somebody should look at; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<WarningBody>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl System {
    fn of(record: SystemRecord, caller: &Caller) -> Self {
        Self {
            my_role: caller.subject.role_on(record.id),
            id: record.id.into(),
            name: record.name,
            description: record.description,
            documentation: record.documentation,
            created_by: record.created_by.to_string(),
            created_by_name: record.created_by_name,
            tenant_id: record.tenant_id,
            service_count: record.service_count,
            warnings: None,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// A page of Systems.
#[derive(Serialize, ToSchema)]
struct SystemList {
    items: Vec<System>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// `name` or `created_at`.
    sort_by: Option<String>,
    /// `asc` or `desc`.
    sort_order: Option<String>,
    /// Looks into name and description.
    q: Option<String>,
}

/// List visible Systems
#[utoipa::path(tag = "systems", operation_id = "list_systems", params(ListQuery), responses((status = 200, body = SystemList)))]
#[get("/systems")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let sort = match query.sort_by.as_deref() {
        Some("created_at") => NameOrCreated::CreatedAt,
        Some("name") | None => NameOrCreated::Name,
        Some(_) => return Err(super::unknown_sort().into()),
    };
    let descending = super::descending(query.sort_order.as_deref(), false)?;
    let visibility = auth.caller.subject.visibility(Permission::SystemRead);
    let request = page(query.page, query.per_page)?;
    let found = api
        .platform
        .read
        .list_systems(&visibility, query.q.as_deref(), sort, descending, request)
        .await?;
    let pagination = Pagination::of(&found);
    let items = found
        .items
        .into_iter()
        .map(|record| System::of(record, &auth.caller))
        .collect();
    Ok(HttpResponse::Ok().json(SystemList { items, pagination }))
}

/// A new System.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "shop", "description": "The web shop"}))]
struct CreateSystemRequest {
    /// 1 to 15 of `a-z`, `0-9` and single hyphens; unique and immutable.
    name: String,
    #[schema(max_length = 512)]
    description: Option<String>,
    /// Markdown.
    #[schema(max_length = 65536)]
    documentation: Option<String>,
}

/// Create a System
///
/// The creator owns it.
#[utoipa::path(tag = "systems", operation_id = "create_system", request_body = CreateSystemRequest, responses((status = 201, body = System)))]
#[post("/systems")]
async fn post_system(api: web::Data<Api>, auth: Authorized<Write, Json<CreateSystemRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let Json(body) = auth.body;
    let command = create::CreateSystem {
        name: body.name,
        description: body.description,
        documentation: body.documentation,
    };
    let answer = create::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let record = api
        .platform
        .read
        .get_system(answer.outcome.id)
        .await?
        .ok_or(UseCaseError::Broken("a new system is not there"))?;
    let version = record.row_version;
    let mut system = System::of(record, &auth.caller);
    // The rights of this request were resolved before the System existed.
    system.my_role = Some(ResourceRole::Owner);
    system.warnings = warnings(answer.outcome.warnings);
    Ok(created(
        format!("{BASE}/systems/{}", system.id),
        version,
        answer.replayed,
        system,
    ))
}

/// Get a System
#[utoipa::path(tag = "systems", operation_id = "get_system", params(("system_id" = Uuid, Path)), responses((status = 200, body = System)))]
#[get("/systems/{system_id}")]
async fn get_system(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let id: SystemId = path_id("system_id", &id)?;
    let record = system::visible(
        &api.platform,
        &auth.caller,
        Permission::SystemRead,
        ResourceAction::View,
        id,
    )
    .await?;
    shown(&api, &auth.caller, record).await
}

/// A System by itself, which tells what is wrong with it.
async fn shown(api: &Api, caller: &Caller, record: SystemRecord) -> Answer {
    let version = record.row_version;
    let found = members::findings(&api.platform, record.id).await?;
    let system = System {
        warnings: warnings(found),
        ..System::of(record, caller)
    };
    Ok(versioned(version, system))
}

/// New texts; absent leaves a text, null clears it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TextsRequest {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 512)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 65536)]
    documentation: Option<Option<String>>,
}

impl From<TextsRequest> for TextsPatch {
    fn from(body: TextsRequest) -> Self {
        Self {
            description: body.description,
            documentation: body.documentation,
        }
    }
}

/// Change the texts of a System
#[utoipa::path(tag = "systems", operation_id = "update_system", params(("system_id" = Uuid, Path)), request_body = TextsRequest, responses((status = 200, body = System)))]
#[patch("/systems/{system_id}")]
async fn patch_system(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<TextsRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let id: SystemId = path_id("system_id", &id)?;
    let Json(body) = auth.body;
    update::execute(&api.platform, &auth.caller, id, body.into(), version.0).await?;
    let record = api
        .platform
        .read
        .get_system(id)
        .await?
        .ok_or(UseCaseError::Broken("a changed system is not there"))?;
    shown(&api, &auth.caller, record).await
}

/// How a destructive operation is confirmed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ConfirmationQuery {
    /// `true` where no name is asked for.
    pub(super) confirm: Option<bool>,
    /// The exact name.
    pub(super) confirm_name: Option<String>,
}

impl From<ConfirmationQuery> for Confirmation {
    fn from(query: ConfirmationQuery) -> Self {
        Self {
            confirm: query.confirm.unwrap_or(false),
            confirm_name: query.confirm_name,
        }
    }
}

/// Delete an empty System
#[utoipa::path(tag = "systems", operation_id = "delete_system", params(("system_id" = Uuid, Path), ConfirmationQuery), responses((status = 204)))]
#[delete("/systems/{system_id}")]
async fn delete_system(
    api: web::Data<Api>,
    auth: Authorized<Delete>,
    id: web::Path<String>,
    query: Query<ConfirmationQuery>,
) -> Answer {
    let id: SystemId = path_id("system_id", &id)?;
    system::delete::execute(&api.platform, &auth.caller, id, &query.read()?.into()).await?;
    Ok(HttpResponse::NoContent().finish())
}
