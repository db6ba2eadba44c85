//! The loaded keys: one seals, all open.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use shepherd_ports::crypto::{Cipher, CipherError, Sealed, SealedPlace};
use zeroize::Zeroizing;

use crate::digest::hex;
use crate::envelope::{Envelope, HEADER_LEN, associated_data, header};
use crate::master_key::{MasterKey, Purpose};
use crate::random::random_bytes;

/// A key that is ready for use. The master key behind it is gone.
struct LoadedKey {
    id: String,
    key: LessSafeKey,
}

impl LoadedKey {
    fn new(master: &MasterKey) -> Self {
        let Ok(key) = UnboundKey::new(&AES_256_GCM, &master.subkey(Purpose::Data)[..]) else {
            unreachable!("every 32 bytes are a key of AES-256");
        };
        Self {
            id: master.id().to_owned(),
            key: LessSafeKey::new(key),
        }
    }
}

/// Seals with the active key and opens with the active and the retired ones.
///
/// Nonces are random: up to 2^32 values sealed by one key, far more than the sealed columns of an installation ever
/// hold, two of them share a nonce with a probability below 2^-32.
pub struct KeyRing {
    active: LoadedKey,
    retired: Vec<LoadedKey>,
}

impl KeyRing {
    /// A ring that seals with `active`; the master keys are overwritten on the way.
    pub fn new(active: MasterKey, retired: Vec<MasterKey>) -> Self {
        Self {
            active: LoadedKey::new(&active),
            retired: retired.iter().map(LoadedKey::new).collect(),
        }
    }

    /// The id of the key that seals.
    pub fn active_id(&self) -> &str {
        &self.active.id
    }

    /// The ids of all keys that open, the active one first.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys().map(|key| key.id.as_str())
    }

    fn keys(&self) -> impl Iterator<Item = &LoadedKey> {
        std::iter::once(&self.active).chain(&self.retired)
    }
}

impl Cipher for KeyRing {
    fn seal(&self, place: &SealedPlace, value: &[u8]) -> Result<Sealed, CipherError> {
        let nonce = random_bytes()?;
        let mut bytes = header(&self.active.id, &nonce);
        // One allocation, so that no half-written copy of the value is left behind in freed memory.
        bytes.reserve_exact(value.len() + AES_256_GCM.tag_len());
        bytes.extend(value);
        let tag = self
            .active
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated_data(place)),
                &mut bytes[HEADER_LEN..],
            )
            // Only a value of more than 64 GiB is refused.
            .map_err(|_| CipherError::Malformed)?;
        bytes.extend(tag.as_ref());
        Ok(Sealed {
            bytes,
            key_id: self.active.id.clone(),
        })
    }

    fn open(&self, place: &SealedPlace, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CipherError> {
        let envelope = Envelope::parse(sealed).ok_or(CipherError::Malformed)?;
        if envelope.body.len() < AES_256_GCM.tag_len() {
            return Err(CipherError::Malformed);
        }
        let loaded = self
            .keys()
            .find(|key| key.id == envelope.key_id)
            .ok_or_else(|| CipherError::UnknownKey(envelope.key_id.to_owned()))?;
        let mut value = Zeroizing::new(envelope.body.to_vec());
        let length = loaded
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(envelope.nonce),
                Aad::from(associated_data(place)),
                value.as_mut_slice(),
            )
            .map_err(|_| CipherError::Rejected)?
            .len();
        value.truncate(length);
        Ok(value)
    }

    fn new_secret(&self) -> Result<Zeroizing<String>, CipherError> {
        let drawn = Zeroizing::new(random_bytes::<32>()?);
        Ok(Zeroizing::new(hex(drawn.as_slice())))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}
