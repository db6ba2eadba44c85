//! Every answered request is counted by the route it went to, and every refusal by the limit behind it.

use std::time::Instant;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use shepherd_ports::metrics;

use super::error::ApiError;

/// Counts a request once its answer begins.
pub(super) async fn count(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let began = Instant::now();
    let method = request.method().clone();
    // By the path alone; the router knows better, if the request gets that far.
    let route = request.match_pattern();
    let answered = next.call(request).await;
    let (route, status, error) = match &answered {
        Ok(response) => (
            response.request().match_pattern(),
            response.status(),
            response.response().error(),
        ),
        Err(error) => (route, error.as_response_error().status_code(), Some(error)),
    };
    metrics::http_request(method.as_str(), route, status.as_u16(), began.elapsed());
    if let Some(limit) = error.and_then(|error| error.as_error::<ApiError>()?.limit()) {
        metrics::rate_limit_rejection(limit);
    }
    answered
}
