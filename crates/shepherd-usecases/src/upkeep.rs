//! What happens by itself: periodic jobs, each once per period over all replicas (operations.md §6).
//!
//! The queue's cron decides when; here stands what. A job that fails is left to its next period. Each may run twice, at
//! any point and on any replica: what must happen once per period is guarded by the rows themselves.

mod archive;
mod cleanup;
mod reminder;
mod review;
mod watchdog;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shepherd_ports::queue::{PeriodicJobHandler, PeriodicSchedule};
use strum::{Display, EnumIter, EnumString, IntoEnumIterator, IntoStaticStr};

use crate::{Platform, UseCaseError};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is done periodically.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum PeriodicJob {
    /// Removes notifications past `notifications.retention_days`; once per day, also at the start of a worker.
    NotificationCleanup,
    /// Reminds approvers of tickets that wait for `approvals.reminder_days`.
    ApprovalReminder,
    /// Archives events and tickets `events.archive_after_days` after their end.
    Archive,
    /// Removes what was about sessions and limits and is of no use any more.
    TokenCleanup,
    /// Removes exemptions from limits that have expired, and what was counted for limits long ago.
    ExemptionPurge,
    /// Removes jobs that were given up `queue.dead_letter_retention` ago.
    DeadLetterCleanup,
    /// Ends memberships that have expired.
    MembershipExpiry,
    /// Ends role bindings that have expired.
    BindingExpiry,
    /// Ends Bootstrap bindings after their time.
    BootstrapExpiry,
    /// Removes audit rows past their retention, when `audit.purge_enabled` says so.
    AuditPurge,
    /// Tells platform administrators how many of them nobody has looked at lately.
    AuthzReviewReport,
    /// Looks through clusters for machines that could be adopted, each every `adoption.scan_interval` or when asked for.
    AdoptionScan,
    /// Carries out runs of the reconciler, and begins one every `reconciler.interval`.
    ReconcilerRuns,
    /// Gives up machines that are CREATING for longer than `vm.creation_timeout`.
    CreationWatchdog,
    /// Re-seals what older encryption keys sealed and removes keys that seal nothing; also at once after a rotation.
    KeyReencrypt,
}

impl PeriodicJob {
    /// The name in the queue and in logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// When it runs, as the five fields of a crontab line in UTC, and how long a missed run is made up for. The minutes
    /// differ, so that not everything happens at once.
    fn timing(self) -> (&'static str, Duration) {
        match self {
            Self::NotificationCleanup => ("10 3 * * *", DAY),
            Self::AuditPurge => ("40 3 * * *", DAY),
            Self::ApprovalReminder => ("0 7 * * *", DAY),
            Self::Archive => ("50 3 * * *", DAY),
            Self::TokenCleanup => ("7 * * * *", HOUR),
            Self::ExemptionPurge => ("33 * * * *", HOUR),
            Self::DeadLetterCleanup => ("17 * * * *", HOUR),
            Self::MembershipExpiry => ("27 * * * *", HOUR),
            Self::BindingExpiry => ("37 * * * *", HOUR),
            Self::BootstrapExpiry => ("47 * * * *", HOUR),
            Self::AdoptionScan => ("* * * * *", Duration::ZERO),
            Self::ReconcilerRuns => ("2,12,22,32,42,52 * * * *", Duration::ZERO),
            Self::AuthzReviewReport => ("0 8 1 1,4,7,10 *", WEEK),
            Self::CreationWatchdog => ("*/5 * * * *", HOUR),
            Self::KeyReencrypt => ("57 * * * *", HOUR),
        }
    }

    /// When it runs.
    pub fn schedule(self) -> PeriodicSchedule {
        let (crontab, catch_up) = self.timing();
        PeriodicSchedule {
            job: self.as_str().to_owned(),
            crontab: crontab.to_owned(),
            catch_up,
        }
    }

