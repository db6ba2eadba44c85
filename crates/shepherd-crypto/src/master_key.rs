//! A 32-byte key, its id, and the subkeys made from it.

use std::fmt;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::hkdf::{HKDF_SHA256, Salt};
use shepherd_ports::crypto::CipherError;
use zeroize::Zeroizing;

use crate::digest::sha256_hex;
use crate::random::random_bytes;

/// Bytes of a key.
const KEY_LEN: usize = 32;
/// Hex characters of a key id.
pub(crate) const ID_LEN: usize = 8;
/// More text than any spelling of a key has; longer ones are not looked at.
const MAX_TEXT: usize = 64;

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_TEXT: GeneralPurpose = GeneralPurpose::new(&STANDARD, ANY_PADDING);
const URL_SAFE_TEXT: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, ANY_PADDING);

/// What a subkey is for. A subkey says nothing about the master key or about the other subkeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Sealing of columns.
    Data,
    /// Console tokens.
    Vnc,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Data => b"data",
            Self::Vnc => b"vnc",
        }
    }
}

/// Why a text is not a key. It never says anything about the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither standard nor URL-safe base64.
    #[error("the key is not base64")]
    NotBase64,
    /// Base64 of another number of bytes than 32.
    #[error("the key does not have exactly 32 bytes")]
    WrongLength,
}

/// A 32-byte master key; overwritten when dropped, and printed as its id only.
pub struct MasterKey {
    bytes: Zeroizing<[u8; KEY_LEN]>,
    id: String,
}

impl MasterKey {
    /// Reads a key: standard or URL-safe base64, with or without padding, white space around it ignored.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.len() > MAX_TEXT {
            return Err(KeyError::WrongLength);
        }
        let mut decoded = Zeroizing::new([0; MAX_TEXT]);
        let engine = if text.contains(['-', '_']) {
            URL_SAFE_TEXT
        } else {
            STANDARD_TEXT
        };
        let length = engine
            .decode_slice(text, &mut decoded[..])
            .map_err(|_| KeyError::NotBase64)?;
        match decoded[..length].first_chunk() {
            Some(bytes) if length == KEY_LEN => Ok(Self::from_bytes(Zeroizing::new(*bytes))),
            Some(_) | None => Err(KeyError::WrongLength),
        }
    }

    /// A new random key.
    ///
    /// # Errors
    /// [`CipherError::Random`] when the operating system has no randomness.
    pub fn generate() -> Result<Self, CipherError> {
        Ok(Self::from_bytes(Zeroizing::new(random_bytes()?)))
    }

    /// A key from its bytes, as it was sealed; `None` when there are not 32.
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; KEY_LEN] = bytes.try_into().ok()?;
        Some(Self::from_bytes(Zeroizing::new(*bytes)))
    }

    /// The bytes, for sealing them.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..]
    }

    fn from_bytes(bytes: Zeroizing<[u8; KEY_LEN]>) -> Self {
        let mut id = sha256_hex(&bytes[..]);
        id.truncate(ID_LEN);
        Self { bytes, id }
    }

    /// The first eight hex characters of the key's SHA-256.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key as standard base64, for the one place that stores generated keys.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD_TEXT.encode(&self.bytes[..]))
    }

    /// The subkey for a purpose, by HKDF-SHA256.
    pub fn subkey(&self, purpose: Purpose) -> Zeroizing<[u8; KEY_LEN]> {
        let mut subkey = Zeroizing::new([0; KEY_LEN]);
        let filled = Salt::new(HKDF_SHA256, b"kubevirt-shepherd")
            .extract(&self.bytes[..])
            .expand(&[purpose.label()], HKDF_SHA256)
            .and_then(|material| material.fill(&mut subkey[..]));
        // HKDF fails above 255 blocks only, and this is one.
        assert!(filled.is_ok(), "HKDF-SHA256 gives 32 bytes");
        subkey
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MasterKey").field(&self.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_id_is_the_beginning_of_the_digest_and_never_changes() {
        let key = MasterKey::from_bytes(Zeroizing::new([0; KEY_LEN]));
        // SHA-256 of 32 zero bytes is 66687aadf862bd77...
        assert_eq!(key.id(), "66687aad");
    }

    #[test]
    fn subkeys_differ_by_purpose_and_by_key() {
        let one = MasterKey::from_bytes(Zeroizing::new([1; KEY_LEN]));
        let other = MasterKey::from_bytes(Zeroizing::new([2; KEY_LEN]));
        assert_eq!(*one.subkey(Purpose::Data), *one.subkey(Purpose::Data));
        assert_ne!(*one.subkey(Purpose::Data), *one.subkey(Purpose::Vnc));
        assert_ne!(*one.subkey(Purpose::Data), *other.subkey(Purpose::Data));
        assert_ne!(*one.subkey(Purpose::Data), *one.bytes);
    }
}
