//! Redaction by type: whatever is stored in audit rows, messages or logs passes through here first.

use serde_json::{Map, Value};

const REDACTED: &str = "[REDACTED]";

/// Parts of key names whose values are never stored.
const SECRET_KEYS: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "credential",
    "kubeconfig",
    "private_key",
    "api_key",
    "apikey",
    "authorization",
    "cookie",
    "client_secret",
    "bind_password",
    "cloud_init",
    "user_data",
];

/// Values that went through redaction. There is no other way to make one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redacted(Map<String, Value>);

impl Redacted {
    /// Nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Redacts a JSON object; anything else becomes `{"value": ..}`.
    pub fn new(value: Value) -> Self {
        match redact(value) {
            Value::Object(map) => Self(map),
            Value::Null => Self::empty(),
            other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                Self(Map::from_iter([("value".to_owned(), other)]))
            }
        }
    }

    /// The redacted object.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// Replaces secret values by key and by shape, at any depth.
pub fn redact(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| {
                    if is_secret_key(&key) && !value.is_null() {
                        (key, Value::from(REDACTED))
                    } else {
                        (key, redact(value))
                    }
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(redact).collect()),
        Value::String(text) => Value::String(redact_text(&text)),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_)) => scalar,
    }
}

/// The text, or `[REDACTED]` when any part of it looks like a secret.
pub fn redact_text(text: &str) -> String {
    if looks_secret(text) {
        REDACTED.to_owned()
    } else {
        text.to_owned()
    }
}

/// The text redacted and cut to at most `max` characters.
pub fn redact_and_truncate(text: &str, max: usize) -> String {
    redact_text(text).chars().take(max).collect()
}

fn is_secret_key(key: &str) -> bool {
    // `userData`, `User-Data` and `user_data` are one key.
    let plain = |text: &str| {
        text.chars()
            .filter(|c| !matches!(c, '_' | '-'))
            .collect::<String>()
            .to_ascii_lowercase()
    };
    let normal = plain(key);
    // A count of tokens or a flag about a password is data, not a secret; ids and times are too.
    let harmless = ["forcepasswordchange", "passwordchangedat"];
    !harmless.contains(&normal.as_str()) && SECRET_KEYS.iter().any(|secret| normal.contains(&plain(secret)))
}

/// PEM blocks, JWTs, connection strings with credentials and bearer headers.
fn looks_secret(text: &str) -> bool {
    text.contains("-----BEGIN ")
        || contains_bearer(text)
        || text
            .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
            .any(|word| is_jwt(word.trim_matches('.')))
        || text
            .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ','))
            .any(is_connection_string)
}

fn contains_bearer(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.match_indices("bearer ").any(|(at, found)| {
        lower[at + found.len()..]
            .split_whitespace()
            .next()
            .is_some_and(|word| word.len() >= 16)
    })
}

fn is_jwt(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let base64url = |part: &&str| {
        part.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    parts.len() == 3 && word.starts_with("eyJ") && parts.iter().all(base64url)
}

fn is_connection_string(word: &str) -> bool {
    word.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .is_some_and(|(user_info, _)| user_info.contains(':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_replaced_by_key_at_any_depth() {
        let redacted =
            redact(json!({"name": "a", "nested": [{"Client-Secret": "x", "user_data": {"a": 1}}], "password": null}));
        assert_eq!(
            redacted,
            json!({"name": "a", "nested": [{"Client-Secret": "[REDACTED]", "user_data": "[REDACTED]"}], "password": null})
        );
    }

    #[test]
    fn secrets_are_replaced_by_shape() {
        for secret in [
            "-----BEGIN PRIVATE KEY-----\nabc",
            "failed with eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln here",
            "postgres://shepherd:hunter2@db/shepherd",
            "Authorization: Bearer abcdefghijklmnopqrst",
        ] {
            assert_eq!(redact_text(secret), "[REDACTED]", "{secret}");
        }
    }

    #[test]
    fn ordinary_texts_stay() {
        for text in [
            "https://example.com/a@b",
            "the bearer of news",
            "3.2.1",
            "a.b.c",
            "0/3 nodes are available",
        ] {
            assert_eq!(redact_text(text), text);
        }
    }
}
