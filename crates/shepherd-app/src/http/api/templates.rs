//! Templates: the lists and creation here, changes and the lifecycle in `change`, documents in `exchange`.

mod change;
mod exchange;

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::catalog::{FieldRule, TemplateSpec, TemplateStatus};
use shepherd_domain::ids::TemplateId;
use shepherd_domain::problem::Warning;
use shepherd_ports::templates::{TemplateFilter, TemplateRecord};
use shepherd_usecases::UseCaseError;
use shepherd_usecases::template::content::Texts;
use shepherd_usecases::template::{self, Stored, create};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::BASE;
use crate::http::Api;
use crate::http::extract::{Authorized, Json, Query, page, path_id, query_value, requirements};
use crate::http::respond::{Answer, Pagination, WarningBody, created, versioned, warnings};

requirements! {
    /// `vm:create` or `template:read`
    Offered = [VmCreate, TemplateRead],
    /// `template:read`
    Read = [TemplateRead],
    /// `template:write`
    Write = [TemplateWrite],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(offered)
        .service(list)
        .service(post_template)
        .configure(exchange::routes)
        .service(get_template)
        .configure(change::routes);
}

/// What boots and how the guest is initialised.
#[derive(Serialize, ToSchema)]
pub(super) struct Template {
    id: Uuid,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    version: i32,
    /// `draft`, `active`, `deprecated` or `archived`.
    #[schema(value_type = String)]
    status: TemplateStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    os_family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    os_version: Option<String>,
    /// Whether it is offered for new machines.
    enabled: bool,
    /// Fields that everybody sees.
    #[schema(value_type = Vec<Object>)]
    quick_fields: Vec<FieldRule>,
    /// Fields for those who look closer.
    #[schema(value_type = Vec<Object>)]
    advanced_fields: Vec<FieldRule>,
    created_at: DateTime<Utc>,
    /// The rest is for administrators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    spec: Option<TemplateSpec>,
    /// SHA-256 over the canonical form of the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_sha256: Option<String>,
    /// When a cluster last found the content good.
    #[serde(skip_serializing_if = "Option::is_none")]
    validated_at: Option<DateTime<Utc>>,
    /// `api` or `seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<DateTime<Utc>>,
    /// Of a change: PREVIEW_UNAVAILABLE when no cluster could be asked; it is made up for once one can.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<WarningBody>>,
}

impl Template {
    /// What requesters see: cloud-init can hold what they must not.
    pub(super) fn offered(record: TemplateRecord) -> Self {
        Self {
            id: record.id.into(),
            name: record.name,
            display_name: record.display_name,
            description: record.description,
            category: record.category,
            version: record.version,
            status: record.status,
            os_family: record.os_family,
            os_version: record.os_version,
            enabled: record.status == TemplateStatus::Active,
            quick_fields: record.quick_fields,
            advanced_fields: record.advanced_fields,
            created_at: record.created_at,
            spec: None,
            content_sha256: None,
            validated_at: None,
            source: None,
            created_by: None,
            published_by: None,
            published_at: None,
            updated_at: None,
            warnings: None,
        }
    }

    fn whole(record: TemplateRecord) -> Self {
        Self {
            spec: Some(record.spec.clone()),
            content_sha256: Some(record.content_sha256.clone()),
            validated_at: record.validated_at,
            source: Some(record.source.clone()),
            created_by: record.created_by.as_ref().map(ToString::to_string),
            published_by: record.published_by.as_ref().map(ToString::to_string),
            published_at: record.published_at,
            updated_at: Some(record.updated_at),
            ..Self::offered(record)
        }
    }

    fn stored(record: TemplateRecord, found: Vec<Warning>) -> Self {
        Self {
            warnings: warnings(found),
            ..Self::whole(record)
        }
    }
}

/// A version that was just written.
async fn read_back(api: &Api, id: TemplateId) -> Result<TemplateRecord, UseCaseError> {
    let found = api.platform.read.get_template(id).await?;
    found.ok_or(UseCaseError::Broken("a stored template is not there"))
}

async fn answer_stored(api: &Api, stored: Stored) -> Answer {
    let record = read_back(api, stored.id).await?;
    Ok(versioned(record.row_version, Template::stored(record, stored.warnings)))
}

async fn answer_created(api: &Api, stored: Stored, replayed: bool) -> Answer {
    let record = read_back(api, stored.id).await?;
    Ok(created(
        format!("{BASE}/admin/templates/{}", record.id),
        record.row_version,
        replayed,
        Template::stored(record, stored.warnings),
    ))
}

