//! Changes of templates, and their lifecycle.

use actix_web::{HttpResponse, delete, patch, post, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shepherd_domain::ids::{ClusterId, TemplateId};
use shepherd_domain::problem::Problem;
use shepherd_usecases::template::validation::{Step, Verdict};
use shepherd_usecases::template::{
    Stored, archive, delete as remove, deprecate, new_version, publish, update, validate,
};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Template, Write, answer_created, answer_stored};
use crate::http::Api;
use crate::http::extract::{Authorized, IfMatch, Json, OptionalJson, path_id, present};
use crate::http::respond::{Answer, WarningBody, warnings};

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(patch_template)
        .service(delete_template)
        .service(validate_template)
        .service(publish_template)
        .service(deprecate_template)
        .service(archive_template)
        .service(post_new_version);
}

/// What changes; absent leaves a value, null clears a text.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"display_name": "Debian 13", "enabled": true}))]
struct UpdateTemplateRequest {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 255)]
    display_name: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 2048)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 64)]
    category: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 64)]
    os_family: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 64)]
    os_version: Option<Option<String>>,
    /// Takes the place of the whole spec.
    #[schema(value_type = Option<Object>)]
    spec: Option<Value>,
    /// Takes the place of the whole list.
    #[schema(value_type = Option<Vec<Object>>, max_items = 64)]
    quick_fields: Option<Value>,
    /// Takes the place of the whole list.
    #[schema(value_type = Option<Vec<Object>>, max_items = 64)]
    advanced_fields: Option<Value>,
    /// `true` publishes a draft, or a copy of a deprecated version as the next one; `false` deprecates the active version.
    enabled: Option<bool>,
}

/// Change a template
///
/// Texts are changed in place. Another spec or other lists of fields of an active or deprecated version become the next
/// version, which is published (with `enabled: false` it is a draft, and an active version is deprecated); the answer is
/// the version to look at. An archived version does not change.
#[utoipa::path(tag = "catalogue", operation_id = "update_template", params(("template_id" = Uuid, Path)), request_body = UpdateTemplateRequest, responses((status = 200, body = Template)))]
#[patch("/admin/templates/{template_id}")]
async fn patch_template(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<UpdateTemplateRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let id: TemplateId = path_id("template_id", &id)?;
    let Json(body) = auth.body;
    let patch = update::UpdateTemplate {
        display_name: body.display_name,
        description: body.description,
        category: body.category,
        os_family: body.os_family,
        os_version: body.os_version,
        spec: body.spec,
        quick_fields: body.quick_fields,
        advanced_fields: body.advanced_fields,
        enabled: body.enabled,
    };
    let stored = update::execute(&api.platform, &auth.caller, id, patch, version.0).await?;
    answer_stored(&api, stored).await
}

/// Delete a draft, or archive any other version
#[utoipa::path(tag = "catalogue", operation_id = "delete_template", params(("template_id" = Uuid, Path)), responses((status = 204)))]
#[delete("/admin/templates/{template_id}")]
async fn delete_template(api: web::Data<Api>, auth: Authorized<Write>, id: web::Path<String>) -> Answer {
    let id: TemplateId = path_id("template_id", &id)?;
    remove::execute(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// How a template is validated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ValidateTemplateRequest {
    /// Where the dry run takes place; absent leaves the choice to the platform.
    #[schema(value_type = Option<Uuid>)]
    cluster_id: Option<ClusterId>,
}

/// What one step of a validation found.
#[derive(Serialize, ToSchema)]
struct TemplateValidationStep {
    /// `syntax`, `mock_render` or `dry_run`.
    name: &'static str,
    ok: bool,
    errors: Vec<TemplateValidationError>,
}

/// Why a step failed.
#[derive(Serialize, ToSchema)]
struct TemplateValidationError {
    /// Stable code.
    code: String,
    /// Parameters of the code.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Option<Object>)]
    params: Map<String, Value>,
}

impl From<Problem> for TemplateValidationError {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.code.to_string(),
            params: problem.params,
        }
    }
}

