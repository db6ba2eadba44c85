//! The bytes of a sealed value: version, key id, nonce, ciphertext, tag.

use ring::aead::NONCE_LEN;
use shepherd_ports::crypto::SealedPlace;

use crate::master_key::ID_LEN;

/// The only form there is so far.
const VERSION: u8 = 1;

/// An envelope taken apart. The tag is the end of `body`; opening it checks that there is one.
pub(crate) struct Envelope<'a> {
    pub(crate) key_id: &'a str,
    pub(crate) nonce: [u8; NONCE_LEN],
    pub(crate) body: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes an envelope apart, or `None` when the bytes cannot be one.
    pub(crate) fn parse(sealed: &'a [u8]) -> Option<Self> {
        let (version, rest) = sealed.split_first()?;
        let (key_id, rest) = rest.split_first_chunk::<ID_LEN>()?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
        let is_hex = key_id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if *version != VERSION || !is_hex {
            return None;
        }
        Some(Self {
            key_id: std::str::from_utf8(key_id).ok()?,
            nonce: *nonce,
            body,
        })
    }
}

/// The bytes before the ciphertext.
pub(crate) fn header(key_id: &str, nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    [[VERSION].as_slice(), key_id.as_bytes(), nonce.as_slice()].concat()
}

/// The authenticated place of a value. Every part carries its length, so that no two places read the same.
pub(crate) fn associated_data(place: &SealedPlace) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [place.table, place.column, place.row.as_str()] {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes
}
