//! A recipient has read a notification.

use shepherd_domain::ids::NotificationId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;

use crate::{Platform, UseCaseError};

/// Marks it. One that was read before keeps the time at which it was.
///
/// # Errors
/// NOTIFICATION_NOT_FOUND, also for a notification of somebody else.
pub async fn execute(platform: &Platform, caller: &Caller, id: NotificationId) -> Result<(), UseCaseError> {
    let mut uow = platform.begin().await?;
    let marked = uow
        .notifications()
        .mark_read(caller.subject.user(), id, platform.now())
        .await?;
    if !marked {
        return Err(Problem::not_found(ErrorCode::NotificationNotFound, id).into());
    }
    Ok(uow.commit().await?)
}
