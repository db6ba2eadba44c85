//! Passwords that nobody asked for in time go.

use crate::{Platform, UseCaseError};

/// Passwords of one transaction.
const BATCH: u32 = 500;

/// Erases passwords whose time is over; answers how many.
///
/// # Errors
/// When the store fails; batches before that stay erased.
pub(crate) async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    let mut erased = 0;
    loop {
        let mut uow = platform.begin().await?;
        let batch = uow.credentials().erase_expired(platform.now(), BATCH).await?;
        uow.commit().await?;
        erased += batch;
        if batch < u64::from(BATCH) {
            return Ok(erased);
        }
    }
}
