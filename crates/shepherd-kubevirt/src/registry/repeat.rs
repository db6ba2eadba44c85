//! A request that the server never received is sent again.
//!
//! Balancers and servers that grow tired of a connection on which nothing is said answer 408 on it and close it. When a
//! request is written at that very moment, it gets an answer that was meant for nobody: nothing was carried out, and the
//! request may be repeated (RFC 9110 §15.5.9). What an API server says of its own timeouts comes as a `Status`, in JSON,
//! and is not repeated here: jobs do that by their plan. A balancer that answers in JSON is taken for an API server.

use std::future::{Ready, ready};

use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Request, Response, StatusCode};
use kube::client::Body;
use tower::BoxError;
use tower::retry::Policy;

/// Most repetitions of one request. Each needs another connection that ends in the moment it is written to.
const MOST_REPEATS: u8 = 3;

const JSON: &[u8] = b"application/json";

/// Repeats at once what was answered with a 408 that is not in JSON.
#[derive(Clone, Debug, Default)]
pub(super) struct RepeatUnheard {
    repeats: u8,
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for RepeatUnheard {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<Body>, answer: &mut Result<Response<B>, BoxError>) -> Option<Self::Future> {
        let response = answer.as_ref().ok()?;
        let unheard = response.status() == StatusCode::REQUEST_TIMEOUT && !is_json(response.headers());
        if !unheard || self.repeats == MOST_REPEATS {
            return None;
        }
        self.repeats += 1;
        tracing::debug!(
            repeats = self.repeats,
            "a connection ended under a request, which is sent again"
        );
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = Request::new(request.body().try_clone()?);
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        *copy.version_mut() = request.version();
        copy.headers_mut().clone_from(request.headers());
        copy.extensions_mut().clone_from(request.extensions());
        Some(copy)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().get(..JSON.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(JSON))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hyper::Method;
    use hyper::header::HeaderValue;
    use tower::retry::RetryLayer;
    use tower::{Layer as _, Service as _, service_fn};

    use super::*;

    /// How a request ends, and how often it was sent, when the first answers are these and all others are a 200.
    async fn sent(first: usize, status: StatusCode, kind: Option<&'static str>) -> (StatusCode, usize) {
        let times = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&times);
        let server = service_fn(move |request: Request<Body>| {
            assert_eq!(request.method(), Method::PUT);
            assert_eq!(request.uri(), "/start");
            assert_eq!(request.headers()["a"], "b");
            let nth = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                assert_eq!(request.into_body().collect_bytes().await?, "{}");
                let mut response = Response::new(());
                if nth < first {
                    *response.status_mut() = status;
                    if let Some(kind) = kind {
                        response
                            .headers_mut()
                            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                    }
                }
                Ok::<_, BoxError>(response)
            }
        });
        let mut request = Request::new(Body::from(b"{}".to_vec()));
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = "/start".parse().unwrap();
        request.headers_mut().insert("a", HeaderValue::from_static("b"));
        let mut service = RetryLayer::new(RepeatUnheard::default()).layer(server);
        let answer = service.call(request).await.unwrap();
        (answer.status(), times.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn what_was_never_heard_is_sent_again_as_it_was() {
        let tired = StatusCode::REQUEST_TIMEOUT;
        assert_eq!(sent(0, tired, None).await, (StatusCode::OK, 1));
        assert_eq!(sent(1, tired, None).await, (StatusCode::OK, 2));
        assert_eq!(sent(3, tired, Some("text/html")).await, (StatusCode::OK, 4));
        assert_eq!(sent(9, tired, None).await, (tired, 4));
    }

    #[tokio::test]
    async fn what_was_answered_is_not_sent_again() {
        for status in [500, 502, 503, 504, 429, 409] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(sent(1, status, None).await, (status, 1));
        }
        for kind in ["application/json", "Application/JSON; charset=utf-8"] {
            let said = sent(1, StatusCode::REQUEST_TIMEOUT, Some(kind)).await;
            assert_eq!(said, (StatusCode::REQUEST_TIMEOUT, 1), "{kind}");
        }
    }
}
