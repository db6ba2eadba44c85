//! Clients of clusters, and what is put around each: requests are counted, `Retry-After` is heard, answers are bounded.
//!
//! The library reads an answer to its end before it looks at it, and forgets its headers. Both are seen to here, where
//! every request of a cluster passes, those of watches included.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::body::{Body as HttpBody, Bytes, Frame};
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{Request, Response, StatusCode, Uri};
use kube::client::{Body, ClientBuilder, DynBody};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use shepherd_domain::ids::ClusterId;
use shepherd_ports::clusters::RestConfig;
use shepherd_ports::providers::ProviderError;
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;
use tower::{BoxError, Layer, Service};
use tracing::Instrument as _;

use super::limits::Pace;
use super::repeat::RepeatUnheard;
use super::request;

/// How long the connection to an API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a write may make no progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read, in bytes; a page of 500 large machines stays far below.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;
/// Longest event of a watch that is read, in bytes; an API server stores no object of more than 1.5 MiB.
const LONGEST_EVENT: usize = 8 * 1024 * 1024;

/// Requests that may wait to be sent; permits allow far fewer, and what is more than these waits too.
const BUFFERED: usize = 1024;

/// A client for these credentials, whose requests are counted and paused by `pace`.
///
/// # Errors
/// Unavailable when the kubeconfig cannot be used.
pub(super) async fn build(cluster: ClusterId, rest: &RestConfig, pace: &Arc<Pace>) -> Result<Client, ProviderError> {
    // The texts name no detail: the detail of a malformed kubeconfig may be a credential.
    let unusable = || ProviderError::Unavailable("the stored kubeconfig cannot be used".to_owned());
    let kubeconfig = Kubeconfig::from_yaml(&rest.kubeconfig).map_err(|_| unusable())?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|_| unusable())?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Watches are silent for minutes; single calls are bounded by the registry and watches by the watcher.
    config.read_timeout = None;
    config.write_timeout = Some(WRITE_TIMEOUT);
    config.accept_invalid_certs = config.accept_invalid_certs && rest.allow_insecure_tls;
    // Proxies are refused at intake and must not come back through the environment.
    config.proxy_url = None;
    // Jobs retry with a plan; a client that retries on its own would hide throttling from them.
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).map_err(|_| unusable())?;
    let guard = Guard {
        cluster,
        pace: Arc::clone(pace),
    };
    // What is repeated has to pass the guard each time.
    let guarded = builder.with_layer(&guard);
    let repeated = guarded.with_layer(&BufferLayer::new(BUFFERED));
    Ok(repeated.with_layer(&RetryLayer::new(RepeatUnheard::default())).build())
}

/// An answer was longer than any honest one.
#[derive(Debug, thiserror::Error)]
#[error("the answer is too large")]
pub(crate) struct Oversize;

struct Guard {
    cluster: ClusterId,
    pace: Arc<Pace>,
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            cluster: self.cluster,
            pace: Arc::clone(&self.pace),
        }
    }
}

struct Guarded<S> {
    inner: S,
    cluster: ClusterId,
    pace: Arc<Pace>,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Box<DynBody>>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<Bounded>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Bounded>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.pace.request();
        let pace = Arc::clone(&self.pace);
        let watches = is_watch(request.uri());
        let span = request::span(self.cluster, request.method(), request.uri());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answered = answer.instrument(span.clone()).await;
            request::answered(&span, answered.as_ref().ok().map(Response::status));
            let response = answered?;
            if response.status() == StatusCode::TOO_MANY_REQUESTS
                && let Some(wait) = retry_after(response.headers())
            {
                pace.pause(wait);
            }
            // What a refusal says is read as a whole, whatever was asked for.
            let watches = watches && response.status().is_success();
            Ok(response.map(|body| Bounded::new(body, watches)))
        })
    }
}

pub(super) fn is_watch(uri: &Uri) -> bool {
    uri.query()
        .is_some_and(|query| query.split('&').any(|parameter| parameter == "watch=true"))
}

/// What a server asks for in seconds; it never asks for a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A body that ends with an error when it, or one line of a watch, is too long.
struct Bounded {
    inner: Box<DynBody>,
    lines: bool,
    longest: usize,
    seen: usize,
}

impl Bounded {
    fn new(inner: Box<DynBody>, lines: bool) -> Self {
        Self {
            inner,
            lines,
            longest: if lines { LONGEST_EVENT } else { LONGEST_ANSWER },
            seen: 0,
        }
    }

