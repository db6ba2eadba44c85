//! Paths and methods that do not exist.

use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde_json::Value;
use shepherd_domain::problem::{ErrorCode, Problem};

use super::Api;
use super::error::ApiError;

/// The paths of the document and their methods.
pub(super) struct Routes(Vec<(Vec<String>, Vec<String>)>);

impl Routes {
    pub(super) fn of(document: &Value) -> Self {
        let paths = document.get("paths").and_then(Value::as_object);
        let routes = paths.into_iter().flatten().map(|(path, item)| {
            let methods = item
                .as_object()
                .into_iter()
                .flat_map(|item| item.keys())
                .map(|method| method.to_uppercase())
                .collect();
            (segments(path), methods)
        });
        Self(routes.collect())
    }

    /// The methods of the path, or `None` when there is no such path.
    fn methods(&self, path: &str) -> Option<Vec<&str>> {
        let wanted = segments(path);
        let matches = |template: &[String]| {
            template.len() == wanted.len()
                && template
                    .iter()
                    .zip(&wanted)
                    .all(|(part, wanted)| part.starts_with('{') || part == wanted)
        };
        let found: Vec<&str> = self
            .0
            .iter()
            .filter(|(template, _)| matches(template))
            .flat_map(|(_, methods)| methods)
            .map(String::as_str)
            .collect();
        (!found.is_empty()).then_some(found)
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// METHOD_NOT_ALLOWED for known paths, ROUTE_NOT_FOUND for all others.
pub(super) async fn not_found(request: HttpRequest, api: web::Data<Api>) -> HttpResponse {
    let Some(methods) = api.routes.methods(request.path()) else {
        return ApiError::from(Problem::new(ErrorCode::RouteNotFound)).error_response();
    };
    let mut response = ApiError::from(Problem::new(ErrorCode::MethodNotAllowed)).error_response();
    if let Ok(allow) = HeaderValue::from_str(&methods.join(", ")) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}
