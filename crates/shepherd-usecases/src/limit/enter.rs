//! Whether one more batch may be submitted.

use shepherd_domain::ids::UserId;
use shepherd_domain::limit::{Submission, minute_of};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::UnitOfWork;

use super::configured;
use crate::{Platform, UseCaseError};

/// Lets a submission of `size` items in, before the items are looked at. It is counted in a transaction of its own,
/// so that refused attempts count as well; a replay that answers an earlier submission does not come here.
///
/// # Errors
/// RATE_LIMIT_EXCEEDED of the first limit that is exceeded, in the order of batch.md §2.
pub async fn enter(
    platform: &Platform,
    user: UserId,
    batch_type: RequestType,
    size: usize,
) -> Result<(), UseCaseError> {
    let mut uow = platform.begin().await?;
    let counted_at = platform.now();
    let this_minute = uow.limits().count_submission(minute_of(counted_at)).await?;
    uow.commit().await?;
    let standing = platform.read.limit_standing(user).await?;
    let submission = Submission {
        children: children(batch_type, size),
        this_minute: Some(this_minute),
    };
    // The moment of the count, so that the rest of the minute is the rest of the counted one.
    Ok(configured(&platform.settings().batch).check(submission, &standing, counted_at)?)
}

/// Counts again, within the transaction that writes the batch: from here to its end no other batch is accepted. It has
/// to come before everything else the transaction may wait for, else two submissions could wait for each other.
///
/// # Errors
/// RATE_LIMIT_EXCEEDED, as [`enter`]; the rate is not looked at again.
pub async fn hold(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    user: UserId,
    batch_type: RequestType,
    size: usize,
) -> Result<(), UseCaseError> {
    uow.limits().lock_submissions().await?;
    let standing = uow.limits().standing(user).await?;
    let submission = Submission {
        children: children(batch_type, size),
        this_minute: None,
    };
    // Read now: waiting for the lock may have taken a while.
    Ok(configured(&platform.settings().batch).check(submission, &standing, platform.now())?)
}

/// Items that count as open machines: those that are created or deleted.
fn children(batch_type: RequestType, size: usize) -> u32 {
    if batch_type == RequestType::BatchPower {
        0
    } else {
        u32::try_from(size).unwrap_or(u32::MAX)
    }
}
