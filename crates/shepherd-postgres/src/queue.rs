//! Enqueueing. The queue library's own function is called as a statement of the transaction, so a job exists exactly
//! when the change that asked for it does.

use async_trait::async_trait;
use serde_json::json;
use shepherd_ports::RepositoryError;
use shepherd_ports::queue::{EventJob, JobQueue};

use crate::periodic;
use crate::statement::{execute, fetch_one, values};
use crate::unit_of_work::PgUnitOfWork;

/// The kind of job that carries out an event; the periodic ones are of another.
pub(crate) const TASK: &str = "event_job";

/// How often the queue tries again when not even the outcome of a job could be recorded. Attempts at the work itself
/// are counted on the ticket and have jobs of their own.
const INFRASTRUCTURE_ATTEMPTS: i32 = 25;

/// The event id is the key: a waiting job of the event is replaced, and one that is running is retired, so that it is
/// never tried again beside its successor.
const ENQUEUE: &str = "SELECT to_jsonb(j.id) AS doc FROM graphile_worker.add_job($1, payload => $2::json, \
     queue_name => $3, run_at => $4, max_attempts => $5, job_key => $6) AS j";

/// The same for each of several jobs.
const ENQUEUE_ALL: &str = "SELECT to_jsonb(count(j.id)) AS doc \
     FROM (SELECT spec.event, spec.lane, spec.run_at \
         FROM ROWS FROM (jsonb_to_recordset($1) AS (event text, lane text, run_at timestamptz)) \
             WITH ORDINALITY AS spec (event, lane, run_at, nr) \
         ORDER BY spec.nr) AS job \
     CROSS JOIN LATERAL graphile_worker.add_job($2, payload => json_build_object('event_id', job.event), \
         queue_name => job.lane, run_at => job.run_at, max_attempts => $3, job_key => job.event) AS j";

/// Keeps a running job from ever being tried again. Its row stays as a dead letter when it then fails; even if its
/// worker dies before that, recovery does not revive it.
const RETIRE: &str = "SELECT to_jsonb(retired.id) AS doc FROM graphile_worker.jobs AS j \
     CROSS JOIN LATERAL graphile_worker.remove_job(j.key) AS retired \
     WHERE j.id = $1 AND j.key IS NOT NULL AND j.locked_by = $2";

#[async_trait]
impl JobQueue for PgUnitOfWork {
    async fn enqueue(&mut self, job: EventJob) -> Result<(), RepositoryError> {
        let EventJob { event, lane, run_at } = job;
        let payload = json!({ "event_id": event });
        let values = values![TASK, payload, lane, run_at, INFRASTRUCTURE_ATTEMPTS, event.to_string()];
        let id: Option<i64> = fetch_one(&self.tx, ENQUEUE, values).await?;
        id.map(drop)
            .ok_or_else(|| RepositoryError::Other("the queue took no job".into()))
    }

    async fn enqueue_all(&mut self, jobs: &[EventJob]) -> Result<(), RepositoryError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let document = |job: &EventJob| json!({"event": job.event, "lane": job.lane, "run_at": job.run_at});
        let specs = serde_json::Value::Array(jobs.iter().map(document).collect());
        let added: Option<i64> =
            fetch_one(&self.tx, ENQUEUE_ALL, values![specs, TASK, INFRASTRUCTURE_ATTEMPTS]).await?;
        if usize::try_from(added.unwrap_or_default()) == Ok(jobs.len()) {
            Ok(())
        } else {
            Err(RepositoryError::Other("the queue took no job".into()))
        }
    }

    async fn enqueue_periodic(&mut self, job: &str) -> Result<(), RepositoryError> {
        periodic::enqueue(&self.tx, job).await
    }
}

/// See [`RETIRE`].
pub(crate) async fn retire(db: &impl sea_orm::ConnectionTrait, job: i64, worker: &str) -> Result<(), RepositoryError> {
    execute(db, RETIRE, values![job, worker]).await.map(drop)
}
