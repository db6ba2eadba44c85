//! Random bytes and passwords.

use shepherd_crypto::{random_bytes, random_password};

#[test]
fn random_bytes_differ() {
    assert_ne!(random_bytes::<16>().unwrap(), random_bytes::<16>().unwrap());
}

#[test]
fn a_password_has_the_wanted_length_and_no_ambiguous_letter() {
    for length in [0, 1, 24, 64, 200] {
        let password = random_password(length).unwrap();
        assert_eq!(password.len(), length);
        assert!(
            password
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() && !"0O1Il".contains(letter))
        );
    }
    assert_ne!(*random_password(24).unwrap(), *random_password(24).unwrap());
}
