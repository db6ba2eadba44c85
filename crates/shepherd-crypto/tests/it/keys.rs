//! Reading, making and printing of keys.

use shepherd_crypto::{KeyError, MasterKey, keyed_hash, sha256_hex};

/// 32 bytes of 0xfb, whose base64 differs between the two alphabets.
const STANDARD: &str = "+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=";
const URL_SAFE: &str = "-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s=";

#[test]
fn one_key_may_be_spelled_in_four_ways() {
    let expected = sha256_hex(&[0xfb; 32]);
    for text in [
        STANDARD,
        URL_SAFE,
        STANDARD.trim_end_matches('='),
        URL_SAFE.trim_end_matches('='),
        &format!(" {STANDARD}\n"),
    ] {
        assert_eq!(MasterKey::from_base64(text).unwrap().id(), &expected[..8], "{text}");
    }
}

#[test]
fn a_text_that_is_no_key_is_refused() {
    for (text, error) in [
        ("", KeyError::WrongLength),
        ("c2hvcnQ=", KeyError::WrongLength),
        ("A".repeat(42).as_str(), KeyError::WrongLength),
        ("A".repeat(44).as_str(), KeyError::WrongLength),
        ("A".repeat(64).as_str(), KeyError::WrongLength),
        ("A".repeat(400).as_str(), KeyError::WrongLength),
        ("not base64 at all", KeyError::NotBase64),
        ("+/v7-_v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=", KeyError::NotBase64),
        ("ключ", KeyError::NotBase64),
    ] {
        assert_eq!(MasterKey::from_base64(text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn a_generated_key_survives_being_stored() {
    let key = MasterKey::generate().unwrap();
    let read = MasterKey::from_base64(&key.to_base64()).unwrap();
    assert_eq!(read.id(), key.id());
    assert_ne!(MasterKey::generate().unwrap().id(), key.id());
}

#[test]
fn printing_a_key_shows_its_id_only() {
    let key = MasterKey::from_base64(STANDARD).unwrap();
    assert_eq!(format!("{key:?}"), format!("MasterKey({:?})", key.id()));
}

#[test]
fn the_digests_are_those_of_the_standards() {
    assert_eq!(
        sha256_hex(b"abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    // Test case 2 of RFC 4231.
    assert_eq!(
        keyed_hash(b"Jefe", "what do ya want for nothing?"),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}
