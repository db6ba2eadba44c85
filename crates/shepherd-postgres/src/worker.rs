//! The worker that drains the queue: it hands the event of each job to the handler and tells the queue what became of
//! it.
//!
//! What the library is asked for, and why:
//! - It shares the pool, or has that of the sessions where there is one; one connection of it is kept for notifications.
//! - Outcomes are the handler's to record. `Done` completes the job. A dead letter is retired first and failed then, so
//!   that it stays and is never tried again. An error of the handler means that not even the outcome could be
//!   recorded; only then the library's own attempts and back-off apply.
//! - Crash recovery releases the jobs of a dead worker as they are, at once. It gives the attempt back, so a job that
//!   kills its process would be tried for ever if the queue alone counted; our attempts are counted on the ticket
//!   before the work begins, and the handler ends the ticket when they are used up. A hook would make recovery read
//!   and write job by job, so there is none.
//! - Jobs that wait in the local queue are locked by this worker and are recovered with it.
//! - Periodic jobs come from its cron, which adds each once per period over all workers ([`crate::periodic`]).

mod pulse;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use graphile_worker::{IntoTaskHandlerResult, LocalQueueConfig, LocalQueueGetJobsComplete, TaskHandler, WorkerContext};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::EventId;
use shepherd_ports::queue::{EventJobHandler, JobVerdict, PeriodicJobHandler};

use crate::periodic::{self, PeriodicTask};
use crate::queue::{TASK, retire};
use crate::store::PgStore;

pub use pulse::{Silence, WorkerPulse};

/// Pause before the worker is set up again after a failure, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
type Shutdown = Shared<BoxFuture<'static, ()>>;

/// How the worker works.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Name of this process, for logs.
    pub instance: String,
    /// Jobs at the same time.
    pub concurrency: usize,
    /// Pause between looks at the queue when no notification comes.
    pub poll_interval: Duration,
    /// Pause between signs of life.
    pub heartbeat: Duration,
    /// Silence after which a worker counts as dead.
    pub recovery_threshold: Duration,
    /// Pause between looks for dead workers.
    pub sweep: Duration,
    /// Jobs that are fetched ahead. More than a few would make a busy replica sit on work that an idle one could do.
    pub local_queue_size: usize,
    /// How long running jobs may go on after the shutdown began; then they are given back.
    pub shutdown_grace: Duration,
    /// Shows whether the worker works.
    pub pulse: WorkerPulse,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            instance: "shepherd".to_owned(),
            concurrency: 10,
            poll_interval: Duration::from_secs(1),
            heartbeat: Duration::from_secs(5),
            recovery_threshold: Duration::from_secs(20),
            sweep: Duration::from_secs(10),
            local_queue_size: 2,
            shutdown_grace: Duration::from_secs(20),
            pulse: WorkerPulse::default(),
        }
    }
}

/// Drains the queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueWorker;

impl QueueWorker {
    /// Runs until the shutdown and the running jobs, or their grace period, have ended. Failures of the queue itself,
    /// such as a database that went away, are logged, and the worker is set up again. A worker without a handler of
    /// periodic jobs leaves them to others.
    pub async fn run(
        store: PgStore,
        handler: Arc<dyn EventJobHandler>,
        periodic: Option<Arc<dyn PeriodicJobHandler>>,
        options: WorkerOptions,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let shutdown = shutdown.boxed().shared();
        let dispatch = Dispatch {
            store,
            handler,
            periodic,
            pulse: options.pulse.clone(),
        };
        let mut pause = FIRST_PAUSE;
        while shutdown.clone().now_or_never().is_none() {
            match run_once(&dispatch, &options, shutdown.clone()).await {
                Ok(()) => pause = FIRST_PAUSE,
                Err(error) => {
                    let instance = options.instance.as_str();
                    tracing::error!(error = %error, instance, "the queue worker failed; it starts again");
                }
            }
            tokio::select! {
                () = shutdown.clone() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }
}

async fn run_once(dispatch: &Dispatch, options: &WorkerOptions, shutdown: Shutdown) -> Result<(), Failure> {
    let ahead = LocalQueueConfig::default()
        .with_size(options.local_queue_size.max(1))
        .with_ttl(options.recovery_threshold);
    let mut worker = graphile_worker::WorkerOptions::default()
        .pg_pool(dispatch.store.session.get_postgres_connection_pool().clone())
        .schema(migrations::QUEUE_SCHEMA)
        .concurrency(options.concurrency.max(1))
        .poll_interval(options.poll_interval)
        .define_job::<EventTask>()
        .add_extension(dispatch.clone())
        .local_queue(ahead)
        .on(LocalQueueGetJobsComplete, {
            let pulse = options.pulse.clone();
            move |_| {
                pulse.looked();
                std::future::ready(())
            }
        })
        .heartbeat_interval(options.heartbeat)
        .sweep_threshold(options.recovery_threshold)
        .sweep_interval(options.sweep)
        .recovery_delay(Duration::ZERO)
        .listen_os_shutdown_signals(false)
        .shutdown_signal(shutdown)
        .shutdown_grace_period(options.shutdown_grace)
        .shutdown_interrupted_job_retry_delay(Duration::ZERO);
    if let Some(handler) = &dispatch.periodic {
        worker = worker
            .define_job::<PeriodicTask>()
            .with_crons(periodic::crontabs(&handler.schedules())?);
    }
    let worker = worker.init().await?;
    tracing::info!(instance = %options.instance, worker = %worker.worker_id(), "the queue worker starts");
    worker.run().await?;
    Ok(())
}

/// What a task finds in its context.
#[derive(Clone)]
pub(crate) struct Dispatch {
    pub(crate) store: PgStore,
    handler: Arc<dyn EventJobHandler>,
    pub(crate) periodic: Option<Arc<dyn PeriodicJobHandler>>,
    pub(crate) pulse: WorkerPulse,
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dispatch")
    }
}

/// The payload of a job.
#[derive(Deserialize, Serialize)]
struct EventTask {
    event_id: EventId,
}

impl TaskHandler for EventTask {
    const IDENTIFIER: &'static str = TASK;

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        carry_out(self.event_id, &context).await
    }
}

/// Why a job failed, as it is kept with the job. The library writes it by its `Debug` form.
pub(crate) struct JobFailure(pub(crate) String);

impl fmt::Debug for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

async fn carry_out(event: EventId, context: &WorkerContext) -> Result<(), JobFailure> {
    let Some(dispatch) = context.get_ext::<Dispatch>() else {
        return Err(JobFailure("no handler is registered".to_owned()));
    };
    let _in_hand = dispatch.pulse.take();
    match dispatch.handler.run(event).await {
        Ok(JobVerdict::Done) => Ok(()),
        Ok(JobVerdict::DeadLetter(reason)) => {
            let job = *context.job().id();
            if let Err(error) = retire(&dispatch.store.db, job, context.worker_id()).await {
                // The job will be tried again, and the handler will find that its event has ended.
                tracing::warn!(error = %error, %event, "a dead letter could not be retired");
            }
            Err(JobFailure(reason))
        }
        Err(error) => {
            tracing::error!(error = %error, %event, "the outcome of a job could not be recorded");
            Err(JobFailure(error.to_string()))
        }
    }
}
