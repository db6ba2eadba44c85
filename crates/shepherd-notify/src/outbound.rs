//! Requests to addresses that people configured: webhooks, and whatever else leaves the platform by HTTP.
//!
//! What must not be reached is decided by `policy`, on every address of the host. A host that is an address is judged
//! before the request; a name is judged in the resolver of the connection itself (`resolve`), so that no second look-up
//! can answer something else than the one that was judged.

mod policy;
mod resolve;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, Method, Response};
use shepherd_ports::outbound::{
    MAX_ANSWER_BYTES, OutboundAnswer, OutboundClient, OutboundError, OutboundMethod, OutboundRequest,
};
use url::Host;

use policy::{Policy, Refusal, Scheme, Target};
use resolve::{CheckedResolver, NameLookup, SystemLookup};

/// How long a name may take to be looked up for a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(8);
const USER_AGENT: &str = "shepherd";
const UNFIT_HEADER: OutboundError = OutboundError::Failed("a header cannot be sent");
const NO_TLS: OutboundError = OutboundError::Failed("TLS cannot be set up on this machine");

/// Sends requests under the rules of [`OutboundClient`].
pub struct GuardedClient {
    policy: Arc<Policy>,
    lookup: Arc<dyn NameLookup>,
    https: Lazy,
    http: Lazy,
}

/// A client that is built when it is first needed: one for HTTPS fails on a machine without certificate authorities, and
/// such a machine may still have nothing to send.
#[derive(Default)]
struct Lazy(Mutex<Option<Client>>);

impl GuardedClient {
    /// A client that reaches public addresses, and those of `allowlist` unless they are link-local or a metadata
    /// service. Installs ring as the TLS provider of the process unless there is one already.
    pub fn new(allowlist: Vec<IpNet>) -> Self {
        Self::with_lookup(allowlist, Arc::new(SystemLookup))
    }

    /// Reaches the addresses of another list from now on. Requests that are under way go on: no connection outlives its
    /// request.
    pub fn set_allowlist(&self, allowlist: Vec<IpNet>) {
        self.policy.set_allowlist(allowlist);
    }

    fn with_lookup(allowlist: Vec<IpNet>, lookup: Arc<dyn NameLookup>) -> Self {
        // Without a provider building a client for TLS panics. An error says that there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            policy: Arc::new(Policy::new(allowlist)),
            lookup,
            https: Lazy::default(),
            http: Lazy::default(),
        }
    }

    /// The client for a scheme; its connections go to addresses that were judged for that scheme.
    fn client(&self, scheme: Scheme) -> Result<Client, OutboundError> {
        let slot = match scheme {
            Scheme::Https => &self.https,
            Scheme::Http => &self.http,
        };
        let mut client = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = client.as_ref() {
            return Ok(client.clone());
        }
        let resolver = CheckedResolver::new(Arc::clone(&self.policy), Arc::clone(&self.lookup), scheme);
        let builder = Client::builder()
            .dns_resolver(Arc::new(resolver))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(USER_AGENT)
            // Every request is a connection of its own, to addresses that were judged for it.
            .pool_max_idle_per_host(0);
        let built = with_tls(builder, scheme)?.build().map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no client for requests to the outside"
            );
            NO_TLS
        })?;
        Ok(client.insert(built).clone())
    }

    /// Judges a host that is an address. Such a host never comes to the resolver.
    fn judge_address(&self, target: &Target) -> Result<Option<IpAddr>, OutboundError> {
        let address = match target.host() {
            Host::Ipv4(address) => IpAddr::V4(*address),
            Host::Ipv6(address) => IpAddr::V6(*address),
            Host::Domain(_) => return Ok(None),
        };
        self.policy
            .judge(address, target.scheme())
            .map(|()| Some(address))
            .map_err(|refusal| refused(refusal, target))
    }

    async fn exchange(&self, request: OutboundRequest) -> Result<OutboundAnswer, OutboundError> {
        let target = self.policy.target(&request.url)?;
        self.judge_address(&target)?;
        let method = match request.method {
            OutboundMethod::Get => Method::GET,
            OutboundMethod::Post => Method::POST,
            OutboundMethod::Put => Method::PUT,
        };
        let response = self
            .client(target.scheme())?
            .request(method, target.url().clone())
            .headers(headers(&request)?)
            .body(request.body)
            .send()
            .await
            .map_err(|error| failure(&error, &target))?;
        read(response, &target).await
    }
}

#[async_trait]
impl OutboundClient for GuardedClient {
    async fn check(&self, url: &str) -> Result<(), OutboundError> {
        let target = self.policy.target(url)?;
        if self.judge_address(&target)?.is_some() {
            return Ok(());
        }
        let checked = resolve::judged_addresses(&*self.lookup, &self.policy, target.host_text(), target.scheme());
        match tokio::time::timeout(CHECK_TIMEOUT, checked).await {
            Ok(judged) => judged.map(drop).map_err(|refusal| refused(refusal, &target)),
            Err(_) => Err(OutboundError::Timeout),
        }
    }

    async fn send(&self, request: OutboundRequest) -> Result<OutboundAnswer, OutboundError> {
        tokio::time::timeout(request.timeout, self.exchange(request))
            .await
            .unwrap_or(Err(OutboundError::Timeout))
    }
}

impl fmt::Debug for GuardedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedClient")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// HTTPS trusts the certificate authorities of the machine; plain HTTP needs none, and trusts none.
fn with_tls(builder: ClientBuilder, scheme: Scheme) -> Result<ClientBuilder, OutboundError> {
    match scheme {
        Scheme::Https => Ok(builder.https_only(true).tls_version_min(reqwest::tls::Version::TLS_1_2)),
        Scheme::Http => {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let none = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|_| NO_TLS)?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            Ok(builder.tls_backend_preconfigured(none))
        }
    }
}

fn headers(request: &OutboundRequest) -> Result<HeaderMap, OutboundError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| UNFIT_HEADER)?;
        let mut value = HeaderValue::from_str(value).map_err(|_| UNFIT_HEADER)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Reads as much of an answer as is kept. What comes after that is cut off with the connection.
async fn read(mut response: Response, target: &Target) -> Result<OutboundAnswer, OutboundError> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error, target))? {
        let room = MAX_ANSWER_BYTES - body.len();
        body.extend(chunk.iter().take(room));
        if body.len() == MAX_ANSWER_BYTES {
            break;
        }
    }
    Ok(OutboundAnswer { status, body })
}

/// The error of a request, in the fixed words of the port; what the other side said stays out of it.
fn failure(error: &reqwest::Error, target: &Target) -> OutboundError {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return refused(*refusal, target);
        }
        source = cause.source();
    }
    if error.is_timeout() {
        OutboundError::Timeout
    } else if error.is_connect() {
        OutboundError::Failed("the connection failed")
    } else {
        OutboundError::Failed("the exchange broke off")
    }
}

fn refused(refusal: Refusal, target: &Target) -> OutboundError {
    match refusal {
        Refusal::Blocked => OutboundError::Blocked {
            host: target.host_text().to_owned(),
        },
        Refusal::PlainHttp => OutboundError::InvalidUrl("plain HTTP is for networks of the allow-list only"),
        Refusal::Unknown => OutboundError::Failed("the host name cannot be looked up"),
    }
}

#[cfg(test)]
mod tests;
