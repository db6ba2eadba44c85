//! Limits of what a webhook is made of, and the sealing of its secrets.

use std::collections::BTreeMap;

use serde_json::Value;
use shepherd_domain::audit_webhook::{
    ActionGlob, HeaderPart, MAX_GLOBS, MAX_HEADERS, MAX_NAME, PushFilters, SECRET_LENGTH, header_parts, is_header_name,
};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::AuditWebhookId;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::audit_webhooks::SealedHeaders;
use shepherd_ports::crypto::{CipherError, Sealed, SealedPlace};
use shepherd_ports::outbound::OutboundError;
use zeroize::Zeroizing;

use crate::{Platform, UseCaseError};

/// Header names and values as they were asked for.
pub type Headers = BTreeMap<String, Zeroizing<String>>;

/// Filters as they were asked for.
#[derive(Clone, Debug, Default)]
pub struct FilterFields {
    /// Globs over actions.
    pub actions: Vec<String>,
    /// Environments.
    pub environments: EnvironmentSet,
}

/// Collects what is wrong with a request, so that all of it is answered at once.
#[derive(Default)]
pub(super) struct Findings(Vec<FieldError>);

impl Findings {
    pub(super) fn name(&mut self, name: &str) {
        if name.trim().is_empty() {
            self.0.push(FieldError::new("name", FieldCode::Required));
        } else if name.chars().count() > MAX_NAME {
            self.0
                .push(FieldError::new("name", FieldCode::TooLong).with("max_length", MAX_NAME));
        } else if name.trim() != name || name.chars().any(char::is_control) {
            self.0.push(FieldError::new("name", FieldCode::InvalidFormat));
        }
    }

    pub(super) fn number(&mut self, field: &str, number: i32, min: i32, max: i32) {
        if !(min..=max).contains(&number) {
            self.0.push(
                FieldError::new(field, FieldCode::OutOfRange)
                    .with("min", min)
                    .with("max", max),
            );
        }
    }

    pub(super) fn batch_size(&mut self, size: i32) {
        self.number("batch_size", size, 1, 1000);
    }

    pub(super) fn flush_interval(&mut self, seconds: i32) {
        self.number("flush_interval_seconds", seconds, 1, 3600);
    }

    pub(super) fn secret(&mut self, secret: &str) {
        let length = secret.chars().count();
        if length < *SECRET_LENGTH.start() {
            self.0
                .push(FieldError::new("secret", FieldCode::TooShort).with("min_length", *SECRET_LENGTH.start()));
        } else if length > *SECRET_LENGTH.end() {
            self.0
                .push(FieldError::new("secret", FieldCode::TooLong).with("max_length", *SECRET_LENGTH.end()));
        }
    }

    /// Names in any case are one header, and variables must be of the operator's list and for this receiver.
    pub(super) fn headers(&mut self, platform: &Platform, headers: &Headers, url: &str) {
        if headers.len() > MAX_HEADERS {
            self.0
                .push(FieldError::new("headers", FieldCode::TooLong).with("max_items", MAX_HEADERS));
        }
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in headers {
            let lower = name.to_ascii_lowercase();
            if !is_header_name(name) || seen.contains(&lower) {
                self.0.push(FieldError::new("headers", FieldCode::InvalidFormat));
                continue;
            }
            seen.push(lower);
            let field = format!("headers.{name}");
            let Ok(parts) = header_parts(value) else {
                self.0.push(FieldError::new(field, FieldCode::InvalidFormat));
                continue;
            };
            let unknown = parts.iter().any(|part| match part {
                HeaderPart::Text(_) => false,
                HeaderPart::Variable(variable) => !platform.settings().header_variables.allows(variable, origin(url)),
            });
            if unknown {
                self.0.push(FieldError::new(field, FieldCode::UnknownValue));
            }
        }
    }

    pub(super) fn filters(&mut self, fields: FilterFields) -> PushFilters {
        if fields.actions.len() > MAX_GLOBS {
            self.0
                .push(FieldError::new("filters.actions", FieldCode::TooLong).with("max_items", MAX_GLOBS));
        }
        let mut actions: Vec<ActionGlob> = Vec::new();
        for (index, text) in fields.actions.iter().enumerate() {
            match text.parse() {
                Ok(glob) => actions.push(glob),
                Err(_) => self.0.push(FieldError::new(
                    format!("filters.actions[{index}]"),
                    FieldCode::InvalidFormat,
                )),
            }
        }
        PushFilters {
            actions,
            environments: fields.environments,
        }
    }

    /// Says that something is missing.
    pub(super) fn required(&mut self, field: &str) {
        self.0.push(FieldError::new(field, FieldCode::Required));
    }

    /// Asks whether requests to the URL would be let out now. Answers the refusal that comes after all findings.
    pub(super) async fn url(&mut self, platform: &Platform, url: &str) -> Option<Problem> {
        let code = match platform.outbound.check(url).await {
            Ok(()) => return None,
            Err(OutboundError::Blocked { host }) => return Some(blocked(&host)),
            Err(OutboundError::InvalidUrl(_)) => FieldCode::InvalidFormat,
            Err(OutboundError::Timeout | OutboundError::Failed(_)) => FieldCode::NotFound,
        };
        self.0.push(FieldError::new("url", code));
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

/// Where the signing secret of a webhook is sealed.
pub(super) fn secret_place(id: AuditWebhookId) -> SealedPlace {
    place(id, "secret")
}

/// Where the headers of a webhook are sealed.
pub(super) fn headers_place(id: AuditWebhookId) -> SealedPlace {
    place(id, "headers")
}

fn place(id: AuditWebhookId, column: &'static str) -> SealedPlace {
    SealedPlace {
        table: "audit_webhooks",
        column,
        row: id.to_string(),
    }
}

/// The sealed signing secret.
pub(super) fn seal_secret(platform: &Platform, id: AuditWebhookId, secret: &str) -> Result<Sealed, CipherError> {
    platform.cipher.seal(&secret_place(id), secret.as_bytes())
}

/// The sealed headers; `None` when there are none.
pub(super) fn seal_headers(
    platform: &Platform,
    id: AuditWebhookId,
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

/// What the audit row says of filters.
pub(super) fn filters_value(filters: &PushFilters) -> Value {
    serde_json::to_value(filters).unwrap_or_default()
}

/// Scheme, host and port of a URL: what may be on record. A path or a query can hold a token.
pub(crate) fn origin(url: &str) -> &str {
    let after = url.find("://").map_or(0, |at| at + 3);
    let end = url
        .get(after..)
        .and_then(|rest| rest.find(['/', '?']))
        .map_or(url.len(), |at| after + at);
    url.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::origin;

    #[test]
    fn an_origin_ends_where_the_path_begins() {
        assert_eq!(origin("https://a.example:8443/b/c?d=e"), "https://a.example:8443");
        assert_eq!(origin("https://a.example"), "https://a.example");
        assert_eq!(origin("https://a.example?token=b"), "https://a.example");
        assert_eq!(origin("https://[::1]:1/"), "https://[::1]:1");
    }
}
