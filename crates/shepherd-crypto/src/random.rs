//! Random bytes and passwords from the operating system.

use ring::rand::{SecureRandom, SystemRandom};
use shepherd_ports::crypto::CipherError;
use zeroize::Zeroizing;

/// Letters and digits that nobody mistakes for one another when reading a password aloud or off a screen: no `0`, `O`,
/// `1`, `I` and `l`.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";

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
    let mut password = Zeroizing::new(String::with_capacity(length));
    while password.len() < length {
        let drawn = Zeroizing::new(random_bytes::<64>()?);
        let missing = length - password.len();
        password.extend(drawn.iter().filter_map(|byte| letter(*byte)).take(missing));
    }
    Ok(password)
}

/// The letter a random byte stands for. Bytes past the last whole round of the alphabet stand for none, because they
/// would make its first letters likelier than the rest.
fn letter(byte: u8) -> Option<char> {
    let even = 256 - 256 % ALPHABET.len();
    let byte = usize::from(byte);
    (byte < even).then(|| char::from(ALPHABET[byte % ALPHABET.len()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_letter_stands_for_the_same_number_of_bytes() {
        let mut bytes_per_letter: BTreeMap<char, usize> = BTreeMap::new();
        for letter in (0..=u8::MAX).filter_map(letter) {
            *bytes_per_letter.entry(letter).or_default() += 1;
        }
        assert_eq!(bytes_per_letter.len(), ALPHABET.len());
        assert!(bytes_per_letter.values().all(|bytes| *bytes == 256 / ALPHABET.len()));
    }

    #[test]
    fn no_letter_looks_like_another() {
        assert!(!ALPHABET.iter().any(|letter| b"0O1Il".contains(letter)));
    }
}
