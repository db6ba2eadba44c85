//! Digests as lower-case hex.

use ring::{digest, hmac};

/// HMAC-SHA256 of a text, as 64 hex characters.
///
/// Stands in for user names that do not exist and for e-mail addresses in records that outlive them: equal texts stay
/// equal, and without the key nobody can try names against the hash.
pub fn keyed_hash(key: &[u8], text: &str) -> String {
    hex(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref())
}

/// HMAC-SHA256 of some bytes, as 64 hex characters.
pub fn hmac_hex(key: &[u8], bytes: &[u8]) -> String {
    hex(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes).as_ref())
}

/// SHA-256 of some bytes, as 64 hex characters.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
