//! The keys of an installation: its own one, and the data keys that are stored sealed under it.
//!
//! One key seals, all open. An installation that has never rotated seals with its own key; a rotation adds a data key,
//! and from then on the installation's key seals data keys only.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use shepherd_ports::crypto::{Cipher, CipherError, KeyStore, Sealed, SealedPlace, StoredKey};
use zeroize::Zeroizing;

use crate::digest::hex;
use crate::envelope::{Envelope, associated_data, header};
use crate::master_key::{MasterKey, Purpose};
use crate::random::{random_bytes, random_guest_password};

/// A key that is ready for use. The master key behind it is gone.
pub(crate) struct LoadedKey {
    pub(crate) id: String,
    data: LessSafeKey,
    pub(crate) vnc: LessSafeKey,
}

impl LoadedKey {
    fn new(master: &MasterKey) -> Self {
        let subkey = |purpose| {
            let Ok(key) = UnboundKey::new(&AES_256_GCM, &master.subkey(purpose)[..]) else {
                unreachable!("every 32 bytes are a key of AES-256");
            };
            LessSafeKey::new(key)
        };
        Self {
            id: master.id().to_owned(),
            data: subkey(Purpose::Data),
            vnc: subkey(Purpose::Vnc),
        }
    }

    fn seal(&self, place: &SealedPlace, value: &[u8]) -> Result<Sealed, CipherError> {
        let nonce = random_bytes()?;
        let header = header(&self.id, &nonce);
        let bytes = seal_after(&self.data, nonce, header, &associated_data(place), value)?;
        Ok(Sealed {
            bytes,
            key_id: self.id.clone(),
        })
    }

    fn open(&self, place: &SealedPlace, envelope: &Envelope<'_>) -> Result<Zeroizing<Vec<u8>>, CipherError> {
        open_body(&self.data, envelope.nonce, &associated_data(place), envelope.body)
    }
}

/// Appends the ciphertext of a value and its tag to what comes before them.
pub(crate) fn seal_after(
    key: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    mut bytes: Vec<u8>,
    associated_data: &[u8],
    value: &[u8],
) -> Result<Vec<u8>, CipherError> {
    let start = bytes.len();
    // One allocation, so that no half-written copy of the value is left behind in freed memory.
    bytes.reserve_exact(value.len() + AES_256_GCM.tag_len());
    bytes.extend(value);
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated_data),
            &mut bytes[start..],
        )
        // Only a value of more than 64 GiB is refused.
        .map_err(|_| CipherError::Malformed)?;
    bytes.extend(tag.as_ref());
    Ok(bytes)
}

/// Opens a ciphertext with its tag.
pub(crate) fn open_body(
    key: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    associated_data: &[u8],
    body: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CipherError> {
    if body.len() < AES_256_GCM.tag_len() {
        return Err(CipherError::Malformed);
    }
    let mut value = Zeroizing::new(body.to_vec());
    let length = key
        .open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated_data),
            value.as_mut_slice(),
        )
        .map_err(|_| CipherError::Rejected)?
        .len();
    value.truncate(length);
    Ok(value)
}

/// Seals with the active key and opens with every key it holds.
///
/// Nonces are random: up to 2^32 values sealed by one key, far more than the sealed columns of an installation ever
/// hold, two of them share a nonce with a probability below 2^-32.
pub struct KeyRing {
    root: Arc<LoadedKey>,
    held: RwLock<Arc<Held>>,
}

/// The keys of one moment.
struct Held {
    active: Arc<LoadedKey>,
    data: Vec<Arc<LoadedKey>>,
}

impl KeyRing {
    /// The ring of an installation without data keys: its own key seals. The master key is overwritten on the way.
    pub fn new(root: MasterKey) -> Self {
        let root = Arc::new(LoadedKey::new(&root));
        let held = Held {
            active: Arc::clone(&root),
            data: Vec::new(),
        };
        Self {
            root,
            held: RwLock::new(Arc::new(held)),
        }
    }

    /// Seals a stored data key, which this ring can open, under another key of the installation.
    ///
    /// # Errors
    /// When the data key cannot be opened.
    pub fn rewrap(&self, stored: &StoredKey, root: &MasterKey) -> Result<Vec<u8>, CipherError> {
        let place = material_place(&stored.key_id);
        let material = self.root.open(&place, &envelope_of(&self.root, stored)?)?;
        Ok(LoadedKey::new(root).seal(&place, &material)?.bytes)
    }

