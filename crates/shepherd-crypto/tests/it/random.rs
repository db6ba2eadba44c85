//! Random bytes and passwords.

use shepherd_crypto::{random_bytes, random_guest_password, random_password};

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

#[test]
fn the_password_of_a_guest_has_a_letter_of_every_kind() {
    for length in [4, 20, 64] {
        let password = random_guest_password(length).unwrap();
        assert_eq!(password.len(), length);
        assert!(!password.contains(['0', 'O', '1', 'I', 'l']), "{length} letters");
        let has = |kind: fn(&char) -> bool| password.chars().any(|letter| kind(&letter));
        assert!(
            has(char::is_ascii_uppercase)
                && has(char::is_ascii_lowercase)
                && has(char::is_ascii_digit)
                && has(char::is_ascii_punctuation)
        );
    }
    assert_eq!(
        random_guest_password(0).unwrap().len(),
        4,
        "the shortest that has one of each"
    );
}
