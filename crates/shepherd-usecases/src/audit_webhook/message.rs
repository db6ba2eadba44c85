//! A signed message to a webhook (requests.md §10).

use std::collections::BTreeMap;
use std::time::Duration;

use shepherd_domain::audit_webhook::{HeaderPart, WebhookMethod, header_parts};
use shepherd_ports::audit_webhooks::{AuditWebhookRecord, SealedWebhook};
use shepherd_ports::crypto::SealedPlace;
use shepherd_ports::outbound::{OutboundError, OutboundMethod, OutboundRequest};
use zeroize::Zeroizing;

use super::fields::{headers_place, origin, secret_place};
use crate::{Platform, encryption};

/// From the look-up of the receiver's name to the end of its answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(8);

/// Why a message was not delivered. Its text is fixed: nothing of what the other side said, and no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Undelivered {
    #[error("the secrets of the webhook cannot be opened")]
    Sealed,
    #[error("a variable that a header names is not set or not allowed any more")]
    Variable,
    #[error("the receiver answered with status {0}")]
    Refused(u16),
    #[error("the address of the receiver is not allowed")]
    Blocked { host: String },
    #[error("the URL is not allowed")]
    Url,
    #[error("the receiver did not answer in time")]
    Timeout,
    #[error("{0}")]
    Failed(&'static str),
}

impl From<OutboundError> for Undelivered {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::Blocked { host } => Self::Blocked { host },
            OutboundError::InvalidUrl(_) => Self::Url,
            OutboundError::Timeout => Self::Timeout,
            OutboundError::Failed(text) => Self::Failed(text),
        }
    }
}

/// Signs a body and sends it; anything but 2xx is no delivery.
pub(super) async fn send(
    platform: &Platform,
    webhook: &AuditWebhookRecord,
    sealed: &SealedWebhook,
    body: Vec<u8>,
) -> Result<(), Undelivered> {
    let request = signed(platform, webhook, sealed, body).await?;
    let answer = platform.outbound.send(request).await?;
    if answer.is_success() {
        Ok(())
    } else {
        Err(Undelivered::Refused(answer.status))
    }
}

async fn signed(
    platform: &Platform,
    webhook: &AuditWebhookRecord,
    sealed: &SealedWebhook,
    body: Vec<u8>,
) -> Result<OutboundRequest, Undelivered> {
    let secret = open(platform, webhook, &secret_place(webhook.id), &sealed.secret).await?;
    let mut headers = match &sealed.headers {
        Some(sealed) => {
            let opened = open(platform, webhook, &headers_place(webhook.id), sealed).await?;
            resolved(platform, &opened, origin(&webhook.url))?
        }
        None => Vec::new(),
    };
    let timestamp = platform.now().timestamp().to_string();
    let message = [timestamp.as_bytes(), b".".as_slice(), body.as_slice()].concat();
    let signature = format!("sha256={}", platform.digests.hmac_hex(&secret, &message));
    headers.extend([
        header("content-type", "application/json"),
        header("x-shepherd-timestamp", &timestamp),
        header("x-signature-256", &signature),
    ]);
    Ok(OutboundRequest {
        method: match webhook.method {
            WebhookMethod::Post => OutboundMethod::Post,
            WebhookMethod::Put => OutboundMethod::Put,
        },
        url: webhook.url.clone(),
        headers,
        body,
        timeout: TIMEOUT,
    })
}

async fn open(
    platform: &Platform,
    webhook: &AuditWebhookRecord,
    place: &SealedPlace,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Undelivered> {
    encryption::open(platform, place, sealed).await.map_err(|error| {
        tracing::error!(webhook = %webhook.name, error = &error as &dyn std::error::Error, "a secret cannot be opened");
        Undelivered::Sealed
    })
}

fn header(name: &str, value: &str) -> (String, Zeroizing<String>) {
    (name.to_owned(), Zeroizing::new(value.to_owned()))
}

/// The opened headers, their variables replaced by what the server's environment holds now. A variable that is not for
/// this receiver, perhaps no longer, is as good as none.
fn resolved(
    platform: &Platform,
    opened: &[u8],
    receiver: &str,
) -> Result<Vec<(String, Zeroizing<String>)>, Undelivered> {
    let values: BTreeMap<String, String> = serde_json::from_slice(opened).map_err(|_| Undelivered::Sealed)?;
    let settings = platform.settings();
    let mut headers = Vec::new();
    for (name, value) in values {
        let value = Zeroizing::new(value);
        let mut whole = Zeroizing::new(String::new());
        for part in header_parts(&value).map_err(|_| Undelivered::Sealed)? {
            whole.push_str(match part {
                HeaderPart::Text(text) => text,
                HeaderPart::Variable(variable) => settings
                    .header_variables
                    .value(variable, receiver)
                    .ok_or(Undelivered::Variable)?,
            });
        }
        headers.push((name, whole));
    }
    Ok(headers)
}