impl From<Step> for TemplateValidationStep {
    fn from(step: Step) -> Self {
        Self {
            name: step.name,
            ok: step.ok,
            errors: step.errors.into_iter().map(TemplateValidationError::from).collect(),
        }
    }
}

/// What a validation found.
#[derive(Serialize, ToSchema)]
struct TemplateValidation {
    /// Whether no step failed.
    valid: bool,
    /// The steps that were taken; none follows one that failed, and without a cluster there is no dry run.
    steps: Vec<TemplateValidationStep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<WarningBody>>,
}

impl From<Verdict> for TemplateValidation {
    fn from(verdict: Verdict) -> Self {
        Self {
            valid: verdict.is_valid(),
            steps: verdict.steps.into_iter().map(TemplateValidationStep::from).collect(),
            warnings: warnings(verdict.warnings),
        }
    }
}

/// Validate a stored template version
///
/// Nothing changes.
#[utoipa::path(tag = "catalogue", operation_id = "validate_template", params(("template_id" = Uuid, Path)), request_body = ValidateTemplateRequest, responses((status = 200, body = TemplateValidation)))]
#[post("/admin/templates/{template_id}/validate")]
async fn validate_template(
    api: web::Data<Api>,
    auth: Authorized<Write, OptionalJson<ValidateTemplateRequest>>,
    id: web::Path<String>,
) -> Answer {
    let id: TemplateId = path_id("template_id", &id)?;
    let OptionalJson(body) = auth.body;
    let verdict = validate::execute(&api.platform, &auth.caller, id, body.cluster_id).await?;
    Ok(HttpResponse::Ok().json(TemplateValidation::from(verdict)))
}

/// Publish a draft
///
/// It is validated first. The active version of its name is deprecated.
#[utoipa::path(tag = "catalogue", operation_id = "publish_template", params(("template_id" = Uuid, Path)), responses((status = 200, body = Template)))]
#[post("/admin/templates/{template_id}/publish")]
async fn publish_template(api: web::Data<Api>, auth: Authorized<Write>, id: web::Path<String>) -> Answer {
    let id: TemplateId = path_id("template_id", &id)?;
    let stored = publish::execute(&api.platform, &auth.caller, id).await?;
    answer_stored(&api, stored).await
}

/// Offer an active version no longer
#[utoipa::path(tag = "catalogue", operation_id = "deprecate_template", params(("template_id" = Uuid, Path)), responses((status = 200, body = Template)))]
#[post("/admin/templates/{template_id}/deprecate")]
async fn deprecate_template(api: web::Data<Api>, auth: Authorized<Write>, id: web::Path<String>) -> Answer {
    let id: TemplateId = path_id("template_id", &id)?;
    deprecate::execute(&api.platform, &auth.caller, id).await?;
    answer_stored(&api, without_warnings(id)).await
}

/// Archive a version that no open ticket refers to
///
/// It is hidden everywhere except by its id.
#[utoipa::path(tag = "catalogue", operation_id = "archive_template", params(("template_id" = Uuid, Path)), responses((status = 200, body = Template)))]
#[post("/admin/templates/{template_id}/archive")]
async fn archive_template(api: web::Data<Api>, auth: Authorized<Write>, id: web::Path<String>) -> Answer {
    let id: TemplateId = path_id("template_id", &id)?;
    archive::execute(&api.platform, &auth.caller, id).await?;
    answer_stored(&api, without_warnings(id)).await
}

/// Begin the next version as a draft
///
/// A copy of this version with the next number.
#[utoipa::path(tag = "catalogue", operation_id = "create_template_version", params(("template_id" = Uuid, Path)), responses((status = 201, body = Template)))]
#[post("/admin/templates/{template_id}/new-version")]
async fn post_new_version(api: web::Data<Api>, auth: Authorized<Write>, id: web::Path<String>) -> Answer {
    let id: TemplateId = path_id("template_id", &id)?;
    let request = auth.idempotent(&api);
    let answer = new_version::execute(&api.platform, &auth.caller, id, request.as_ref()).await?;
    answer_created(&api, without_warnings(answer.outcome), answer.replayed).await
}

fn without_warnings(id: TemplateId) -> Stored {
    Stored {
        id,
        warnings: Vec::new(),
    }
}