/// A page of templates.
#[derive(Serialize, ToSchema)]
struct TemplateList {
    items: Vec<Template>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OfferedQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    os_family: Option<String>,
}

/// List active templates
#[utoipa::path(tag = "catalogue", operation_id = "list_templates", params(OfferedQuery), responses((status = 200, body = TemplateList)))]
#[get("/templates")]
async fn offered(api: web::Data<Api>, _auth: Authorized<Offered>, query: Query<OfferedQuery>) -> Answer {
    let query = query.read()?;
    let filter = TemplateFilter {
        name: None,
        status: Some(TemplateStatus::Active),
        os_family: query.os_family,
    };
    let found = api
        .platform
        .read
        .list_templates(&filter, page(query.page, query.per_page)?)
        .await?;
    let pagination = Pagination::of(&found);
    Ok(HttpResponse::Ok().json(TemplateList {
        items: found.items.into_iter().map(Template::offered).collect(),
        pagination,
    }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    name: Option<String>,
    /// `draft`, `active`, `deprecated` or `archived`; without it, all but the archived ones.
    status: Option<String>,
}

/// List template versions
#[utoipa::path(tag = "catalogue", operation_id = "list_template_versions", params(ListQuery), responses((status = 200, body = TemplateList)))]
#[get("/admin/templates")]
async fn list(api: web::Data<Api>, _auth: Authorized<Read>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let filter = TemplateFilter {
        name: query.name,
        status: query_value("status", query.status.as_deref())?,
        os_family: None,
    };
    let found = api
        .platform
        .read
        .list_templates(&filter, page(query.page, query.per_page)?)
        .await?;
    let pagination = Pagination::of(&found);
    Ok(HttpResponse::Ok().json(TemplateList {
        items: found.items.into_iter().map(Template::whole).collect(),
        pagination,
    }))
}

/// A new template version.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "debian-13", "os_family": "debian", "spec": {"image_source": {"container_disk": {"image": "quay.io/containerdisks/debian:13"}}}}))]
struct CreateTemplateRequest {
    name: String,
    /// Above the current maximum; absent takes the maximum plus one.
    #[schema(minimum = 1)]
    version: Option<i32>,
    #[schema(max_length = 255)]
    display_name: Option<String>,
    #[schema(max_length = 2048)]
    description: Option<String>,
    #[schema(max_length = 64)]
    category: Option<String>,
    #[schema(max_length = 64)]
    os_family: Option<String>,
    #[schema(max_length = 64)]
    os_version: Option<String>,
    /// Image source, cloud-init, volumes, networks and guest hints; no hardware, no identity, no variables.
    #[schema(value_type = Object)]
    spec: Value,
    /// Visibility of fields: `{path, visible, editable, required, default, min, max, options}`.
    #[schema(value_type = Option<Vec<Object>>, max_items = 64)]
    quick_fields: Option<Value>,
    /// As `quick_fields`, for those who look closer.
    #[schema(value_type = Option<Vec<Object>>, max_items = 64)]
    advanced_fields: Option<Value>,
    /// Publish at once; `true` when absent.
    enabled: Option<bool>,
}

/// Create a template version
///
/// It is validated first: its syntax, a machine rendered from it against the newest schema, and a dry run on a cluster of
/// environment test.
#[utoipa::path(tag = "catalogue", operation_id = "create_template", request_body = CreateTemplateRequest, responses((status = 201, body = Template)))]
#[post("/admin/templates")]
async fn post_template(api: web::Data<Api>, auth: Authorized<Write, Json<CreateTemplateRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let Json(body) = auth.body;
    let command = create::CreateTemplate {
        name: body.name,
        version: body.version,
        texts: Texts {
            display_name: body.display_name,
            description: body.description,
            category: body.category,
            os_family: body.os_family,
            os_version: body.os_version,
        },
        spec: body.spec,
        quick_fields: body.quick_fields,
        advanced_fields: body.advanced_fields,
        enabled: body.enabled.unwrap_or(true),
    };
    let answer = create::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    answer_created(&api, answer.outcome, answer.replayed).await
}

/// Get a template version
#[utoipa::path(tag = "catalogue", operation_id = "get_template", params(("template_id" = Uuid, Path)), responses((status = 200, body = Template)))]
#[get("/admin/templates/{template_id}")]
async fn get_template(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let id: TemplateId = path_id("template_id", &id)?;
    let record = template::get(&api.platform, &auth.caller, id).await?;
    Ok(versioned(record.row_version, Template::whole(record)))
}
