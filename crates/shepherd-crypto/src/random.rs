//! Random bytes and passwords from the operating system.

use ring::rand::{SecureRandom, SystemRandom};
use shepherd_ports::crypto::CipherError;
use zeroize::Zeroizing;

/// Letters and digits that nobody mistakes for one another when reading a password aloud or off a screen: no `0`, `O`,
/// `1`, `I` and `l`.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
/// The same, with marks that need no quoting and look like nothing else: what a guest demands may include one.
const GUEST_ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789+=%@";
/// Upper case, lower case, digits, marks: a shorter password cannot have one of each.
const KINDS: usize = 4;

/// `N` random bytes.
///
/// # Errors
/// [`CipherError::Random`] when the operating system has none.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], CipherError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CipherError::Random)?;
    Ok(bytes)
}

/// A password of so many characters, each drawn evenly from 57 (5.8 bits a character).
///
/// # Errors
/// [`CipherError::Random`] when the operating system has no randomness.
pub fn random_password(length: usize) -> Result<Zeroizing<String>, CipherError> {
    draw(length, ALPHABET)
}

/// A password of so many characters, four at least, each drawn from 61, that has an upper-case letter, a lower-case
/// letter, a digit and a mark. Every such password is as likely as any other: one that lacks a kind is thrown away as a
/// whole.
///
/// # Errors
/// [`CipherError::Random`] when the operating system has no randomness.
pub fn random_guest_password(length: usize) -> Result<Zeroizing<String>, CipherError> {
    loop {
        let password = draw(length.max(KINDS), GUEST_ALPHABET)?;
        if has_every_kind(&password) {
            return Ok(password);
        }
    }
}

fn has_every_kind(password: &str) -> bool {
    let kinds: [fn(u8) -> bool; KINDS] = [
        |letter: u8| letter.is_ascii_uppercase(),
        |letter: u8| letter.is_ascii_lowercase(),
        |letter: u8| letter.is_ascii_digit(),
        |letter: u8| letter.is_ascii_punctuation(),
    ];
    kinds.iter().all(|is_of| password.bytes().any(is_of))
}

fn draw(length: usize, alphabet: &[u8]) -> Result<Zeroizing<String>, CipherError> {
    let mut password = Zeroizing::new(String::with_capacity(length));
    while password.len() < length {
        let drawn = Zeroizing::new(random_bytes::<64>()?);
        let missing = length - password.len();
        password.extend(drawn.iter().filter_map(|byte| letter(*byte, alphabet)).take(missing));
    }
    Ok(password)
}

/// The letter a random byte stands for. Bytes past the last whole round of the alphabet stand for none, because they
/// would make its first letters likelier than the rest.
fn letter(byte: u8, alphabet: &[u8]) -> Option<char> {
    let even = 256 - 256 % alphabet.len();
    let byte = usize::from(byte);
    (byte < even).then(|| char::from(alphabet[byte % alphabet.len()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_letter_stands_for_the_same_number_of_bytes() {
        for alphabet in [ALPHABET, GUEST_ALPHABET] {
            let mut bytes_per_letter: BTreeMap<char, usize> = BTreeMap::new();
            for letter in (0..=u8::MAX).filter_map(|byte| letter(byte, alphabet)) {
                *bytes_per_letter.entry(letter).or_default() += 1;
            }
            assert_eq!(bytes_per_letter.len(), alphabet.len());
            assert!(bytes_per_letter.values().all(|bytes| *bytes == 256 / alphabet.len()));
        }
    }

    #[test]
    fn no_letter_looks_like_another() {
        for alphabet in [ALPHABET, GUEST_ALPHABET] {
            assert!(!alphabet.iter().any(|letter| b"0O1Il|".contains(letter)));
        }
    }

    #[test]
    fn a_password_that_lacks_a_kind_is_recognised() {
        assert!(has_every_kind("aB3+"));
        for lacking in ["ab3+", "AB3+", "aBc+", "aB34", ""] {
            assert!(!has_every_kind(lacking), "{lacking}");
        }
    }
}
