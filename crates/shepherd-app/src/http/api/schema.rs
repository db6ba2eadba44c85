//! What virtual machines are made of: the schema of a KubeVirt version, and the mask of forms.

use actix_web::http::header::{ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, get, web};
use serde::{Deserialize, Serialize};
use shepherd_domain::mask::{Mask as MaskRules, MaskField as MaskRule};
use shepherd_usecases::schema;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::Api;
use crate::http::extract::{AnySession, Authorized, Query};
use crate::http::respond::Answer;

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(vm_schema).service(mask);
}

/// Which schema.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SchemaQuery {
    /// Version of KubeVirt, with or without the part after the minor one; the newest when absent.
    #[param(example = "1.6.2")]
    kubevirt_version: Option<String>,
}

/// Show the schema of virtual machines
///
/// A JSON Schema of the document that holds `spec`: types, enums and short descriptions. Where the schema of the version
/// is not there, that of the closest lower one stands in, or the product's own.
#[utoipa::path(tag = "catalogue", operation_id = "get_schema", params(SchemaQuery), responses(
    (status = 200, description = "The schema", body = Object, headers(
        ("X-Schema-Version" = String, description = "Minor version of the schema that is served"),
        ("X-Schema-Fallback" = bool, description = "Whether it stands in for another"),
        ("X-Schema-Status" = String, description = "`ready`, `updating` or `degraded`"),
        ("ETag" = String, description = "Changes with the schema"),
    )),
    (status = 304, description = "The caller has it already"),
))]
#[get("/schema")]
async fn vm_schema(
    api: web::Data<Api>,
    _auth: Authorized<AnySession>,
    query: Query<SchemaQuery>,
    request: HttpRequest,
) -> Answer {
    let query = query.read()?;
    let served = schema::serve(&api.platform, query.kubevirt_version.as_deref()).await?;
    let document = served.known.schema.to_json();
    let etag = format!(
        "\"{}\"",
        api.platform.digests.sha256_hex(document.to_string().as_bytes())
    );
    let known = is_known(&request, &etag);
    let mut response = if known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((ETAG, etag))
        .insert_header(("x-schema-version", served.known.schema.minor_version()))
        .insert_header(("x-schema-fallback", served.known.fallback.to_string()))
        .insert_header(("x-schema-status", served.status.as_str()));
    Ok(if known {
        response.finish()
    } else {
        response.json(document)
    })
}

/// Whether the caller has this one.
fn is_known(request: &HttpRequest, etag: &str) -> bool {
    let given = request
        .headers()
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let mut tags = given.into_iter().flat_map(|text| text.split(','));
    tags.any(|tag| tag.trim().trim_start_matches("W/") == etag)
}

/// One field of a form. Its type and options come from the schema.
#[derive(Serialize, ToSchema)]
struct MaskField {
    /// Where it stands in a VirtualMachine.
    #[schema(example = "spec.template.spec.domain.cpu.cores")]
    path: String,
    #[schema(example = "CPU cores")]
    display_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

impl From<&MaskRule> for MaskField {
    fn from(rule: &MaskRule) -> Self {
        Self {
            path: rule.path.clone(),
            display_name: rule.display_name.clone(),
            description: rule.description.clone(),
        }
    }
}

/// Which fields of a virtual machine a form shows.
#[derive(Serialize, ToSchema)]
struct Mask {
    version: u32,
    /// Fields that are always shown.
    quick_fields: Vec<MaskField>,
    /// Fields that are shown when asked for.
    advanced_fields: Vec<MaskField>,
}

impl From<&MaskRules> for Mask {
    fn from(rules: &MaskRules) -> Self {
        let fields = |rules: &[MaskRule]| rules.iter().map(MaskField::from).collect();
        Self {
            version: rules.version,
            quick_fields: fields(&rules.quick_fields),
            advanced_fields: fields(&rules.advanced_fields),
        }
    }
}

/// Show the mask of forms
#[utoipa::path(tag = "catalogue", operation_id = "get_mask", responses((status = 200, body = Mask)))]
#[get("/mask")]
async fn mask(api: web::Data<Api>, _auth: Authorized<AnySession>) -> HttpResponse {
    HttpResponse::Ok().json(Mask::from(&*api.platform.settings().mask))
}