    /// The key that seals.
    pub(crate) fn active(&self) -> Arc<LoadedKey> {
        Arc::clone(&self.held().active)
    }

    /// The key with this id, whatever became of it.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<LoadedKey>, CipherError> {
        let held = self.held();
        let found = held.data.iter().chain([&self.root]).find(|key| key.id == id);
        found.cloned().ok_or_else(|| CipherError::UnknownKey(id.to_owned()))
    }

    fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn load(&self, stored: &StoredKey, held: &Held) -> Result<Arc<LoadedKey>, CipherError> {
        if stored.key_id == self.root.id {
            return Ok(Arc::clone(&self.root));
        }
        if let Some(known) = held.data.iter().find(|key| key.id == stored.key_id) {
            return Ok(Arc::clone(known));
        }
        let envelope = envelope_of(&self.root, stored)?;
        let material = self.root.open(&material_place(&stored.key_id), &envelope)?;
        let master = MasterKey::from_slice(&material).ok_or(CipherError::Malformed)?;
        if master.id() != stored.key_id {
            return Err(CipherError::Rejected);
        }
        Ok(Arc::new(LoadedKey::new(&master)))
    }
}

/// The envelope of a stored data key, if this key of the installation sealed it.
fn envelope_of<'a>(root: &LoadedKey, stored: &'a StoredKey) -> Result<Envelope<'a>, CipherError> {
    let Some(material) = &stored.material else {
        return Err(CipherError::UnknownKey(stored.key_id.clone()));
    };
    let envelope = Envelope::parse(material).ok_or(CipherError::Malformed)?;
    if envelope.key_id == root.id {
        Ok(envelope)
    } else {
        Err(CipherError::UnknownKey(envelope.key_id.to_owned()))
    }
}

fn material_place(key_id: &str) -> SealedPlace {
    SealedPlace {
        table: "encryption_keys",
        column: "sealed_material",
        row: key_id.to_owned(),
    }
}

impl Cipher for KeyRing {
    fn seal(&self, place: &SealedPlace, value: &[u8]) -> Result<Sealed, CipherError> {
        self.held().active.seal(place, value)
    }

    fn open(&self, place: &SealedPlace, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CipherError> {
        let envelope = Envelope::parse(sealed).ok_or(CipherError::Malformed)?;
        let key = self.find(envelope.key_id)?;
        key.open(place, &envelope)
    }

    fn new_secret(&self) -> Result<Zeroizing<String>, CipherError> {
        let drawn = Zeroizing::new(random_bytes::<32>()?);
        Ok(Zeroizing::new(hex(drawn.as_slice())))
    }

    fn new_password(&self, length: usize) -> Result<Zeroizing<String>, CipherError> {
        random_guest_password(length)
    }
}

impl KeyStore for KeyRing {
    fn root_id(&self) -> String {
        self.root.id.clone()
    }

    fn active_id(&self) -> String {
        self.held().active.id.clone()
    }

    fn generate(&self) -> Result<StoredKey, CipherError> {
        let master = MasterKey::generate()?;
        let sealed = self.root.seal(&material_place(master.id()), master.bytes())?;
        Ok(StoredKey {
            key_id: master.id().to_owned(),
            active: true,
            material: Some(sealed.bytes),
        })
    }

    fn opens(&self, stored: &StoredKey) -> bool {
        let sealed_by = match &stored.material {
            Some(material) => Envelope::parse(material).map(|envelope| envelope.key_id),
            None => Some(stored.key_id.as_str()),
        };
        sealed_by == Some(self.root.id.as_str())
    }

    fn install(&self, keys: &[StoredKey]) -> Result<(), CipherError> {
        let before = self.held();
        let mut data = Vec::new();
        let mut active = Arc::clone(&self.root);
        for stored in keys {
            let key = self.load(stored, &before)?;
            if stored.active {
                active = Arc::clone(&key);
            }
            if key.id != self.root.id {
                data.push(key);
            }
        }
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Held { active, data });
        Ok(())
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held();
        let ids = held.data.iter().chain([&self.root]).map(|key| &key.id);
        f.debug_list().entries(ids).finish()
    }
}
