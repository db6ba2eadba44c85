//! The OpenAPI document, and the page that shows it.

use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, get, web};
use serde_json::{Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContactBuilder, InfoBuilder, LicenseBuilder, OpenApi};
use utoipa_actix_web::AppExt;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{Api, api};

/// Operations without a session; what is not open to everybody among them has credentials of its own.
const PUBLIC: [&str; 6] = [
    "/api/v1/health/live",
    "/api/v1/health/ready",
    "/api/v1/openapi.json",
    "/api/v1/auth/login",
    "/api/v1/webhooks/approval-callback",
    "/api/v1/vms/{vm_id}/vnc",
];

/// The document, made from the routes themselves.
///
/// # Errors
/// When it cannot be serialised; a fault of the build.
pub fn document() -> anyhow::Result<Value> {
    let (_, api) = App::new()
        .into_utoipa_app()
        .openapi(base())
        .configure(api::routes)
        .split_for_parts();
    let mut document = serde_json::to_value(api)?;
    complete(&mut document);
    Ok(document)
}

fn base() -> OpenApi {
    let mut api = OpenApi::default();
    api.info = InfoBuilder::new()
        .title("Shepherd")
        .version(super::health::VERSION)
        .description(Some("Governance of KubeVirt virtual machines over many clusters: teams ask, approvers decide, workers carry out."))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .contact(Some(ContactBuilder::new().name(Some("The Shepherd maintainers")).build()))
        .build();
    let bearer = SecurityScheme::Http(
        HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .build(),
    );
    api.components
        .get_or_insert_default()
        .add_security_scheme("session", bearer);
    api
}

/// What holds for every operation is written once, here.
fn complete(document: &mut Value) {
    let error = |description: &str| json!({"description": description, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}});
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else {
        return;
    };
    for (path, item) in paths {
        let public = PUBLIC.contains(&path.as_str());
        for operation in item.as_object_mut().into_iter().flat_map(|item| item.values_mut()) {
            operation["security"] = if public { json!([]) } else { json!([{"session": []}]) };
            let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
                continue;
            };
            let mut usual = vec![
                ("429", "Too many requests; see Retry-After"),
                ("500", "Unexpected"),
                ("503", "Not now; see Retry-After"),
            ];
            if !path.starts_with("/api/v1/health") && !path.ends_with("openapi.json") {
                usual.push(("400", "The request is wrong"));
                usual.push(("401", "No valid session, or wrong credentials"));
            }
            if !public {
                usual.push(("403", "Not permitted"));
                usual.push(("404", "Missing, or not visible to the caller"));
            }
            for (status, description) in usual {
                responses.entry(status).or_insert_with(|| error(description));
            }
        }
    }
}

/// This document
#[utoipa::path(tag = "health", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
#[get("/openapi.json")]
pub(super) async fn served(api: web::Data<Api>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(api.document.clone())
}

/// `/docs`: the document for people, served from the binary itself.
pub(super) fn docs() -> SwaggerUi {
    SwaggerUi::new("/docs/{_:.*}").config(Config::new(["/api/v1/openapi.json"]))
}
