//! A recipient has read everything.

use shepherd_ports::context::Caller;

use crate::{Platform, UseCaseError};

/// Marks all that are unread by one statement.
///
/// # Errors
/// When the store fails.
pub async fn execute(platform: &Platform, caller: &Caller) -> Result<(), UseCaseError> {
    let mut uow = platform.begin().await?;
    uow.notifications()
        .mark_all_read(caller.subject.user(), platform.now())
        .await?;
    Ok(uow.commit().await?)
}