    /// Counts what came, and says whether there is still room.
    fn fits(&mut self, data: &[u8]) -> bool {
        let lines = self.lines;
        for (index, piece) in data.split(|byte| lines && *byte == b'\n').enumerate() {
            // The first piece goes on with the line that is open.
            if index > 0 {
                self.seen = 0;
            }
            self.seen = self.seen.saturating_add(piece.len());
            if self.seen > self.longest {
                return false;
            }
        }
        true
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let too_long = match &frame {
            Some(Ok(frame)) => frame.data_ref().is_some_and(|data| !self.fits(data)),
            Some(Err(_)) | None => false,
        };
        Poll::Ready(if too_long { Some(Err(Oversize.into())) } else { frame })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::{Ready, poll_fn, ready};
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A body in pieces.
    struct Pieces(VecDeque<Bytes>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn pieces(pieces: &[&'static str]) -> Box<DynBody> {
        Box::new(Pieces(pieces.iter().map(|piece| Bytes::from(*piece)).collect()))
    }

    async fn read(lines: bool, content: &[&'static str]) -> Result<usize, String> {
        let mut body = Bounded::new(pieces(content), lines);
        body.longest = 4;
        let mut read = 0;
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let frame = frame.map_err(|error| error.to_string())?;
            read += frame.data_ref().map_or(0, Bytes::len);
        }
        Ok(read)
    }

    #[tokio::test]
    async fn an_answer_may_be_as_long_as_the_limit() {
        assert_eq!(read(false, &["ab", "cd"]).await, Ok(4));
        assert_eq!(read(false, &["ab", "cd", "e"]).await, Err(Oversize.to_string()));
        assert_eq!(read(false, &["a\nb\nc"]).await, Err(Oversize.to_string()));
    }

    #[tokio::test]
    async fn a_watch_may_last_but_its_lines_may_not() {
        assert_eq!(read(true, &["ab", "cd\n", "efgh\nij", "kl\n\n"]).await, Ok(16));
        assert_eq!(read(true, &["ab\ncd", "efg"]).await, Err(Oversize.to_string()));
    }

    /// A cluster that always gives the same answer.
    struct Throttling(&'static str);

    impl Service<Request<Body>> for Throttling {
        type Response = Response<Box<DynBody>>;
        type Error = BoxError;
        type Future = Ready<Result<Self::Response, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            let mut response = Response::new(pieces(&["Too many requests, please try again later."]));
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            response.headers_mut().insert(RETRY_AFTER, self.0.parse().unwrap());
            ready(Ok(response))
        }
    }

    #[tokio::test]
    async fn a_pause_is_heard_from_the_header_alone() {
        for (asked, granted) in [("7", true), (" 7 ", true), ("Wed, 21 Oct 2026 07:28:00 GMT", false)] {
            let pace = Pace::new(10, 10);
            let guard = Guard {
                cluster: ClusterId::from_bits(1),
                pace: Arc::clone(&pace),
            };
            let mut service = guard.layer(Throttling(asked));
            let answer = service.call(Request::new(Body::empty())).await.unwrap();
            assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
            let paused = pace.paused().is_some_and(|rest| rest > Duration::from_secs(6));
            assert_eq!(paused, granted, "{asked}");
        }
    }

    #[test]
    fn watches_are_told_by_their_query() {
        for (uri, watches) in [
            (
                "/apis/kubevirt.io/v1/virtualmachines?&watch=true&timeoutSeconds=290",
                true,
            ),
            ("/apis/kubevirt.io/v1/virtualmachines?limit=500", false),
            ("/apis/kubevirt.io/v1/namespaces/watch=true/virtualmachines", false),
        ] {
            assert_eq!(is_watch(&uri.parse().unwrap()), watches, "{uri}");
        }
    }

    /// A server that gives these answers, one after the other, and ends the connection when an answer says so.
    async fn serve(listener: TcpListener, answers: &[&str]) {
        let mut answers = answers.iter();
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut heard = [0; 4096];
            while connection.read(&mut heard).await.unwrap() > 0 {
                let answer = answers.next().unwrap();
                connection.write_all(answer.as_bytes()).await.unwrap();
                if answer.contains("close") {
                    break;
                }
            }
        }
    }

    fn kubeconfig(address: SocketAddr) -> String {
        format!(
            "{{clusters: [{{name: a, cluster: {{server: 'http://{address}'}}}}], users: [{{name: a, user: {{token: b}}}}], \
             contexts: [{{name: a, context: {{cluster: a, user: a}}}}], current-context: a}}"
        )
    }

    #[tokio::test]
    async fn a_connection_that_ends_under_a_request_ends_no_call() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rest = RestConfig {
            kubeconfig: kubeconfig(listener.local_addr().unwrap()).into(),
            version: "1".to_owned(),
            allow_insecure_tls: false,
            concurrency_limit: None,
        };
        let client = build(ClusterId::from_bits(1), &rest, &Pace::new(10, 10)).await.unwrap();
        let asking = async {
            for expected in ["one", "two"] {
                let request = Request::put("/start").body(b"{}".to_vec()).unwrap();
                assert_eq!(client.request_text(request).await.unwrap(), expected);
            }
        };
        let answers = [
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none",
            "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo",
        ];
        tokio::select! {
            () = asking => {}
            () = serve(listener, &answers) => unreachable!("it serves for ever"),
        }
    }
}
