//! Redaction by type: whatever is stored in audit rows, messages or logs passes through here first.

use serde_json::{Map, Value};

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "[REDACTED]";

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
    redact_text(text)
        .chars()
        .map(|one| if one == '\0' { char::REPLACEMENT_CHARACTER } else { one })
        .take(max)
        .collect()
}

/// Whether a key is one of those whose values are never shown.
pub(crate) fn is_secret_key(key: &str) -> bool {
    // `userData`, `User-Data`, `user.data` and `user_data` are one key.
    let plain = |text: &str| {
        text.chars()
            .filter(|c| !matches!(c, '_' | '-' | '.' | ' '))
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
        || contains_authorization(text)
        || text
            .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
            .any(|word| is_jwt(word.trim_matches('.')))
        || text
            .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ','))
            .any(is_connection_string)
}

/// A bearer token that is long enough to be one, or anything at all in the header that carries it.
fn contains_authorization(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let word_after = |marker: &str, least: usize| {
        lower.match_indices(marker).any(|(at, found)| {
            lower[at + found.len()..]
                .split_whitespace()
                .next()
                .is_some_and(|word| word.len() >= least)
        })
    };
    word_after("bearer ", 16) || word_after("bearer\t", 16) || word_after("authorization:", 1)
}

/// Signed (three parts), encrypted (five), or cut off after its claims, which begin as its header does.
fn is_jwt(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let base64url = |part: &&str| {
        part.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let has_claims = || parts.get(1).is_some_and(|claims| claims.starts_with("eyJ"));
    word.starts_with("eyJ")
        && (matches!(parts.len(), 3 | 5) || (parts.len() == 2 && has_claims()))
        && parts.iter().all(base64url)
}

/// A URL with a password, also one that was not escaped; or a part of a list of settings.
fn is_connection_string(word: &str) -> bool {
    has_password_in_url(word) || word.contains("@tcp(") || is_password_setting(word)
}

fn has_password_in_url(word: &str) -> bool {
    let Some((_, rest)) = word.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((user_info, _)) = authority.rsplit_once('@') {
        return user_info.contains(':');
    }
    // A `/` in a password ends the authority too early. What stands between `:` and `/` is a port otherwise.
    let is_port = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !authority.starts_with('[')
        && rest.contains('@')
        && authority.split_once(':').is_some_and(|(_, port)| !is_port(port))
}

/// `password=...`, as PostgreSQL, ODBC and ADO write it.
fn is_password_setting(word: &str) -> bool {
    word.split(';').any(|setting| {
        setting.split_once('=').is_some_and(|(key, value)| {
            let key = key.to_ascii_lowercase();
            !value.is_empty() && ["password", "passwd", "pwd"].iter().any(|name| key.ends_with(name))
        })
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
    fn every_word_of_the_specification_is_secret_at_any_depth_and_in_any_spelling() {
        for word in SECRET_KEYS {
            for key in [
                word.to_uppercase(),
                word.replace('_', "-"),
                word.replace('_', ""),
                word.replace('_', " "),
                word.replace('_', "."),
                format!("x-{word}-2"),
            ] {
                let value = json!({"a": [[{"b": [{&key: ["hunter2", {"c": 1}]}]}]]});
                let expected = json!({"a": [[{"b": [{&key: "[REDACTED]"}]}]]});
                assert_eq!(redact(value), expected, "{key}");
            }
        }
    }

    #[test]
    fn secrets_are_replaced_by_shape() {
        for secret in [
            "-----BEGIN PRIVATE KEY-----\nabc",
            "failed with eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln here",
            "postgres://shepherd:hunter2@db/shepherd",
            "Authorization: Bearer abcdefghijklmnopqrst",
            "curl -H 'authorization: Basic YTpi' failed",
            "sent bearer\tabcdefghijklmnopqrst",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
            "eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn",
            "redis://:hunter2@cache:6379",
            "postgres://shepherd:hun/ter2@db/shepherd",
            "cannot open shepherd:hunter2@tcp(db:3306)/shepherd",
            "host=db user=shepherd password=hunter2 dbname=shepherd",
            "Server=db;Uid=shepherd;Pwd=hunter2;",
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
            "http://[fe80::1]/path@here",
            "https://db:5432/a@b",
            "authorization failed",
            "password=",
        ] {
            assert_eq!(redact_text(text), text);
        }
    }
}
