//! What ended long ago leaves the default lists, and stays (requests.md §13).

use chrono::{DateTime, TimeDelta, Utc};
use shepherd_ports::upkeep::Archived;

use crate::{Platform, UseCaseError};

/// Rows of one transaction.
const BATCH: u32 = 1_000;

/// Archives events, tickets and batches; answers how many. A row that is archived is not looked at again, so a second run has
/// nothing to do.
pub(super) async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    let now = platform.now();
    let kept = TimeDelta::days(i64::from(platform.settings().upkeep.archive_days));
    // Nothing is older than that.
    let before = now
        .checked_sub_signed(kept)
        .filter(|before| *before > DateTime::UNIX_EPOCH);
    let Some(before) = before else { return Ok(0) };
    let mut archived = 0;
    for what in [Archived::Events, Archived::Tickets, Archived::Batches] {
        archived += archive(platform, what, before, now).await?;
    }
    Ok(archived)
}

async fn archive(
    platform: &Platform,
    what: Archived,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<u64, UseCaseError> {
    let mut archived = 0;
    loop {
        let mut uow = platform.begin().await?;
        let batch = uow.upkeep().archive(what, before, now, BATCH).await?;
        uow.commit().await?;
        archived += batch;
        if batch < u64::from(BATCH) {
            return Ok(archived);
        }
    }
}
