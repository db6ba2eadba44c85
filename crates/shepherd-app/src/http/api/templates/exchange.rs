//! Templates as documents: export and import.

use actix_web::{HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shepherd_domain::ids::TemplateId;
use shepherd_domain::problem::{ErrorCode, FieldError, Problem};
use shepherd_usecases::UseCaseError;
use shepherd_usecases::template::import::{Failure, ImportMode, Imported};
use shepherd_usecases::template::{export, import};
use strum::EnumString;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Read, Write};
use crate::http::Api;
use crate::http::extract::{Authorized, LargeJson, Query, holds_nul, path_id, query_value};
use crate::http::respond::{Answer, WarningBody, warnings};

const YAML: &str = "application/yaml";

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(get_export).service(post_import);
}

#[derive(Clone, Copy, EnumString)]
#[strum(serialize_all = "lowercase")]
enum Format {
    Yaml,
    Json,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// `yaml` or `json`; `yaml` when absent.
    format: Option<String>,
}

/// A template version without ids, as it can be imported elsewhere.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the use case makes")]
struct TemplateDocument {
    /// `shepherd/v1`.
    #[schema(rename = "apiVersion")]
    api_version: String,
    /// `Template`.
    kind: String,
    name: String,
    version: Option<i32>,
    display_name: Option<String>,
    description: Option<String>,
    category: Option<String>,
    os_family: Option<String>,
    os_version: Option<String>,
    /// Whether the version is offered for new machines.
    enabled: Option<bool>,
    #[schema(value_type = Option<Vec<Object>>)]
    quick_fields: Option<Value>,
    #[schema(value_type = Option<Vec<Object>>)]
    advanced_fields: Option<Value>,
    #[schema(value_type = Object)]
    spec: Value,
    /// SHA-256 over the canonical form of the spec.
    content_sha256: Option<String>,
}

/// Export a template version
///
/// The document holds the spec with its cloud-init data, and no ids.
#[utoipa::path(
    tag = "catalogue",
    operation_id = "export_template",
    params(("template_id" = Uuid, Path), ExportQuery),
    responses((status = 200, description = "The document", content(
        (TemplateDocument = "application/yaml"),
        (TemplateDocument = "application/json")
    )))
)]
#[get("/admin/templates/{template_id}/export")]
async fn get_export(
    api: web::Data<Api>,
    auth: Authorized<Read>,
    id: web::Path<String>,
    query: Query<ExportQuery>,
) -> Answer {
    let id: TemplateId = path_id("template_id", &id)?;
    let format = query_value("format", query.read()?.format.as_deref())?.unwrap_or(Format::Yaml);
    let document = export::execute(&api.platform, &auth.caller, id).await?;
    match format {
        Format::Json => Ok(HttpResponse::Ok().json(document)),
        Format::Yaml => {
            let text = serde_saphyr::to_string(&document)
                .map_err(|_| UseCaseError::Broken("a template cannot be written as YAML"))?;
            Ok(HttpResponse::Ok().content_type(YAML).body(text))
        }
    }
}

/// Templates to be imported.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"mode": "skip", "documents": [{"apiVersion": "shepherd/v1", "kind": "Template", "name": "debian-13", "spec": {"image_source": {"container_disk": {"image": "quay.io/containerdisks/debian:13"}}}}]}))]
struct ImportTemplatesRequest {
    /// What an export answers, each as an object or as a string of YAML.
    #[schema(min_items = 1, max_items = 100)]
    documents: Vec<Value>,
    /// What happens to a name that exists; `skip` when absent.
    mode: Option<ImportModeName>,
}

/// What happens to a name that exists: `skip` leaves it alone, `new_version` adds a version when the content is not that
/// of its newest one.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[schema(as = TemplateImportMode)]
#[serde(rename_all = "snake_case")]
enum ImportModeName {
    Skip,
    NewVersion,
}

impl From<ImportModeName> for ImportMode {
    fn from(name: ImportModeName) -> Self {
        match name {
            ImportModeName::Skip => Self::Skip,
            ImportModeName::NewVersion => Self::NewVersion,
        }
    }
}

/// Why a document was not imported.
#[derive(Serialize, ToSchema)]
struct TemplateImportError {
    /// Which one, from 0.
    index: usize,
    /// Stable code.
    code: String,
    /// Parameters of the code.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Option<Object>)]
    params: Map<String, Value>,
    /// What is wrong with its fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    field_errors: Vec<FieldError>,
}

impl From<Failure> for TemplateImportError {
    fn from(failure: Failure) -> Self {
        Self {
            index: failure.index,
            code: failure.problem.code.to_string(),
            params: failure.problem.params,
            field_errors: failure.problem.field_errors,
        }
    }
}

/// What became of the documents.
#[derive(Serialize, ToSchema)]
struct TemplateImport {
    /// Versions that were added.
    created: u32,
    /// Documents that were left alone.
    skipped: u32,
    /// Documents that were refused; the others were not stopped by them.
    errors: Vec<TemplateImportError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<WarningBody>>,
}

impl From<Imported> for TemplateImport {
    fn from(done: Imported) -> Self {
        Self {
            created: done.created,
            skipped: done.skipped,
            errors: done.errors.into_iter().map(TemplateImportError::from).collect(),
            warnings: warnings(done.warnings),
        }
    }
}

/// Import templates
///
/// Each document is validated and stored by itself. A version is published when its document says `enabled: true`, else
/// it is a draft. Its number is kept when it is above the newest one. `content_sha256`, when given, must be that of the
/// spec.
#[utoipa::path(tag = "catalogue", operation_id = "import_templates", request_body = ImportTemplatesRequest, responses((status = 200, body = TemplateImport)))]
#[post("/admin/templates/import")]
async fn post_import(api: web::Data<Api>, auth: Authorized<Write, LargeJson<ImportTemplatesRequest>>) -> Answer {
    let LargeJson(body) = auth.body;
    let documents = body.documents.into_iter().map(read).collect();
    let mode = body.mode.map_or_else(ImportMode::default, ImportMode::from);
    let done = import::execute(&api.platform, &auth.caller, documents, mode).await?;
    Ok(HttpResponse::Ok().json(TemplateImport::from(done)))
}

/// A document that may be the text of one. Two equal keys in one mapping are an error, and so is a text that unfolds
/// beyond the parser's budget.
fn read(document: Value) -> Result<Value, Problem> {
    let Value::String(text) = document else {
        return Ok(document);
    };
    let malformed = || Problem::new(ErrorCode::InvalidRequest).with("reason", "malformed YAML");
    // The parser's own words may quote the document.
    let options = serde_saphyr::options! { with_snippet: false };
    let value = serde_saphyr::from_str_with_options(&text, options).map_err(|_| malformed())?;
    // YAML has an escape for it that the check of the JSON around it does not see.
    if holds_nul(&value) { Err(malformed()) } else { Ok(value) }
}
