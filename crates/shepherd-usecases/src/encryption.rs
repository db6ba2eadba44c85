//! Encryption keys and their rotation.
//!
//! A rotation makes a new data key, which seals from then on, and re-seals what older keys sealed, a batch at a time,
//! while everything goes on. Replicas learn of keys by NOTIFY and by looking again; one that meets a value of a key it
//! does not hold yet looks at once.

pub mod change_root;
pub mod reencrypt;
pub mod rotate;

use shepherd_ports::crypto::{Cipher, CipherError, KeyStore, SealedPlace};
use shepherd_ports::encryption_keys::EncryptionKeyQueries;
use zeroize::Zeroizing;

use crate::{Platform, UseCaseError};

/// Holds the keys that are stored now.
///
/// # Errors
/// When the store fails or a stored key cannot be opened with the installation's own one.
pub async fn reload(keys: &dyn KeyStore, stored: &dyn EncryptionKeyQueries) -> Result<(), UseCaseError> {
    Ok(keys.install(&stored.stored_keys().await?)?)
}

/// Opens a sealed value; a key that is not held yet is looked for once.
///
/// # Errors
/// When it cannot be opened, or the store fails.
pub async fn open(platform: &Platform, place: &SealedPlace, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, UseCaseError> {
    open_with(&*platform.cipher, &*platform.keys, &*platform.read, place, sealed).await
}

/// As [`open`], for adapters that have no platform.
///
/// # Errors
/// As [`open`].
pub async fn open_with(
    cipher: &dyn Cipher,
    keys: &dyn KeyStore,
    stored: &dyn EncryptionKeyQueries,
    place: &SealedPlace,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, UseCaseError> {
    match cipher.open(place, sealed) {
        Err(CipherError::UnknownKey(_)) => {
            reload(keys, stored).await?;
            Ok(cipher.open(place, sealed)?)
        }
        opened => Ok(opened?),
    }
}
