//! Hashing and verifying. The hashes of the current parameters are slow on purpose, so few tests make one.

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use shepherd_identity::Argon2Hasher;
use shepherd_ports::authentication::PasswordHasher;
use zeroize::Zeroizing;

fn password(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

/// A hash of other parameters than the current ones, as an earlier version may have left it.
fn old_hash(algorithm: Algorithm, version: Version, memory_kib: u32, text: &str) -> String {
    let Ok(params) = Params::new(memory_kib, 1, 1, Some(32)) else {
        panic!("the parameters are valid")
    };
    let hash: Result<PasswordHash, _> =
        Argon2::new(algorithm, version, params).hash_password_with_salt(text.as_bytes(), &[7; 16]);
    match hash {
        Ok(hash) => hash.to_string(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_hash_carries_its_parameters_and_matches_its_password_only() {
    // No permits at all would wait for ever; the hasher keeps one.
    let hasher = Argon2Hasher::new(0).unwrap();
    let hash = hasher.hash(password(" Grüße, Jürgen ")).await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert!(!hasher.needs_rehash(&hash));
    assert!(
        hasher
            .verify(password(" Grüße, Jürgen "), Some(hash.clone()))
            .await
            .unwrap()
    );
    assert!(
        !hasher.verify(password("Grüße, Jürgen"), Some(hash)).await.unwrap(),
        "passwords are never trimmed"
    );
}

#[tokio::test]
async fn a_password_counts_to_its_last_byte_however_long_it_is() {
    let hasher = Argon2Hasher::new(Argon2Hasher::DEFAULT_CONCURRENCY).unwrap();
    // What bcrypt reads, what the policy allows, and what the login takes.
    for length in [72, 128, 1024] {
        let same = "a".repeat(length);
        let hash = hasher.hash(password(&format!("{same}b"))).await.unwrap();
        let verify = async |end: &str| {
            let given = password(&format!("{same}{end}"));
            hasher.verify(given, Some(hash.clone())).await.unwrap()
        };
        assert!(verify("b").await);
        assert!(!verify("c").await, "{length} bytes are the same");
        assert!(!verify("").await, "one byte is missing after {length}");
    }
}

#[tokio::test]
async fn equal_passwords_have_different_hashes() {
    let hasher = Argon2Hasher::new(Argon2Hasher::DEFAULT_CONCURRENCY).unwrap();
    let (one, other) = tokio::join!(hasher.hash(password("the same")), hasher.hash(password("the same")));
    assert_ne!(one.unwrap(), other.unwrap());
}

#[tokio::test]
async fn without_a_hash_no_password_matches() {
    let hasher = Argon2Hasher::new(1).unwrap();
    assert!(!hasher.verify(password(""), None).await.unwrap());
}

#[tokio::test]
async fn hashes_of_other_parameters_still_match_and_want_to_be_renewed() {
    let hasher = Argon2Hasher::new(1).unwrap();
    for hash in [
        old_hash(Algorithm::Argon2id, Version::V0x13, 64, "old password"),
        old_hash(Algorithm::Argon2i, Version::V0x13, 64, "old password"),
        old_hash(Algorithm::Argon2id, Version::V0x10, 64, "old password"),
    ] {
        assert!(hasher.needs_rehash(&hash), "{hash}");
        assert!(
            hasher
                .verify(password("old password"), Some(hash.clone()))
                .await
                .unwrap(),
            "{hash}"
        );
        assert!(!hasher.verify(password("new password"), Some(hash)).await.unwrap());
    }
}

#[tokio::test]
async fn a_text_that_is_no_hash_is_an_error_and_not_a_wrong_password() {
    let hasher = Argon2Hasher::new(1).unwrap();
    for text in [
        "",
        "plain",
        "$2b$12$abcdefghijklmnopqrstuv",
        "$argon2id$v=19$m=19456,t=2,p=1$%%%$%%%",
    ] {
        assert!(hasher.needs_rehash(text), "{text}");
        assert!(
            hasher
                .verify(password("anything"), Some(text.to_owned()))
                .await
                .is_err(),
            "{text}"
        );
    }
}
