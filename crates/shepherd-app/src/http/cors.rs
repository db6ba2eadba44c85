//! Which browsers may call.

use actix_cors::Cors;
use actix_web::http::header;

use crate::config::ServerConfig;

/// The CORS rules of operations.md §8.
pub(super) fn layer(config: &ServerConfig) -> Cors {
    let mut cors = Cors::default()
        .allowed_methods(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
        .allowed_headers([
            header::ORIGIN,
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            header::ACCEPT,
            header::IF_MATCH,
        ])
        .allowed_header("x-request-id")
        .allowed_header("idempotency-key")
        .expose_headers([
            "content-length",
            "x-request-id",
            "location",
            "etag",
            "retry-after",
            "idempotency-replayed",
            "x-schema-version",
            "x-schema-fallback",
            "x-schema-status",
        ])
        .max_age(12 * 3600);
    for origin in &config.allowed_origins {
        cors = cors.allowed_origin(origin);
    }
    if config.allow_credentials {
        cors.supports_credentials()
    } else {
        cors
    }
}
