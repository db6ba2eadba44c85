//! What older keys sealed is sealed anew, and keys that seal nothing go.

use std::time::Duration;

use shepherd_ports::encryption_keys::SealedValue;

use crate::{Platform, UseCaseError};

/// Values per transaction.
const BATCH: u32 = 100;
/// A retired key stays this long, so that a replica that has not noticed the rotation yet can still seal.
pub const KEPT: Duration = Duration::from_secs(600);

/// Re-seals everything that other keys than the active one sealed, then removes retired keys that seal nothing any
/// more; answers how many values were re-sealed. May run on several replicas at once.
///
/// # Errors
/// When the store fails, or a value cannot be opened; the others are re-sealed all the same.
pub async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    let resealed = values(platform).await?;
    let kept = chrono::TimeDelta::from_std(KEPT).unwrap_or(chrono::TimeDelta::MAX);
    let mut uow = platform.begin().await?;
    let dropped = uow.encryption_keys().drop_unused(platform.now() - kept).await?;
    uow.commit().await?;
    if !dropped.is_empty() {
        tracing::info!(keys = ?dropped, "encryption keys that seal nothing were removed");
    }
    Ok(resealed)
}

/// Re-seals everything that other keys than the active one sealed.
///
/// # Errors
/// As [`execute`].
pub async fn values(platform: &Platform) -> Result<u64, UseCaseError> {
    super::reload(&*platform.keys, &*platform.read).await?;
    let active = platform.keys.active_id();
    let mut resealed = 0;
    let mut failure = None;
    let mut after = None;
    loop {
        let found = platform.read.sealed_by_others(&active, after.as_ref(), BATCH).await?;
        let Some(last) = found.last() else { break };
        after = Some(last.place.clone());
        let mut uow = platform.begin().await?;
        for value in &found {
            match reseal(platform, value).await {
                // A value that somebody replaced meanwhile was sealed by whoever did.
                Ok(sealed) => resealed += u64::from(uow.encryption_keys().reseal(value, &sealed).await?),
                Err(error) => {
                    let place = &value.place;
                    tracing::error!(table = place.table, column = place.column, row = %place.row, error = &error as &dyn std::error::Error, "a sealed value cannot be opened");
                    failure = Some(error);
                }
            }
        }
        uow.commit().await?;
    }
    failure.map_or(Ok(resealed), Err)
}

async fn reseal(platform: &Platform, value: &SealedValue) -> Result<shepherd_ports::crypto::Sealed, UseCaseError> {
    let opened = super::open(platform, &value.place, &value.bytes).await?;
    Ok(platform.cipher.seal(&value.place, &opened)?)
}
