//! Shapes that many answers share.

use actix_web::HttpResponse;
use actix_web::http::header::{ETAG, LOCATION};
use serde::Serialize;
use serde_json::{Map, Value};
use shepherd_domain::page::Page;
use shepherd_domain::problem::Warning;
use utoipa::ToSchema;

use super::error::ApiError;

/// What a handler answers.
pub type Answer = Result<HttpResponse, ApiError>;

/// Where a page stands in its list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pagination {
    /// Page number, from 1.
    page: u32,
    /// Entries per page.
    per_page: u32,
    /// Entries of all pages that the caller may see.
    total: u64,
    /// Pages.
    total_pages: u64,
    /// Whether another page follows.
    has_next: bool,
    /// Whether a page comes before.
    has_prev: bool,
}

impl Pagination {
    /// The place of a page.
    pub fn of<T>(page: &Page<T>) -> Self {
        let total_pages = page.total.div_ceil(u64::from(page.request.per_page()));
        Self {
            page: page.request.page(),
            per_page: page.request.per_page(),
            total: page.total,
            total_pages,
            has_next: u64::from(page.request.page()) < total_pages,
            has_prev: page.request.page() > 1,
        }
    }
}

/// A finding that did not stop the request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Warning)]
pub struct WarningBody {
    /// Stable code.
    code: String,
    /// Parameters of the code.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Option<Object>)]
    params: Map<String, Value>,
}

impl From<Warning> for WarningBody {
    fn from(warning: Warning) -> Self {
        Self {
            code: warning.code.to_string(),
            params: warning.params,
        }
    }
}

/// Warnings, or nothing at all when there are none.
pub fn warnings(warnings: Vec<Warning>) -> Option<Vec<WarningBody>> {
    (!warnings.is_empty()).then(|| warnings.into_iter().map(WarningBody::from).collect())
}

/// 200 with the version of the row.
pub fn versioned(version: i64, body: impl Serialize) -> HttpResponse {
    HttpResponse::Ok().insert_header((ETAG, etag(version))).json(body)
}

/// 201 with the place and version of the new object.
pub fn created(location: String, version: i64, replayed: bool, body: impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::Created();
    response
        .insert_header((LOCATION, location))
        .insert_header((ETAG, etag(version)));
    if replayed {
        response.insert_header(("idempotency-replayed", "true"));
    }
    response.json(body)
}

fn etag(version: i64) -> String {
    format!("\"{version}\"")
}
