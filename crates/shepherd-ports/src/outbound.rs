//! Calls to addresses that people configured: guarded against reaching what the platform itself can reach.

use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

/// Most bytes of an answer that are kept; the rest is not read.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboundMethod {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
}

/// A request.
#[derive(Clone)]
pub struct OutboundRequest {
    /// How.
    pub method: OutboundMethod,
    /// Where to.
    pub url: String,
    /// Names and values, which may be secrets.
    pub headers: Vec<(String, Zeroizing<String>)>,
    /// What.
    pub body: Vec<u8>,
    /// From the look-up of the name to the last byte of the answer.
    pub timeout: Duration,
}

/// An answer. A redirect is one, and is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundAnswer {
    /// HTTP status.
    pub status: u16,
    /// At most [`MAX_ANSWER_BYTES`] of the body.
    pub body: Vec<u8>,
}

impl OutboundAnswer {
    /// Whether the receiver took the request: 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why nothing was sent, or nothing came back. No text of the other side is part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The host, or one of its addresses, is one that must not be reached.
    #[error("the address of {host} is not allowed")]
    Blocked {
        /// The host as it stands in the URL.
        host: String,
    },
    /// The URL is of a form that is never sent to.
    #[error("{0}")]
    InvalidUrl(&'static str),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// Anything else.
    #[error("{0}")]
    Failed(&'static str),
}

/// Sends requests to configured addresses.
///
/// HTTPS only, except to hosts all of whose addresses are in the allow-list; TLS 1.2 or newer; no redirects, no proxy of
/// the environment. Every address of a host is checked, and only the addresses that were checked are connected to.
#[async_trait]
pub trait OutboundClient: Send + Sync {
    /// Whether a request to this URL would be let out now. Looks the name up, and sends nothing.
    ///
    /// # Errors
    /// [`OutboundError::Blocked`], [`OutboundError::InvalidUrl`]; [`OutboundError::Failed`] or
    /// [`OutboundError::Timeout`] when the name cannot be looked up.
    async fn check(&self, url: &str) -> Result<(), OutboundError>;
    /// Sends a request and reads the answer, whatever its status.
    ///
    /// # Errors
    /// [`OutboundError`].
    async fn send(&self, request: OutboundRequest) -> Result<OutboundAnswer, OutboundError>;
}
