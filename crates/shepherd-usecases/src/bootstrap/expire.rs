//! Bootstrap bindings end after a day.

use shepherd_ports::RequestContext;

use crate::{Platform, UseCaseError};

/// Removes Bootstrap bindings that have ended, with their records; answers how many.
///
/// # Errors
/// When the store fails.
pub async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    let now = platform.now();
    let context = RequestContext::system(super::ACTOR);
    let mut uow = platform.begin().await?;
    let ended = uow.roles().end_bootstrap(None, Some(now)).await?;
    if ended.is_empty() {
        return Ok(0);
    }
    super::record_end(platform, &mut *uow, &ended, &context, "expired", now).await?;
    uow.commit().await?;
    Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
}
