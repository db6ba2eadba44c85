//! Limits of what a system is made of, and the sealing of its secrets.

use std::collections::BTreeMap;

use shepherd_domain::audit_webhook::{HeaderPart, MAX_HEADERS, SECRET_LENGTH, header_parts, is_header_name};
use shepherd_domain::external_approval::{
    InvalidMapping, MAX_NAME, MAX_WORD, MAX_WORDS, Meaning, StatusMapping, SystemType,
};
use shepherd_domain::ids::ExternalSystemId;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::audit_webhooks::SealedHeaders;
use shepherd_ports::crypto::{CipherError, Sealed, SealedPlace};
use shepherd_ports::outbound::OutboundError;
use zeroize::Zeroizing;

use super::providers::Providers;
use crate::audit_webhook::origin;
use crate::{Platform, UseCaseError};

/// Header names and values as they were asked for.
pub type Headers = BTreeMap<String, Zeroizing<String>>;
/// Words and their meanings as they were asked for.
pub type Words = BTreeMap<String, Meaning>;

/// Collects what is wrong with a request, so that all of it is answered at once.
#[derive(Default)]
pub(super) struct Findings(Vec<FieldError>);

impl Findings {
    pub(super) fn add(&mut self, field: impl Into<String>, code: FieldCode) {
        self.0.push(FieldError::new(field, code));
    }

    pub(super) fn name(&mut self, name: &str) {
        if name.trim().is_empty() {
            self.add("name", FieldCode::Required);
        } else if name.chars().count() > MAX_NAME {
            self.0
                .push(FieldError::new("name", FieldCode::TooLong).with("max_length", MAX_NAME));
        } else if name.trim() != name || name.chars().any(char::is_control) {
            self.add("name", FieldCode::InvalidFormat);
        }
    }

    /// A kind without an adapter could never be spoken to.
    pub(super) fn system_type(&mut self, platform: &Platform, kind: SystemType) {
        let providers = Providers::of(platform);
        if providers.get(kind.as_str()).is_none() {
            let error = FieldError::new("system_type", FieldCode::UnknownValue);
            self.0.push(error.with("supported", providers.kinds()));
        }
    }

    pub(super) fn number(&mut self, field: &str, number: i32, min: i32, max: i32) {
        if !(min..=max).contains(&number) {
            let error = FieldError::new(field, FieldCode::OutOfRange);
            self.0.push(error.with("min", min).with("max", max));
        }
    }

    pub(super) fn timeout(&mut self, seconds: i32) {
        self.number("timeout_seconds", seconds, 1, 300);
    }

    pub(super) fn retries(&mut self, count: i32) {
        self.number("retry_count", count, 0, 10);
    }

    pub(super) fn poll_interval(&mut self, seconds: i32) {
        self.number("poll_interval_seconds", seconds, 5, 86_400);
    }

    pub(super) fn secret(&mut self, secret: &str) {
        let length = secret.chars().count();
        let (least, most) = (*SECRET_LENGTH.start(), *SECRET_LENGTH.end());
        if length < least {
            let error = FieldError::new("webhook_secret", FieldCode::TooShort);
            self.0.push(error.with("min_length", least));
        } else if length > most {
            let error = FieldError::new("webhook_secret", FieldCode::TooLong);
            self.0.push(error.with("max_length", most));
        }
    }

    /// Names in any case are one header, and variables must be of the operator's list and for this receiver.
    pub(super) fn headers(&mut self, platform: &Platform, headers: &Headers, url: &str) {
        if headers.len() > MAX_HEADERS {
            let error = FieldError::new("webhook_headers", FieldCode::TooLong);
            self.0.push(error.with("max_items", MAX_HEADERS));
        }
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in headers {
            let lower = name.to_ascii_lowercase();
            if !is_header_name(name) || lower == "x-ticket-id" || seen.contains(&lower) {
                self.add("webhook_headers", FieldCode::InvalidFormat);
                continue;
            }
            seen.push(lower);
            self.header(platform, name, value, url);
        }
    }