    /// Carries it out; answers how many rows or people it concerned.
    async fn execute(self, platform: &Platform) -> Result<u64, UseCaseError> {
        match self {
            Self::NotificationCleanup => cleanup::notifications(platform).await,
            Self::ApprovalReminder => reminder::execute(platform).await,
            Self::Archive => archive::execute(platform).await,
            Self::TokenCleanup => cleanup::tokens(platform).await,
            Self::ExemptionPurge => cleanup::limits(platform).await,
            Self::DeadLetterCleanup => cleanup::dead_letters(platform).await,
            Self::MembershipExpiry => crate::system::members::expire::execute(platform).await,
            Self::BindingExpiry => crate::role::expire::execute(platform).await,
            Self::BootstrapExpiry => crate::bootstrap::expire::execute(platform).await,
            Self::AuditPurge => crate::audit::purge::execute(platform).await,
            Self::AuthzReviewReport => review::execute(platform).await,
            Self::AdoptionScan => crate::adoption::scan::execute(platform).await,
            Self::ReconcilerRuns => crate::reconciler::work::execute(platform).await,
            Self::CreationWatchdog => watchdog::execute(platform).await,
            Self::KeyReencrypt => crate::encryption::reencrypt::execute(platform).await,
        }
    }
}

/// Asks for what every worker does when it starts. Several that start together ask for one run.
///
/// # Errors
/// When the store fails.
pub async fn at_start(platform: &Platform) -> Result<(), UseCaseError> {
    let mut uow = platform.begin().await?;
    uow.jobs()
        .enqueue_periodic(PeriodicJob::NotificationCleanup.as_str())
        .await?;
    Ok(uow.commit().await?)
}

/// Carries out periodic jobs.
pub struct Upkeep {
    platform: Arc<Platform>,
}

impl Upkeep {
    /// For the queue.
    pub fn new(platform: Arc<Platform>) -> Self {
        Self { platform }
    }

    async fn carry_out(&self, job: PeriodicJob) -> Result<u64, UseCaseError> {
        let affected = job.execute(&self.platform).await?;
        let mut uow = self.platform.begin().await?;
        uow.upkeep()
            .record_success(job.as_str(), None, self.platform.now())
            .await?;
        uow.commit().await?;
        Ok(affected)
    }
}

#[async_trait]
impl PeriodicJobHandler for Upkeep {
    fn schedules(&self) -> Vec<PeriodicSchedule> {
        PeriodicJob::iter().map(PeriodicJob::schedule).collect()
    }

    async fn run(&self, job: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Ok(known) = job.parse::<PeriodicJob>() else {
            // A newer version beside this one may know it.
            tracing::error!(job, "this version does not know the periodic job");
            return Err("the periodic job is unknown".into());
        };
        let started = Instant::now();
        let done = self.carry_out(known).await;
        let elapsed_ms = started.elapsed().as_millis();
        match done {
            Ok(0) => {
                tracing::debug!(job, elapsed_ms, "a periodic job found nothing to do");
                Ok(())
            }
            Ok(affected) => {
                tracing::info!(job, affected, elapsed_ms, "a periodic job is done");
                Ok(())
            }
            Err(error) => {
                tracing::error!(
                    job,
                    elapsed_ms,
                    error = &error as &dyn std::error::Error,
                    "a periodic job failed"
                );
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_job_has_a_name_of_its_own_and_is_found_by_it() {
        let names: BTreeSet<&str> = PeriodicJob::iter().map(PeriodicJob::as_str).collect();
        assert_eq!(names.len(), PeriodicJob::iter().count());
        for job in PeriodicJob::iter() {
            assert_eq!(job.as_str().parse::<PeriodicJob>(), Ok(job));
        }
        assert!("event_job".parse::<PeriodicJob>().is_err());
    }

    #[test]
    fn no_two_jobs_begin_in_the_same_minute_of_the_hour() {
        let minutes: Vec<&str> = PeriodicJob::iter()
            .filter(|job| job.timing().1 <= DAY)
            .filter_map(|job| job.timing().0.split(' ').next())
            .collect();
        let distinct: BTreeSet<&&str> = minutes.iter().collect();
        assert_eq!(distinct.len(), minutes.len(), "{minutes:?}");
    }
}
