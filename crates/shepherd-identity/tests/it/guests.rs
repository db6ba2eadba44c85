//! Hashes of the passwords of guests, as crypt(3) reads them.

use sha_crypt::{PasswordVerifier as _, ShaCrypt};
use shepherd_identity::Sha512CryptHasher;
use shepherd_ports::authentication::GuestPasswordHasher as _;
use zeroize::Zeroizing;

const PASSWORD: &str = "Hello+World%20";

fn matches(password: &str, hash: &str) -> bool {
    ShaCrypt::SHA512.verify_password(password.as_bytes(), hash).is_ok()
}

#[tokio::test]
async fn a_guest_can_check_the_password_and_no_two_hashes_are_alike() {
    let hasher = Sha512CryptHasher::default();
    let hash = hasher.hash(Zeroizing::new(PASSWORD.to_owned())).await.unwrap();
    let fields: Vec<&str> = hash.split('$').collect();
    let ["", "6", "rounds=5000", salt, digest] = fields[..] else {
        panic!("not the fields of SHA-512-crypt: {hash}");
    };
    // A guest compares texts, and writes no more than 16 letters of the salt.
    assert_eq!((salt.len(), digest.len()), (16, 86), "{hash}");
    assert!(matches(PASSWORD, &hash));
    assert!(!matches("Hello+World%2", &hash));

    let again = hasher.hash(Zeroizing::new(PASSWORD.to_owned())).await.unwrap();
    assert_ne!(hash, again);
}

#[test]
fn a_hash_that_another_program_made_is_read_the_same_way() {
    // openssl passwd -6 -salt abcdefghijklmnop
    let theirs =
        "$6$abcdefghijklmnop$jzMva55VTLOAVi/hPr7piRBOiHqwSEgrtukF8vOk72QewyXz5aQ87K.Ojyn9BMrEsIwlAMRrIgFdSX/EW8EE7.";
    assert!(matches(PASSWORD, theirs));
}
