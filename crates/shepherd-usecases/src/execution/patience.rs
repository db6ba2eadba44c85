//! Waiting for a cluster inside a job, without blocking its worker for long.

use std::time::Instant;

use chrono::TimeDelta;
use shepherd_domain::problem::Problem;

use super::Failure;
use super::operation::Work;
use crate::Platform;

/// Pauses between two looks, until the job has to make room for others.
pub(super) struct Patience {
    started: Instant,
}

impl Patience {
    /// Begins to wait.
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Pauses until the next look.
    ///
    /// # Errors
    /// In progress once the job has waited for as long as a job may: another one looks again soon.
    pub(super) async fn pause(&self, platform: &Platform, problem: Problem) -> Result<(), Failure> {
        let settings = platform.settings().execution.clone();
        if self.started.elapsed() >= settings.in_job_wait {
            return Err(Failure::InProgress(problem, settings.poll_interval * 10));
        }
        tokio::time::sleep(settings.poll_interval).await;
        Ok(())
    }
}

/// Whether the jobs of this ticket have waited for the same thing for so long.
pub(super) fn has_waited(platform: &Platform, work: &Work, problem: &Problem, limit: TimeDelta) -> bool {
    let waits_for_the_same = work.ticket.error_code.as_deref() == Some(problem.code.as_str());
    let since = work.ticket.unavailable_since.filter(|_| waits_for_the_same);
    since.is_some_and(|since| platform.now() - since >= limit)
}
