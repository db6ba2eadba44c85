//! Periodic jobs as the queue knows them: one kind of job, whose payload names what is to be done.
//!
//! The library's cron notes the last period of every entry in its own table and adds the job of a period in the same
//! statement, so of all replicas one adds it. What the entries ask for:
//! - One attempt: what failed is left to the next period.
//! - The lane of the job is its key as well. A run that still waits when the next one comes is replaced, so nothing
//!   piles up behind a busy or absent worker, and two runs of one job never overlap.
//! - A failed run keeps its row, which says why, until the next one begins. It is no dead letter: those are jobs of
//!   events.
//!
//! A process that dies in the middle gives the run to another worker, like every job.

use graphile_worker::{Crontab, CrontabFill, IntoTaskHandlerResult, TaskHandler, WorkerContext, parse_crontab};
use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shepherd_ports::RepositoryError;
use shepherd_ports::queue::PeriodicSchedule;

use crate::statement::{execute, fetch_one, values};
use crate::worker::{Dispatch, Failure, JobFailure};

const TASK: &str = "periodic_job";

const ENQUEUE: &str = "SELECT to_jsonb(j.id) AS doc FROM graphile_worker.add_job($1, payload => $2::json, \
     queue_name => $3, max_attempts => 1, job_key => $3) AS j";

/// Removes what earlier runs of this job left: runs that failed, and runs whose worker died.
const FORGET_FAILURES: &str = "SELECT to_jsonb(j.id) AS doc FROM graphile_worker.complete_jobs(ARRAY( \
     SELECT id FROM graphile_worker.jobs WHERE task_identifier = $1 AND queue_name = $2 \
         AND attempts >= max_attempts AND locked_at IS NULL)) AS j";

/// Adds a run at once.
pub(crate) async fn enqueue(db: &impl ConnectionTrait, job: &str) -> Result<(), RepositoryError> {
    let id: Option<i64> = fetch_one(db, ENQUEUE, values![TASK, json!({ "job": job }), lane(job)]).await?;
    id.map(drop)
        .ok_or_else(|| RepositoryError::Other("the queue took no job".into()))
}

fn lane(job: &str) -> String {
    format!("periodic:{job}")
}

/// The entries of the library's cron.
///
/// # Errors
/// When a schedule is not one line of a crontab.
pub(crate) fn crontabs(schedules: &[PeriodicSchedule]) -> Result<Vec<Crontab>, Failure> {
    schedules.iter().map(crontab).collect()
}

fn crontab(schedule: &PeriodicSchedule) -> Result<Crontab, Failure> {
    let PeriodicSchedule { job, crontab, catch_up } = schedule;
    let [mut entry] = <[Crontab; 1]>::try_from(parse_crontab(&format!("{crontab} {TASK}"))?)
        .map_err(|_| format!("the schedule of {job} is not one line"))?;
    entry.payload = Some(json!({ "job": job }));
    entry.options.id = Some(job.clone());
    entry.options.max = Some(1);
    entry.options.queue = Some(lane(job));
    entry.options.job_key = Some(lane(job));
    if !catch_up.is_zero() {
        let seconds = u32::try_from(catch_up.as_secs()).unwrap_or(u32::MAX);
        entry.options.fill = Some(CrontabFill::seconds(seconds));
    }
    Ok(entry)
}

/// The payload of a job. The library adds when it was due.
#[derive(Deserialize, Serialize)]
pub(crate) struct PeriodicTask {
    job: String,
}

impl TaskHandler for PeriodicTask {
    const IDENTIFIER: &'static str = TASK;

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let Some(dispatch) = context.get_ext::<Dispatch>() else {
            return Err(JobFailure("no handler is registered".to_owned()));
        };
        let Some(handler) = dispatch.periodic.as_ref() else {
            return Err(JobFailure("no handler is registered".to_owned()));
        };
        let _in_hand = dispatch.pulse.take();
        if let Err(error) = execute(&dispatch.store.db, FORGET_FAILURES, values![TASK, lane(&self.job)]).await {
            tracing::warn!(%error, job = %self.job, "earlier failures of a periodic job could not be forgotten");
        }
        handler
            .run(&self.job)
            .await
            .map_err(|error| JobFailure(format!("{}: {error}", self.job)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn schedule(crontab: &str) -> PeriodicSchedule {
        PeriodicSchedule {
            job: "tidy_up".to_owned(),
            crontab: crontab.to_owned(),
            catch_up: Duration::from_secs(3600),
        }
    }

    #[test]
    fn an_entry_names_its_job_and_is_tried_once() {
        let entries = crontabs(&[schedule("10 3 * * *")]).unwrap();
        let [entry] = entries.as_slice() else {
            panic!("one entry was expected: {entries:?}");
        };
        assert_eq!((entry.identifier(), entry.options.max), ("tidy_up", Some(1)));
        assert_eq!(entry.payload, Some(json!({"job": "tidy_up"})));
        assert_eq!(entry.options.queue, entry.options.job_key);
        let fill = entry.options.fill.as_ref().map(CrontabFill::to_secs);
        assert_eq!(fill, Some(3600));
    }

    #[test]
    fn a_schedule_is_one_line_that_a_crontab_can_have() {
        for crontab in ["", "* * * *", "61 * * * *", "# * * * *", "* * * * * other\n1 * * * *"] {
            assert!(crontabs(&[schedule(crontab)]).is_err(), "{crontab}");
        }
    }
}
