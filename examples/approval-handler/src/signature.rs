//! What both sides prove themselves by: `sha256=` and the HMAC-SHA256 in hex of the timestamp, `.` and the raw body,
//! under a secret that both know. A signature is believed for five minutes either way.

use chrono::{DateTime, TimeDelta, Utc};
use ring::hmac;

const PREFIX: &str = "sha256=";
const WINDOW: TimeDelta = TimeDelta::minutes(5);

/// The shared secret.
pub(crate) struct Secret(hmac::Key);

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()))
    }

    /// The value of `X-Signature-256`.
    pub(crate) fn sign(&self, timestamp: &str, body: &[u8]) -> String {
        let tag = hmac::sign(&self.0, &message(timestamp, body));
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{PREFIX}{hex}")
    }

    /// Whether somebody who knows the secret signed this, and lately. Compares in constant time.
    pub(crate) fn believes(&self, timestamp: &str, signature: &str, body: &[u8], now: DateTime<Utc>) -> bool {
        let tag = signature.strip_prefix(PREFIX).and_then(unhex).unwrap_or_default();
        hmac::verify(&self.0, &message(timestamp, body), &tag).is_ok() && is_fresh(timestamp, now)
    }
}

fn message(timestamp: &str, body: &[u8]) -> Vec<u8> {
    [timestamp.as_bytes(), b".", body].concat()
}

fn is_fresh(timestamp: &str, now: DateTime<Utc>) -> bool {
    let seconds = timestamp.parse().ok();
    let sent = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    sent.is_some_and(|sent: DateTime<Utc>| (now - sent).abs() <= WINDOW)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMESTAMP: &str = "1700000000";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn the_signature_is_the_documented_one() {
        // echo -n '1700000000.{"test":true}' | openssl dgst -sha256 -hmac 'a secret of the board'
        let expected = "sha256=f88a325edfa075f914be347388703717c6778a2951e61a3f8a6356acc4c447a7";
        let secret = Secret::new("a secret of the board");
        assert_eq!(secret.sign(TIMESTAMP, br#"{"test":true}"#), expected);
    }

    #[test]
    fn nothing_else_is_believed() {
        let secret = Secret::new("a secret of the board");
        let signature = secret.sign(TIMESTAMP, b"{}");
        let now = at(1_700_000_000);
        assert!(secret.believes(TIMESTAMP, &signature, b"{}", now));
        assert!(!secret.believes(TIMESTAMP, &signature, b"{ }", now), "another body");
        assert!(!secret.believes("1700000001", &signature, b"{}", now), "another time");
        let other = Secret::new("another secret of nobody");
        assert!(!other.believes(TIMESTAMP, &signature, b"{}", now), "another secret");
        for broken in ["", "sha256=", "sha256=0", "sha256=zz", &signature[PREFIX.len()..]] {
            assert!(!secret.believes(TIMESTAMP, broken, b"{}", now), "{broken}");
        }
    }

    #[test]
    fn a_signature_ages() {
        let secret = Secret::new("a secret of the board");
        let signature = secret.sign(TIMESTAMP, b"");
        assert!(secret.believes(TIMESTAMP, &signature, b"", at(1_700_000_300)));
        assert!(!secret.believes(TIMESTAMP, &signature, b"", at(1_700_000_301)));
        assert!(!secret.believes(TIMESTAMP, &signature, b"", at(1_699_999_699)));
    }
}
