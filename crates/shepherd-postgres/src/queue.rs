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

    async fn enqueue_periodic(&mut self, job: &str) -> Result<(), RepositoryError> {
        periodic::enqueue(&self.tx, job).await
    }
}

/// See [`RETIRE`].
pub(crate) async fn retire(db: &impl sea_orm::ConnectionTrait, job: i64, worker: &str) -> Result<(), RepositoryError> {
    execute(db, RETIRE, values![job, worker]).await.map(drop)
}
