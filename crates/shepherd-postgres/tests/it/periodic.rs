//! Periodic jobs: asked for by the clock or by hand, run once, and no dead letters when they fail.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx;
use shepherd_domain::ids::EventId;
use shepherd_ports::queue::{EventJobHandler, JobVerdict, PeriodicJobHandler, PeriodicSchedule};
use shepherd_postgres::{QueueWorker, WorkerOptions};
use tokio::sync::Notify;

use crate::TestResult;
use crate::queue::jobs;
use crate::world::{Outcome, World};

/// Nothing of these tests is about events.
struct NoEvents;

#[async_trait]
impl EventJobHandler for NoEvents {
    async fn run(&self, _event: EventId) -> Result<JobVerdict, Box<dyn std::error::Error + Send + Sync>> {
        Err("no event was expected".into())
    }
}

/// Remembers what it was asked for, and answers as told.
struct Recorder {
    schedules: Vec<PeriodicSchedule>,
    fails: bool,
    asked: Mutex<Vec<String>>,
    /// Asked for this, the worker may stop.
    last: &'static str,
    done: Notify,
}

impl Recorder {
    fn until(last: &'static str) -> Self {
        Self {
            schedules: Vec::new(),
            fails: false,
            asked: Mutex::default(),
            last,
            done: Notify::new(),
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }
}

#[async_trait]
impl PeriodicJobHandler for Recorder {
    fn schedules(&self) -> Vec<PeriodicSchedule> {
        self.schedules.clone()
    }

    async fn run(&self, job: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.asked.lock().map_err(|_| "poisoned")?.push(job.to_owned());
        if job == self.last {
            self.done.notify_one();
        }
        if self.fails { Err("out of order".into()) } else { Ok(()) }
    }
}

/// Runs a worker until the last job was asked for, and lets it end in peace.
async fn drain(world: &World, recorder: Recorder) -> Outcome<Vec<String>> {
    let recorder = Arc::new(recorder);
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let options = WorkerOptions {
        poll_interval: Duration::from_millis(100),
        concurrency: 2,
        ..WorkerOptions::default()
    };
    let periodic: Arc<dyn PeriodicJobHandler> = recorder.clone();
    let worker = QueueWorker::run(
        world.store.clone(),
        Arc::new(NoEvents),
        Some(periodic),
        options,
        async move { stopped.notified().await },
    );
    let script = async {
        recorder.done.notified().await;
        stop.notify_one();
    };
    tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(worker, script) }).await?;
    Ok(recorder.asked())
}

async fn enqueue(world: &World, job: &str) -> Outcome<()> {
    let mut work = world.begin().await?;
    work.jobs().enqueue_periodic(job).await?;
    work.commit().await?;
    Ok(())
}

/// Every hour, at the minute that was ten minutes ago; known for two hours.
async fn due_ten_minutes_ago(world: &World, job: &str) -> Outcome<PeriodicSchedule> {
    let pool = world.store.connection().get_postgres_connection_pool();
    let know = "INSERT INTO graphile_worker._private_known_crontabs (identifier, known_since) \
                VALUES ($1, now() - interval '2 hours')";
    sqlx::query(know).bind(job).execute(pool).await?;
    let minute = "SELECT extract(minute FROM (now() - interval '10 minutes') AT TIME ZONE 'UTC')::int";
    let minute: i32 = sqlx::query_scalar(minute).fetch_one(pool).await?;
    Ok(PeriodicSchedule {
        job: job.to_owned(),
        crontab: format!("{minute} * * * *"),
        catch_up: Duration::from_secs(1800),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_period_is_made_up_for_once_over_all_workers() -> TestResult {
    let world = World::create().await?;
    let first = due_ten_minutes_ago(&world, "first").await?;
    let asked = drain(
        &world,
        Recorder {
            schedules: vec![first.clone()],
            ..Recorder::until("first")
        },
    )
    .await?;
    assert_eq!(asked, ["first"]);

    // Both are due at the same minute, and the cron decides about them in one statement.
    let second = due_ten_minutes_ago(&world, "second").await?;
    let asked = drain(
        &world,
        Recorder {
            schedules: vec![first, second],
            ..Recorder::until("second")
        },
    )
    .await?;
    assert_eq!(asked, ["second"], "the period of the first was used up");
    assert!(jobs(&world).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_ask_for_the_same_job_get_one_run() -> TestResult {
    let world = World::create().await?;
    let ask = || enqueue(&world, "cleanup");
    let asked = tokio::join!(ask(), ask(), ask(), ask());
    let (first, second, third, fourth) = asked;
    first.and(second).and(third).and(fourth)?;
    let rows = jobs(&world).await?;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        rows.first().and_then(|job| job.queue_name.as_deref()),
        Some("periodic:cleanup"),
        "a lane of its own keeps two runs apart"
    );
    assert_eq!(drain(&world, Recorder::until("cleanup")).await?, ["cleanup"]);
    assert!(jobs(&world).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_not_tried_again_and_makes_room_for_the_next() -> TestResult {
    let world = World::create().await?;
    enqueue(&world, "cleanup").await?;
    let failing = Recorder {
        fails: true,
        ..Recorder::until("cleanup")
    };
    assert_eq!(drain(&world, failing).await?, ["cleanup"]);
    let rows = jobs(&world).await?;
    let failed = rows.first().ok_or("the reason of the failure is gone")?;
    assert!(failed.exhausted && failed.waits, "{failed:?}");
    let reason = failed.last_error.as_deref().unwrap_or_default();
    assert!(
        reason.contains("cleanup") && reason.contains("out of order"),
        "{reason}"
    );
    let events = "SELECT count(*) FROM graphile_worker.jobs WHERE task_identifier = 'event_job'";
    let pool = world.store.connection().get_postgres_connection_pool();
    let events: i64 = sqlx::query_scalar(events).fetch_one(pool).await?;
    assert_eq!(events, 0, "a failed periodic job is no dead letter");

    enqueue(&world, "cleanup").await?;
    assert_eq!(drain(&world, Recorder::until("cleanup")).await?, ["cleanup"]);
    let rows = jobs(&world).await?;
    assert!(rows.is_empty(), "the next run forgets the failed one: {rows:?}");
    Ok(())
}
