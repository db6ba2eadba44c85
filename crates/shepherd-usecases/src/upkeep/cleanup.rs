//! What has had its time goes, in batches of a transaction each, so that nothing is locked for long.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use shepherd_ports::upkeep::Transient;

use super::{DAY, HOUR, PeriodicJob};
use crate::{Platform, UseCaseError};

/// Rows of one transaction.
const BATCH: u32 = 5_000;
/// How long a session is shown after its end (operations.md §9).
const ENDED_SESSIONS: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a run of the reconciler is shown after its end (operations.md §9).
const ENDED_RUNS: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a console grant is shown after its end (operations.md §9).
const ENDED_CONSOLES: Duration = Duration::from_secs(30 * 24 * 3600);

/// Removes old notifications, once per day: the run of a worker that starts and the one of the night are the same.
pub(super) async fn notifications(platform: &Platform) -> Result<u64, UseCaseError> {
    let now = platform.now();
    let last = platform
        .read
        .last_success(PeriodicJob::NotificationCleanup.as_str())
        .await?;
    if last.is_some_and(|last| last.date_naive() == now.date_naive()) {
        return Ok(0);
    }
    let kept = DAY * platform.settings().upkeep.notification_days;
    remove(platform, Transient::Notifications, ago(now, kept)).await
}

/// Removes ended sessions, attempts to log in and wrong names that no longer count, expired answers, the signs of
/// life of processes that are long gone, old runs of the reconciler and old console grants; erases one-time passwords nobody asked for.
pub(super) async fn tokens(platform: &Platform) -> Result<u64, UseCaseError> {
    let now = platform.now();
    let settings = platform.settings();
    let mut removed = 0;
    for (what, kept) in [
        (Transient::Sessions, ENDED_SESSIONS),
        // A wait may be longer than the window in which its reasons count.
        (Transient::LoginAttempts, settings.login.window.saturating_add(DAY)),
        (Transient::ConfirmationFailures, settings.confirmation.window),
        // They carry the time of their own end.
        (Transient::IdempotencyKeys, Duration::ZERO),
        (Transient::Heartbeats, DAY),
        (Transient::ReconcilerRuns, ENDED_RUNS),
        (Transient::ConsoleGrants, ENDED_CONSOLES),
    ] {
        removed += remove(platform, what, ago(now, kept)).await?;
    }
    removed += crate::console::proxy::end_lost(platform).await?;
    Ok(removed + crate::credential::erase::execute(platform).await?)
}

/// Removes exemptions from limits that have expired, which were ignored since, and the counts of past minutes.
pub(super) async fn limits(platform: &Platform) -> Result<u64, UseCaseError> {
    let now = platform.now();
    let exemptions = remove(platform, Transient::LimitExemptions, Some(now)).await?;
    Ok(exemptions + remove(platform, Transient::LimitCounters, ago(now, HOUR)).await?)
}

/// Removes jobs that were given up long ago; their tickets tell what became of them. Those of tickets that are stuck
/// stay.
pub(super) async fn dead_letters(platform: &Platform) -> Result<u64, UseCaseError> {
    let kept = platform.settings().upkeep.dead_letters;
    remove(platform, Transient::DeadLetters, ago(platform.now(), kept)).await
}

/// `None` when nothing can be that old.
fn ago(now: DateTime<Utc>, kept: Duration) -> Option<DateTime<Utc>> {
    let kept = TimeDelta::from_std(kept).ok()?;
    now.checked_sub_signed(kept)
        .filter(|before| *before > DateTime::UNIX_EPOCH)
}

async fn remove(platform: &Platform, what: Transient, before: Option<DateTime<Utc>>) -> Result<u64, UseCaseError> {
    let Some(before) = before else { return Ok(0) };
    let mut removed = 0;
    loop {
        let mut uow = platform.begin().await?;
        let batch = uow.upkeep().remove(what, before, BATCH).await?;
        uow.commit().await?;
        removed += batch;
        if batch < u64::from(BATCH) {
            return Ok(removed);
        }
    }
}
