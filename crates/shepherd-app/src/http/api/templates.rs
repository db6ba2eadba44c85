//! Templates.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::catalog::{TemplateSpec, TemplateStatus};
use shepherd_ports::catalog::{TemplateFilter, TemplateRecord};
use shepherd_usecases::UseCaseError;
use shepherd_usecases::catalog::create_template;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::BASE;
use crate::http::Api;
use crate::http::extract::{Authorized, Json, Query, page, query_value, requirements};
use crate::http::respond::{Answer, Pagination, created};

requirements! {
    /// `vm:create` or `template:read`
    Offered = [VmCreate, TemplateRead],
    /// `template:read`
    Read = [TemplateRead],
    /// `template:write`
    Write = [TemplateWrite],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(offered).service(list).service(post_template);
}

/// What boots and how the guest is initialised.
#[derive(Serialize, ToSchema)]
struct Template {
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
    /// For administrators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    spec: Option<TemplateSpec>,
    created_at: DateTime<Utc>,
}

impl Template {
    fn offered(record: TemplateRecord) -> Self {
        Self {
            spec: None,
            ..Self::whole(record)
        }
    }

    fn whole(record: TemplateRecord) -> Self {
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
            spec: Some(record.spec),
            created_at: record.created_at,
        }
    }
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
async fn offered(api: web::Data<Api>, auth: Authorized<Offered>, query: Query<OfferedQuery>) -> Answer {
    let _ = auth;
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
    status: Option<String>,
}

/// List template versions
#[utoipa::path(tag = "catalogue", operation_id = "list_template_versions", params(ListQuery), responses((status = 200, body = TemplateList)))]
#[get("/admin/templates")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, query: Query<ListQuery>) -> Answer {
    let _ = auth;
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
    /// Absent takes the current maximum plus one.
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
    /// Publish at once; `true` when absent.
    enabled: Option<bool>,
}

/// Create a template version
#[utoipa::path(tag = "catalogue", operation_id = "create_template", request_body = CreateTemplateRequest, responses((status = 201, body = Template)))]
#[post("/admin/templates")]
async fn post_template(api: web::Data<Api>, auth: Authorized<Write, Json<CreateTemplateRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let Json(body) = auth.body;
    let command = create_template::CreateTemplate {
        name: body.name,
        version: body.version,
        display_name: body.display_name,
        description: body.description,
        category: body.category,
        os_family: body.os_family,
        os_version: body.os_version,
        spec: body.spec,
        enabled: body.enabled.unwrap_or(true),
    };
    let answer = create_template::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let record = api
        .platform
        .read
        .get_template(answer.outcome)
        .await?
        .ok_or(UseCaseError::Broken("a new template is not there"))?;
    Ok(created(
        format!("{BASE}/admin/templates/{}", record.id),
        record.row_version,
        answer.replayed,
        Template::whole(record),
    ))
}
