//! A system is opened for an exchange: its secret and its headers as they are, and nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use shepherd_domain::audit_webhook::{HeaderPart, header_parts};
use shepherd_ports::crypto::SealedPlace;
use shepherd_ports::external_approvals::{ExternalSystemRecord, OpenedSystem};
use zeroize::Zeroizing;

use super::fields::{headers_place, secret_place};
use crate::audit_webhook::origin;
use crate::{Platform, encryption};

/// Why a system cannot be opened, in fixed words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Closed {
    #[error("the system is gone")]
    Gone,
    #[error("the secrets of the system cannot be opened")]
    Sealed,
    #[error("a variable that a header names is not set or not allowed any more")]
    Variable,
    #[error("the secrets of the system cannot be read now")]
    Store,
}

/// Opens everything that an exchange needs.
///
/// # Errors
/// [`Closed`].
pub(super) async fn open(platform: &Platform, system: &ExternalSystemRecord) -> Result<OpenedSystem, Closed> {
    let sealed = platform.read.sealed_external_system(system.id).await;
    let sealed = sealed.map_err(|_| Closed::Store)?.ok_or(Closed::Gone)?;
    let secret = unseal(platform, system, &secret_place(system.id), &sealed.secret).await?;
    let headers = match &sealed.headers {
        Some(sealed) => {
            let opened = unseal(platform, system, &headers_place(system.id), sealed).await?;
            resolved(platform, &opened, origin(&system.webhook_url))?
        }
        None => Vec::new(),
    };
    Ok(OpenedSystem {
        url: system.webhook_url.clone(),
        secret,
        headers,
        status_mapping: system.status_mapping.clone(),
        timeout: timeout_of(system),
    })
}

/// The signing secret alone.
///
/// # Errors
/// [`Closed`].
pub(super) async fn open_secret(
    platform: &Platform,
    system: &ExternalSystemRecord,
) -> Result<Zeroizing<Vec<u8>>, Closed> {
    let sealed = platform.read.sealed_external_system(system.id).await;
    let sealed = sealed.map_err(|_| Closed::Store)?.ok_or(Closed::Gone)?;
    unseal(platform, system, &secret_place(system.id), &sealed.secret).await
}

/// How long one exchange with a system may take.
pub(super) fn timeout_of(system: &ExternalSystemRecord) -> Duration {
    Duration::from_secs(u64::try_from(system.timeout_seconds).unwrap_or(1))
}

async fn unseal(
    platform: &Platform,
    system: &ExternalSystemRecord,
    place: &SealedPlace,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Closed> {
    encryption::open(platform, place, sealed).await.map_err(|error| {
        tracing::error!(system = %system.name, error = &error as &dyn std::error::Error, "a secret cannot be opened");
        Closed::Sealed
    })
}

/// The opened headers, their variables replaced by what the server's environment holds now. A variable that is not for
/// this receiver, perhaps no longer, is as good as none.
fn resolved(platform: &Platform, opened: &[u8], receiver: &str) -> Result<Vec<(String, Zeroizing<String>)>, Closed> {
    let values: BTreeMap<String, String> = serde_json::from_slice(opened).map_err(|_| Closed::Sealed)?;
    let settings = platform.settings();
    let mut headers = Vec::new();
    for (name, value) in values {
        let value = Zeroizing::new(value);
        let mut whole = Zeroizing::new(String::new());
        for part in header_parts(&value).map_err(|_| Closed::Sealed)? {
            whole.push_str(match part {
                HeaderPart::Text(text) => text,
                HeaderPart::Variable(variable) => settings
                    .header_variables
                    .value(variable, receiver)
                    .ok_or(Closed::Variable)?,
            });
        }
        headers.push((name, whole));
    }
    Ok(headers)
}
