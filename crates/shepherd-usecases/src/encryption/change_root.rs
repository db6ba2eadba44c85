//! The installation gets another key of its own: afterwards ENCRYPTION_KEY says which, and the old one opens nothing.

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::RequestContext;
use shepherd_ports::crypto::{CipherError, StoredKey};

use super::{reencrypt, rotate};
use crate::{Platform, UseCaseError};

/// Seals stored keys under the new key of the installation. The platform itself holds the old one.
pub trait Rewrap: Send + Sync {
    /// The stored form of a data key under the new key.
    ///
    /// # Errors
    /// When the data key cannot be opened.
    fn rewrap(&self, stored: &StoredKey) -> Result<Vec<u8>, CipherError>;
    /// Id of the new key.
    fn root_id(&self) -> &str;
}

/// Changes the key. Values that the old key sealed itself move to a data key first, which every running replica can
/// open; only then is that data key sealed under the new one. Running replicas go on with the keys they hold, and need
/// the new ENCRYPTION_KEY when they start again.
///
/// # Errors
/// KEY_ROTATION_RUNNING, and whatever [`reencrypt`] fails with. Until the last transaction nothing needs the new key;
/// after a failure the command is run again.
pub async fn execute(platform: &Platform, new: &dyn Rewrap) -> Result<(), UseCaseError> {
    super::reload(&*platform.keys, &*platform.read).await?;
    if platform.keys.active_id() == platform.keys.root_id() {
        rotate::by_command(platform).await?;
    }
    reencrypt::values(platform).await?;
    let active = platform.keys.active_id();
    let now = platform.now();
    let mut uow = platform.begin().await?;
    // Nobody rotates from here on; a key that is dropped can seal nothing any more, by the foreign keys.
    uow.encryption_keys().take_turn().await?;
    uow.encryption_keys()
        .drop_unused(now + chrono::TimeDelta::days(1))
        .await?;
    let stored = uow.encryption_keys().take_turn().await?;
    let [key] = &stored[..] else {
        // Somebody sealed with an old key, or rotated, since the values were sealed anew.
        let other = stored.iter().find(|key| key.key_id != active);
        return Err(Problem::new(ErrorCode::KeyRotationRunning)
            .with("key_id", other.map_or(active.as_str(), |key| key.key_id.as_str()))
            .into());
    };
    if key.key_id != active {
        return Err(Problem::new(ErrorCode::KeyRotationRunning)
            .with("key_id", key.key_id.as_str())
            .into());
    }
    uow.encryption_keys().rewrap(&key.key_id, &new.rewrap(key)?).await?;
    uow.encryption_keys().forget_stored_root().await?;
    let entry = AuditEntry::new(AuditAction::EncryptionKeyRotate, "encryption_key", new.root_id())
        .details(json!({"key_id": new.root_id(), "replaces": platform.keys.root_id(), "installation": true}));
    platform
        .audit(&mut *uow, &RequestContext::system("keys"), now, [entry])
        .await?;
    Ok(uow.commit().await?)
}
