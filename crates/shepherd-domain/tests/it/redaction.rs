//! What is stored in audit rows and messages says no secrets (notifications-audit.md §7).

use proptest::prelude::*;
use serde_json::{Value, json};
use shepherd_domain::redaction::{Redacted, redact, redact_and_truncate, redact_text};

const REDACTED: &str = "[REDACTED]";

/// Words that make a key secret wherever they stand in it.
const SECRET_WORDS: [&str; 13] = [
    "password",
    "passwd",
    "secret",
    "token",
    "credential",
    "kubeconfig",
    "private_key",
    "api_key",
    "authorization",
    "cookie",
    "bind_password",
    "cloud_init",
    "user_data",
];

/// A JSON web token, as anybody may paste one.
const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,30}",
        Just(REDACTED.to_owned()),
        Just(format!("token={JWT}")),
        Just("postgres://shepherd:hunter2@db/shepherd".to_owned()),
        Just("Authorization: Bearer abcdefghijklmnopqrst".to_owned()),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,8}",
        prop::sample::select(SECRET_WORDS.to_vec()).prop_map(|word| format!("old_{word}")),
        prop::sample::select(SECRET_WORDS.to_vec()).prop_map(str::to_uppercase),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Whether a secret key anywhere has another value than nothing or the mark.
fn tells_a_secret(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, inner)| {
            let key = key.to_lowercase();
            let is_secret = SECRET_WORDS.iter().any(|word| key.contains(word));
            (is_secret && !inner.is_null() && inner != REDACTED) || tells_a_secret(inner)
        }),
        Value::Array(items) => items.iter().any(tells_a_secret),
        Value::String(text) => text.contains(JWT) || text.contains("hunter2"),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[test]
fn a_secret_key_may_be_spelled_in_many_ways() {
    for key in [
        "password",
        "newPassword",
        "NEW_PASSWORD",
        "bind-password",
        "client_secret",
        "clientSecret",
        "private_key",
        "privateKey",
        "Private-Key",
        "api_key",
        "apiKey",
        "APIKEY",
        "userData",
        "user_data_base64",
        "cloudInitNoCloud",
        "kubeconfig",
        "access_token",
        "Set-Cookie",
    ] {
        assert_eq!(redact(json!({key: {"a": 1}})), json!({key: REDACTED}), "{key}");
    }
}

#[test]
fn data_about_a_password_is_no_secret() {
    let value =
        json!({"force_password_change": true, "password_changed_at": "2027-01-15T08:00:00Z", "passage": "north"});
    assert_eq!(redact(value.clone()), value);
}

#[test]
fn a_token_is_noticed_whatever_stands_around_it() {
    for text in [
        JWT.to_owned(),
        format!("https://example.com/?access_token={JWT}&x=1"),
        format!("({JWT})"),
        format!("rejected {JWT}."),
        format!("{{\"id_token\":\"{JWT}\"}}"),
        format!("a;{JWT};b"),
        format!("{JWT}\n"),
    ] {
        assert_eq!(redact_text(&text), REDACTED, "{text}");
    }
}

#[test]
fn ordinary_texts_stay() {
    for text in [
        "",
        "eyJ",
        "eyJ.a",
        "v1.33.1",
        "registry.example.com/a/b:1.2",
        "mailto:a@example.com",
        "http://a:80/b@c",
    ] {
        assert_eq!(redact_text(text), text);
    }
}

#[test]
fn details_are_an_object_whatever_they_were() {
    assert_eq!(Redacted::new(json!("text")).into_value(), json!({"value": "text"}));
    assert_eq!(Redacted::new(json!([JWT])).into_value(), json!({"value": [REDACTED]}));
    assert_eq!(Redacted::new(Value::Null), Redacted::empty());
}

proptest! {
    #[test]
    fn redacting_twice_changes_nothing_more(value in value()) {
        let once = redact(value);
        prop_assert_eq!(redact(once.clone()), once);
    }

    #[test]
    fn no_secret_is_left(value in value()) {
        let redacted = Redacted::new(value).into_value();
        prop_assert!(!tells_a_secret(&redacted), "{}", redacted);
        prop_assert_eq!(Redacted::new(redacted.clone()).into_value(), redacted);
    }

    #[test]
    fn a_cut_text_was_redacted_before(before in "[a-z ]{0,20}", max in 0..80_usize) {
        let cut = redact_and_truncate(&format!("{before} {JWT}"), max);
        prop_assert!(REDACTED.starts_with(&cut), "{}", cut);
        prop_assert!(redact_and_truncate(&before, max).chars().count() <= max);
    }
}