    fn header(&mut self, platform: &Platform, name: &str, value: &str, url: &str) {
        let field = format!("webhook_headers.{name}");
        let Ok(parts) = header_parts(value) else {
            return self.add(field, FieldCode::InvalidFormat);
        };
        let unknown = parts.iter().any(|part| match part {
            HeaderPart::Text(_) => false,
            HeaderPart::Variable(variable) => !platform.settings().header_variables.allows(variable, origin(url)),
        });
        if unknown {
            self.add(field, FieldCode::UnknownValue);
        }
    }

    pub(super) fn mapping(&mut self, words: Words) -> StatusMapping {
        StatusMapping::new(words).unwrap_or_else(|error| {
            self.0.push(match error {
                InvalidMapping::TooManyWords => {
                    FieldError::new("status_mapping", FieldCode::TooLong).with("max_items", MAX_WORDS)
                }
                InvalidMapping::Word => {
                    FieldError::new("status_mapping", FieldCode::InvalidFormat).with("max_length", MAX_WORD)
                }
            });
            StatusMapping::default()
        })
    }

    /// Asks whether requests to the URL would be let out now. Answers the refusal that comes after all findings. Plain
    /// HTTP is let out to networks of the allow-list only: whoever runs them answers for who reads along there.
    pub(super) async fn url(&mut self, platform: &Platform, url: &str) -> Option<Problem> {
        let code = match platform.outbound.check(url).await {
            Ok(()) => return None,
            Err(OutboundError::Blocked { host }) => return Some(blocked(&host)),
            Err(OutboundError::InvalidUrl(_)) => FieldCode::InvalidFormat,
            Err(OutboundError::Timeout | OutboundError::Failed(_)) => FieldCode::NotFound,
        };
        self.add("webhook_url", code);
        None
    }

    /// # Errors
    /// VALIDATION_FAILED with all findings.
    pub(super) fn end(self) -> Result<(), Problem> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(self.0))
        }
    }
}

/// OUTBOUND_BLOCKED{host}.
pub(super) fn blocked(host: &str) -> Problem {
    Problem::new(ErrorCode::OutboundBlocked).with("host", host)
}

/// Where the signing secret of a system is sealed.
pub(super) fn secret_place(id: ExternalSystemId) -> SealedPlace {
    place(id, "webhook_secret")
}

/// Where the headers of a system are sealed.
pub(super) fn headers_place(id: ExternalSystemId) -> SealedPlace {
    place(id, "webhook_headers")
}

fn place(id: ExternalSystemId, column: &'static str) -> SealedPlace {
    SealedPlace {
        table: "external_approval_systems",
        column,
        row: id.to_string(),
    }
}

/// The sealed signing secret.
pub(super) fn seal_secret(platform: &Platform, id: ExternalSystemId, secret: &str) -> Result<Sealed, CipherError> {
    platform.cipher.seal(&secret_place(id), secret.as_bytes())
}

/// The sealed headers; `None` when there are none.
pub(super) fn seal_headers(
    platform: &Platform,
    id: ExternalSystemId,
    headers: &Headers,
) -> Result<Option<SealedHeaders>, UseCaseError> {
    if headers.is_empty() {
        return Ok(None);
    }
    let values: BTreeMap<&str, &str> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let text = serde_json::to_vec(&values)
        .map(Zeroizing::new)
        .map_err(|source| UseCaseError::Stored { what: "header", source })?;
    Ok(Some(SealedHeaders {
        names: headers.keys().cloned().collect(),
        values: platform.cipher.seal(&headers_place(id), &text)?,
    }))
}

/// EXTERNAL_SYSTEM_NAME_EXISTS for a name that is taken, and any other error as it is.
pub(super) fn taken(error: shepherd_ports::RepositoryError, name: &str) -> UseCaseError {
    if error.is_unique("uq_external_approval_systems_name") {
        Problem::new(ErrorCode::ExternalSystemNameExists)
            .with("name", name)
            .into()
    } else {
        error.into()
    }
}

/// Refuses to set up or use systems in an installation that has switched them off.
///
/// # Errors
/// CAPABILITY_NOT_SUPPORTED{capability}.
pub(super) fn require_feature(platform: &Platform) -> Result<(), Problem> {
    if platform.settings().features.external_approval {
        Ok(())
    } else {
        Err(Problem::new(ErrorCode::CapabilityNotSupported).with("capability", "external_approval"))
    }
}
