//! Sending traces: OTLP over HTTP, in batches, from a thread of its own.
//!
//! Nobody waits for the receiver. What has ended waits in a queue of bounded length, and what finds it full is lost; an
//! exchange has a bound in time, and so has the last one at the end of the process. The thread of the batches has no
//! runtime, so its requests are made by the runtime of the process.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider};
use reqwest::Client;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use url::Url;

use super::sampling::Share;
use crate::config::TracingConfig;

/// Spans that wait at most; one takes about a kilobyte.
const QUEUE: usize = 4096;
/// Spans of one request to the receiver at most.
const BATCH: usize = 512;
/// How long a span may wait for others.
const PAUSE: Duration = Duration::from_secs(2);
/// How long one exchange with the receiver may take.
const EXCHANGE: Duration = Duration::from_secs(5);
/// How long the end of the process may take for what still waits.
const LAST: Duration = Duration::from_secs(3);
/// Longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Sends what is traced. Dropping it sends the rest.
pub(super) struct Exporter {
    provider: SdkTracerProvider,
}

impl Exporter {
    /// An exporter to the configured address; `None` without one.
    ///
    /// # Errors
    /// When the address or this machine cannot be used for it.
    pub(super) fn of(config: &TracingConfig, instance: &str, runtime: &Handle) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &config.otlp_endpoint else {
            return Ok(None);
        };
        // An error would repeat the address.
        let address = Url::parse(&format!("{}/v1/traces", endpoint.trim_end_matches('/')));
        let address = address.ok().filter(Url::has_host);
        let address = address.ok_or_else(|| anyhow!("tracing.otlp_endpoint: not an address"))?;
        let shown = without_userinfo(address.clone());
        let client = Receiver::at(address, runtime).context("tracing.otlp_endpoint: no client")?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(shown.as_str())
            .with_timeout(EXCHANGE)
            .with_retry_policy(RetryPolicy::recommended())
            .with_http_client(client)
            .build()
            .context("tracing.otlp_endpoint")?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(PAUSE)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Share::of(config.sample_ratio))
            .with_resource(resource(instance))
            .build();
        Ok(Some(Self { provider }))
    }

    /// Makes spans that are sent.
    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("shepherd")
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Who says it.
fn resource(instance: &str) -> Resource {
    Resource::builder_empty()
        .with_service_name("shepherd")
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ])
        .build()
}

/// The address as others may know it: the library of traces writes it into logs.
fn without_userinfo(mut address: Url) -> Url {
    // Neither can fail at an address with a host.
    let _ = address.set_username("");
    let _ = address.set_password(None);
    address
}

/// The receiver, and whether it took what it was sent last.
struct Receiver {
    client: Client,
    /// With the user and the password that it may hold.
    address: Url,
    runtime: Handle,
    fails: AtomicBool,
}

impl Receiver {
    fn at(address: Url, runtime: &Handle) -> anyhow::Result<Self> {
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(EXCHANGE);
        if address.scheme() != "https" {
            builder = builder.tls_backend_preconfigured(trusting_nobody()?);
        }
        Ok(Self {
            client: builder.build()?,
            address,
            runtime: runtime.clone(),
            fails: AtomicBool::new(false),
        })
    }

    /// Says once that the receiver fails, and once that it no longer does.
    fn note(&self, failure: Option<&str>) {
        let failed = self.fails.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !failed => {
                tracing::warn!(
                    error,
                    "traces are not taken by their receiver; those that it misses are lost"
                );
            }
            None if failed => tracing::info!("traces are taken by their receiver again"),
            Some(_) | None => {}
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

#[async_trait]
impl HttpClient for Receiver {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        // The client takes user and password out of the address and into a header.
        let request = self.client.request(parts.method, self.address.clone());
        let request = request.headers(parts.headers).body(body).build();
        let request = request.map_err(reqwest::Error::without_url)?;
        let (answer, answered) = oneshot::channel();
        let client = self.client.clone();
        // Waited for right below, and bounded by the timeout of the client. At the end of the runtime it is dropped,
        // and with it the other end of the channel.
        self.runtime.spawn(async move {
            let _ = answer.send(exchange(&client, request).await);
        });
        let outcome = answered.await.unwrap_or_else(|_| Err("the process ends".into()));
        match &outcome {
            Ok(response) if response.status().is_success() => self.note(None),
            Ok(response) => self.note(Some(response.status().as_str())),
            Err(error) => self.note(Some(&error.to_string())),
        }
        outcome
    }
}

async fn exchange(client: &Client, request: reqwest::Request) -> Result<Response<Bytes>, HttpError> {
    // Where traces go says nothing about why they do not arrive.
    let mut answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        headers.clone_from(answer.headers());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err("the answer is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(response.body(body.into())?)
}

/// Plain HTTP needs no certificate authorities, and a machine may have none.
fn trusting_nobody() -> anyhow::Result<rustls::ClientConfig> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Secret;

    /// What a receiver with a password hears, and what comes of its answer.
    async fn exchanged(answer: &'static str) -> (String, Result<Response<Bytes>, HttpError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = Url::parse(&format!("http://watcher:planted@127.0.0.1:{port}/v1/traces")).unwrap();
        let receiver = Receiver::at(address.clone(), &Handle::current()).unwrap();
        let request = Request::builder()
            .method("POST")
            .uri(without_userinfo(address).as_str())
            .header("content-type", "application/x-protobuf")
            .body(Bytes::from_static(b"spans"))
            .unwrap();
        let heard = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"\r\n\r\nspans") {
                let mut buffer = [0; 1024];
                let read = stream.read(&mut buffer).await.unwrap();
                assert!(read > 0, "the request ends early");
                bytes.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(bytes).unwrap()
        };
        tokio::join!(heard, receiver.send_bytes(request))
    }

    #[tokio::test]
    async fn a_password_goes_to_the_receiver_in_a_header() {
        let (heard, answer) = exchanged("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        let heard = heard.to_ascii_lowercase();
        assert!(heard.starts_with("post /v1/traces http/1.1\r\n"), "{heard}");
        assert!(heard.contains("content-type: application/x-protobuf\r\n"), "{heard}");
        assert!(
            heard.contains("authorization: basic d2f0y2hlcjpwbgfudgvk\r\n"),
            "{heard}"
        );
        assert!(!heard.contains("planted"), "{heard}");
        assert_eq!(answer.unwrap().into_body(), Bytes::from_static(b"ok"));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_says_nothing_of_the_address() {
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nok"] {
            let (_, outcome) = exchanged(answer).await;
            let error = outcome.unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains("planted") && !said.contains("/v1/traces"), "{said}");
        }
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_used_is_not_repeated() {
        for endpoint in [
            "shepherd:planted",
            "http://u:planted@",
            "http://u:planted@collector:99999",
        ] {
            let config = TracingConfig {
                otlp_endpoint: Some(Secret::new(endpoint)),
                ..TracingConfig::default()
            };
            let Err(error) = Exporter::of(&config, "test", &Handle::current()) else {
                panic!("traces can be sent to {endpoint}");
            };
            let said = format!("{error:#} {error:?}");
            assert!(!said.contains("planted"), "{said}");
        }
    }
}
