//! Which browsers may call. That changes while the server runs.

use std::sync::Arc;

use actix_cors::Cors;
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::Next;
use arc_swap::ArcSwap;

use crate::config::ServerConfig;

/// The origins that may call.
pub(super) struct Origins(ArcSwap<Rules>);

struct Rules {
    listed: Vec<String>,
    all: bool,
    credentials: bool,
}

impl Origins {
    pub(super) fn of(config: &ServerConfig) -> Self {
        Self(ArcSwap::from_pointee(Rules::of(config)))
    }

    /// Takes over what is configured now.
    pub(super) fn follow(&self, config: &ServerConfig) {
        self.0.store(Arc::new(Rules::of(config)));
    }

    /// Whether pages of this origin may call.
    fn may_call(&self, origin: &HeaderValue) -> bool {
        self.0.load().all || origin.to_str().is_ok_and(|origin| self.is_listed(origin))
    }

    /// Whether this origin was named. What carries a credential is for such alone, though every origin may call.
    pub(super) fn is_listed(&self, origin: &str) -> bool {
        let rules = self.0.load();
        rules.listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
    }

    fn credentials(&self) -> bool {
        self.0.load().credentials
    }
}

impl Rules {
    fn of(config: &ServerConfig) -> Self {
        Self {
            listed: config.allowed_origins.clone(),
            all: config.unsafe_allow_all_origins,
            credentials: config.allow_credentials && !config.unsafe_allow_all_origins,
        }
    }
}

/// The CORS rules of operations.md §8. They say that credentials are allowed; [`credentials`] has the last word.
pub(super) fn layer(origins: Arc<Origins>) -> Cors {
    Cors::default()
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
        .max_age(12 * 3600)
        .allowed_origin_fn(move |origin, _| origins.may_call(origin))
        .supports_credentials()
}

/// Takes back that browsers may send credentials, when they may not: the library decides that once and for all, and for
/// origins that may not call as well.
pub(super) async fn credentials<B: MessageBody>(
    origins: Arc<Origins>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    if !origins.credentials() || !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use actix_web::middleware::from_fn;
    use actix_web::{App, HttpResponse, test, web};

    use super::*;

    /// What a page of this origin is told: whether it may read, and whether with credentials.
    async fn told(origins: &Arc<Origins>, origin: &str) -> (bool, bool) {
        let (inner, outer) = (Arc::clone(origins), Arc::clone(origins));
        let app = App::new()
            .default_service(web::to(|| async { HttpResponse::Ok().finish() }))
            .wrap(layer(inner))
            .wrap(from_fn(move |request, next| {
                credentials(Arc::clone(&outer), request, next)
            }));
        let app = test::init_service(app).await;
        let request = test::TestRequest::get()
            .insert_header((header::ORIGIN, origin))
            .to_request();
        let response = test::call_service(&app, request).await;
        assert_eq!(response.status(), StatusCode::OK);
        let allowed = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        (
            allowed.is_some_and(|allowed| allowed == origin),
            response
                .headers()
                .contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS),
        )
    }

    #[actix_web::test]
    async fn the_rules_change_while_the_server_runs() {
        let mut config = ServerConfig::default();
        let origins = Arc::new(Origins::of(&config));
        let (home, stranger) = ("http://localhost:3000", "https://stranger.example.org");
        assert_eq!(told(&origins, home).await, (true, true));
        assert_eq!(told(&origins, stranger).await, (false, false));

        config.allow_credentials = false;
        origins.follow(&config);
        assert_eq!(told(&origins, home).await, (true, false));

        config.allow_credentials = true;
        config.unsafe_allow_all_origins = true;
        origins.follow(&config);
        assert_eq!(told(&origins, stranger).await, (true, false), "never with credentials");
        assert!(!origins.is_listed(stranger) && origins.is_listed(home));

        config.unsafe_allow_all_origins = false;
        config.allowed_origins = vec![stranger.to_owned()];
        origins.follow(&config);
        assert_eq!(told(&origins, stranger).await, (true, true));
        assert_eq!(told(&origins, home).await, (false, false));
    }
}
