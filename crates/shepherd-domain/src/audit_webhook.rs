//! Webhooks that audit rows are pushed to: what they let through, what their headers may hold, and when a failed push is
//! tried again.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};

use crate::environment::EnvironmentSet;

/// Most characters of a name.
pub const MAX_NAME: usize = 100;
/// Most characters of a URL.
pub const MAX_URL: usize = 2048;
/// Most action globs of one webhook.
pub const MAX_GLOBS: usize = 50;
/// Most headers of one webhook.
pub const MAX_HEADERS: usize = 20;
/// Most characters of a header's name.
pub const MAX_HEADER_NAME: usize = 64;
/// Most characters of a header's value.
pub const MAX_HEADER_VALUE: usize = 4096;
/// Fewest and most characters of a signing secret.
pub const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 16..=255;
/// How long pushes fail before the administrators hear of it.
pub const ALERT_AFTER: Duration = Duration::from_secs(3600);

const FIRST_RETRY: Duration = Duration::from_secs(10);
const LAST_RETRY: Duration = Duration::from_secs(900);

/// Headers that belong to the connection or to the platform.
const RESERVED_HEADERS: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-signature-256",
    "forwarded",
];
/// The same for all headers that begin so.
const RESERVED_PREFIXES: [&str; 3] = ["proxy-", "x-shepherd-", "x-forwarded-"];

/// How batches are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the methods of HTTP")]
pub enum WebhookMethod {
    #[default]
    Post,
    Put,
}

impl WebhookMethod {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Not a glob over actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("1 to 64 of a-z, 0-9, `_`, `.` and `*`")]
pub struct InvalidGlob;

/// Actions by a pattern: `*` stands for any text, everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ActionGlob(String);

impl ActionGlob {
    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ActionGlob {
    type Err = InvalidGlob;

    fn from_str(text: &str) -> Result<Self, InvalidGlob> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.*".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(known) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidGlob)
        }
    }
}

impl TryFrom<String> for ActionGlob {
    type Error = InvalidGlob;

    fn try_from(text: String) -> Result<Self, InvalidGlob> {
        text.parse()
    }
}

impl From<ActionGlob> for String {
    fn from(glob: ActionGlob) -> Self {
        glob.0
    }
}

/// Which rows are pushed; both must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushFilters {
    /// Rows whose action one of these matches; empty for every action.
    pub actions: Vec<ActionGlob>,
    /// Rows that carry one of these environments; empty for all rows, those without an environment too.
    pub environments: EnvironmentSet,
}

impl PushFilters {
    /// The environments that rows can come from.
    pub fn reach(&self) -> EnvironmentSet {
        if self.environments.is_empty() {
            EnvironmentSet::ALL
        } else {
            self.environments
        }
    }
}

/// Whether a webhook may set this header: a token of HTTP that neither the connection nor the platform sets.
pub fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let lower = name.to_ascii_lowercase();
    (1..=MAX_HEADER_NAME).contains(&name.len())
        && name.bytes().all(token)
        && !RESERVED_HEADERS.contains(&lower.as_str())
        && !RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
}

/// Not the value of a header, or a reference in it that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a header value, or not a reference of the form ${{ENV:NAME}}")]
pub struct InvalidHeaderValue;

/// A part of a header's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderPart<'a> {
    /// Stands for itself.
    Text(&'a str),
    /// The name of a variable of the server's environment.
    Variable(&'a str),
}

/// Takes a header's value apart: printable ASCII with references `${ENV:NAME}`.
///
/// # Errors
/// [`InvalidHeaderValue`] for other characters, blanks at the ends, and any other `${`.
pub fn header_parts(value: &str) -> Result<Vec<HeaderPart<'_>>, InvalidHeaderValue> {
    let printable = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if value.is_empty() || value.len() > MAX_HEADER_VALUE || !printable || value.trim() != value {
        return Err(InvalidHeaderValue);
    }
    let mut parts = Vec::new();
    let mut rest = value;
    while let Some((text, reference)) = rest.split_once("${") {
        let (name, after) = reference
            .strip_prefix("ENV:")
            .and_then(|named| named.split_once('}'))
            .filter(|(name, _)| is_variable_name(name))
            .ok_or(InvalidHeaderValue)?;
        if !text.is_empty() {
            parts.push(HeaderPart::Text(text));
        }
        parts.push(HeaderPart::Variable(name));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(HeaderPart::Text(rest));
    }
    Ok(parts)
}

/// Whether a variable of an environment can have this name.
pub fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// How long to wait after so many failures in a row: 10 s, then twice as long each time, 15 min at most.
pub fn retry_delay(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_RETRY.saturating_mul(1 << doublings).min(LAST_RETRY)
}
