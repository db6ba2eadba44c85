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

/// Whether a hex text is the HMAC-SHA256 of some bytes, compared in constant time.
pub fn is_hmac_hex(key: &[u8], bytes: &[u8], hex: &str) -> bool {
    let Some(tag) = unhex(hex) else { return false };
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes, &tag).is_ok()
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
        .collect();
    let digits = digits?;
    let pairs = digits.chunks_exact(2);
    let whole = pairs.remainder().is_empty();
    whole.then(|| pairs.map(|pair| (pair[0] << 4) | pair[1]).collect())
}

/// SHA-256 of some bytes, as 64 hex characters.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_its_key_and_its_bytes_only() {
        let signature = hmac_hex(b"key", b"1700000000.{}");
        assert!(is_hmac_hex(b"key", b"1700000000.{}", &signature));
        assert!(is_hmac_hex(b"key", b"1700000000.{}", &signature.to_uppercase()));
        assert!(!is_hmac_hex(b"other", b"1700000000.{}", &signature));
        assert!(!is_hmac_hex(b"key", b"1700000001.{}", &signature));
        for broken in [
            "",
            "0",
            "zz",
            "\u{e9}\u{e9}",
            &signature[..62],
            &format!("{signature}00"),
        ] {
            assert!(!is_hmac_hex(b"key", b"1700000000.{}", broken), "{broken}");
        }
    }
}
