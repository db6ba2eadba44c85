//! A configuration as values under dotted keys, and back.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Config;
use super::findings::MASKED;

/// Values under their dotted keys.
pub type Values = BTreeMap<String, Value>;

impl Config {
    /// The value of every key.
    pub fn values(&self) -> Values {
        let mut values = Values::new();
        // Plain data with texts for keys: there is nothing in it that could not be written.
        if let Ok(Value::Object(sections)) = serde_json::to_value(self) {
            flatten("", sections, &mut values);
        }
        values
    }

    /// The configuration of these values; keys without one have their defaults.
    ///
    /// # Errors
    /// When a value is of the wrong kind.
    pub fn of_values<'a>(values: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Result<Self, serde_json::Error> {
        let mut sections = Map::new();
        for (key, value) in values {
            insert(&mut sections, key, value.clone());
        }
        serde_json::from_value(Value::Object(sections))
    }
}

fn flatten(prefix: &str, map: Map<String, Value>, values: &mut Values) {
    for (name, value) in map {
        let key = dotted(prefix, &name);
        if let Value::Object(inner) = value {
            flatten(&key, inner, values);
        } else {
            values.insert(key, value);
        }
    }
}

fn insert(map: &mut Map<String, Value>, key: &str, value: Value) {
    let Some((section, rest)) = key.split_once('.') else {
        map.insert(key.to_owned(), value);
        return;
    };
    let inner = map
        .entry(section.to_owned())
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        insert(inner, rest, value);
    }
}

/// The name of something below a section; sections of the top are below nothing.
pub(super) fn dotted(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// A value as people write it, but for a user and a password in an address.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "unset".to_owned(),
        Value::String(text) => without_userinfo(text),
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// An address that does not say who calls it. What comes before the last `@` is hidden even where an address would be
/// over before that: somebody has perhaps not escaped a password.
fn without_userinfo(text: &str) -> String {
    let scheme = text.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = text.split_at(scheme);
    match rest.rsplit_once('@') {
        // Without a scheme it takes a colon for a password: `NAME@https://host` is a variable and its receiver.
        Some((user, address)) if !scheme.is_empty() || user.contains(':') => format!("{scheme}{MASKED}@{address}"),
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_survives_being_taken_apart() {
        let mut config = Config::default();
        config.server.port = 81;
        config.security.login.max_failures_user = 6;
        let values = config.values();
        assert_eq!(values["server.port"], json!(81));
        assert_eq!(values["security.login.max_failures_user"], json!(6));
        let pairs = values.iter().map(|(key, value)| (key.as_str(), value));
        let again = Config::of_values(pairs).unwrap();
        assert_eq!(again.values(), values);
    }

    #[test]
    fn values_are_shown_as_they_are_written() {
        for (value, text) in [
            (json!(null), "unset"),
            (json!("30s"), "30s"),
            (json!([]), "[]"),
            (json!(["a", "b"]), "a, b"),
            (json!(0.5), "0.5"),
        ] {
            assert_eq!(shown(&value), text);
        }
    }

    #[test]
    fn an_address_is_shown_without_who_calls_it() {
        for (text, expected) in [
            ("http://collector:4318", "http://collector:4318"),
            ("http://u:planted@collector:4318/x", "http://********@collector:4318/x"),
            ("https://planted@collector", "https://********@collector"),
            ("https://u:plan/ted@collector", "https://********@collector"),
            ("https://u:pl@nted@collector", "https://********@collector"),
            ("u:planted@collector:4318", "********@collector:4318"),
            ("TOKEN@https://hooks.example.org", "TOKEN@https://hooks.example.org"),
            ("somebody@example.org", "somebody@example.org"),
        ] {
            assert_eq!(shown(&json!(text)), expected);
            assert_eq!(shown(&json!([text, "b"])), format!("{expected}, b"));
        }
    }
}
