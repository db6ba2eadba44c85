//! Request ids, the client's address, and for each request one log line and one span.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Instant;

use actix_web::HttpMessage;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue, USER_AGENT};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use ipnet::IpNet;
use shepherd_usecases::auth::authenticate::RequestMarks;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::Api;
use crate::telemetry::{NOT_EXPORTED, accept};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Where those look who only want to know whether the process lives.
const PROBES: &str = "/api/v1/health/";
/// Most bytes of a path that a span has.
const MAX_PATH: usize = 256;
/// Most characters of a user agent that are kept.
const MAX_USER_AGENT: usize = 512;

tokio::task_local! {
    static REQUEST_ID: RefCell<String>;
}

/// The id of the request that is being answered, if any.
pub(super) fn current_request_id() -> Option<String> {
    REQUEST_ID.try_with(|id| id.borrow().clone()).ok()
}

/// Gives every request an id, notes where it came from, and logs it.
pub(super) async fn trace(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let started = Instant::now();
    let api = request.app_data::<web::Data<Api>>().cloned();
    let given = request
        .headers()
        .get(X_REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_request_id(id))
        .map(str::to_owned);
    let request_id = given.unwrap_or_else(|| {
        api.as_ref()
            .map_or_else(String::new, |api| Uuid::from_u128(api.platform.ids.next()).to_string())
    });
    let trusted = api.as_ref().map_or(&[][..], |api| &api.config.trusted_proxies);
    let marks = RequestMarks {
        request_id: Some(request_id.clone()),
        ip: client_address(&request, trusted),
        user_agent: request
            .headers()
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .map(|agent| agent.chars().take(MAX_USER_AGENT).collect()),
    };
    request.extensions_mut().insert(marks);
    let method = request.method().clone();
    let path = request.path().to_owned();
    let span = span(&request, &request_id);

    let answered = REQUEST_ID
        .scope(RefCell::new(request_id.clone()), next.call(request))
        .instrument(span.clone())
        .await;
    let mut response = answered?;
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    let status = response.status();
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    let elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
    // Probes come every few seconds and say nothing as long as they succeed.
    if path.starts_with(PROBES) && status.is_success() {
        tracing::debug!(parent: &span, %method, path, status = status.as_u16(), elapsed_ms, "request");
    } else {
        let code = response.response().error().map(ToString::to_string);
        tracing::info!(parent: &span, %method, path, status = status.as_u16(), elapsed_ms, error = code, "request");
    }
    Ok(response)
}

/// The span of a request, named after its route and never after its path, of which there are more than anybody can
/// look at. Probes come every few seconds, so theirs is not exported.
fn span(request: &ServiceRequest, request_id: &str) -> Span {
    if request.path().starts_with(PROBES) {
        return tracing::info_span!(target: NOT_EXPORTED, "request", request_id, user_id = Empty);
    }
    let (method, path) = (known_method(request.method()), request.path());
    let route = request.match_pattern();
    let name = route.as_deref().map(|route| format!("{method} {route}"));
    let span = tracing::info_span!(
        "request",
        otel.name = name.as_deref().unwrap_or(method),
        otel.kind = "server",
        otel.status_code = Empty,
        request_id,
        user_id = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        url.path = &path[..path.floor_char_boundary(MAX_PATH)],
    );
    let mut given = request.headers().get_all(TRACEPARENT);
    // Several say nothing, as none would.
    if let (Some(parent), None) = (given.next().and_then(|value| value.to_str().ok()), given.next()) {
        accept(&span, parent);
    }
    span
}

/// A method that HTTP has; anybody can make up others.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "CONNECT" => "CONNECT",
        "DELETE" => "DELETE",
        "GET" => "GET",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "POST" => "POST",
        "PUT" => "PUT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The peer; behind trusted proxies the last address they were given by somebody who is none of them.
fn client_address(request: &ServiceRequest, trusted: &[IpNet]) -> Option<IpAddr> {
    // A socket for both protocols shows IPv4 peers as IPv6.
    let peer = request.peer_addr()?.ip().to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let forwarded: Vec<&str> = request
        .headers()
        .get_all("x-forwarded-for")
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    // From the nearest proxy outwards. What stands before something unreadable was not written by a proxy of ours.
    let mut addresses = forwarded
        .into_iter()
        .rev()
        .map_while(|part| part.trim().parse::<IpAddr>().ok())
        .map(|address| address.to_canonical());
    Some(addresses.find(|address| !is_trusted(address)).unwrap_or(peer))
}
