//! Jobs: there when their transaction is, carried out by the worker, kept when they are dead.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{ConnectionTrait as _, sqlx};
use shepherd_domain::ids::EventId;
use shepherd_ports::queue::{EventJob, EventJobHandler, JobVerdict};
use shepherd_postgres::{QueueWorker, Silence, WorkerOptions, WorkerPulse};
use tokio::sync::Notify;

use crate::TestResult;
use crate::world::{Outcome, World, at, id};

/// A job as the queue shows it.
#[derive(Debug, PartialEq)]
pub struct JobRow {
    pub key: Option<String>,
    pub queue_name: Option<String>,
    pub exhausted: bool,
    pub waits: bool,
    pub last_error: Option<String>,
}

pub async fn jobs(world: &World) -> Outcome<Vec<JobRow>> {
    let sql = "SELECT key, queue_name, attempts >= max_attempts AS exhausted, locked_at IS NULL AS waits, last_error \
               FROM graphile_worker.jobs ORDER BY id";
    type Row = (Option<String>, Option<String>, bool, bool, Option<String>);
    let pool = world.store.connection().get_postgres_connection_pool();
    let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(pool).await?;
    let job = |(key, queue_name, exhausted, waits, last_error)| JobRow {
        key,
        queue_name,
        exhausted,
        waits,
        last_error,
    };
    Ok(rows.into_iter().map(job).collect())
}

async fn enqueue(world: &World, event: EventId) -> Outcome<()> {
    let mut work = world.begin().await?;
    work.jobs()
        .enqueue(EventJob {
            event,
            lane: "lane".to_owned(),
            run_at: None,
        })
        .await?;
    work.commit().await?;
    Ok(())
}

#[tokio::test]
async fn a_waiting_job_of_the_same_event_is_replaced() -> TestResult {
    let world = World::create().await?;
    let event = id::<EventId>();
    let mut work = world.begin().await?;
    let later = EventJob {
        event,
        lane: "lane".to_owned(),
        run_at: Some(at(0)),
    };
    work.jobs().enqueue(later.clone()).await?;
    work.jobs()
        .enqueue(EventJob {
            lane: "other".to_owned(),
            ..later
        })
        .await?;
    work.commit().await?;
    let rows = jobs(&world).await?;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows.first().and_then(|job| job.key.clone()), Some(event.to_string()));
    assert_eq!(rows.first().and_then(|job| job.queue_name.as_deref()), Some("other"));
    Ok(())
}

/// Answers as told, and says when it was asked.
struct Scripted {
    verdicts: Mutex<Vec<Result<JobVerdict, String>>>,
    asked: Notify,
}

#[async_trait]
impl EventJobHandler for Scripted {
    async fn run(&self, _event: EventId) -> Result<JobVerdict, Box<dyn std::error::Error + Send + Sync>> {
        let next = self.verdicts.lock().map_err(|_| "poisoned")?.pop();
        self.asked.notify_one();
        Ok(next.ok_or("asked too often")??)
    }
}

/// Runs a worker until the handler was asked as often as it has verdicts, and lets it end in peace.
async fn drain(world: &World, verdicts: Vec<Result<JobVerdict, String>>) -> Outcome<()> {
    let times = verdicts.len();
    let handler = Arc::new(Scripted {
        verdicts: Mutex::new(verdicts),
        asked: Notify::new(),
    });
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let options = WorkerOptions {
        poll_interval: Duration::from_millis(100),
        concurrency: 2,
        ..WorkerOptions::default()
    };
    let worker = QueueWorker::run(world.store.clone(), handler.clone(), None, options, async move {
        stopped.notified().await
    });
    let script = async {
        for _ in 0..times {
            handler.asked.notified().await;
        }
        stop.notify_one();
    };
    tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(worker, script) }).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_done_is_gone() -> TestResult {
    let world = World::create().await?;
    enqueue(&world, id()).await?;
    drain(&world, vec![Ok(JobVerdict::Done)]).await?;
    assert!(jobs(&world).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_stays_and_is_never_tried_again() -> TestResult {
    let world = World::create().await?;
    let event = id();
    enqueue(&world, event).await?;
    drain(&world, vec![Ok(JobVerdict::DeadLetter("no capacity".to_owned()))]).await?;
    let rows = jobs(&world).await?;
    let dead = rows.first().ok_or("the dead letter is gone")?;
    assert!(dead.exhausted && dead.waits, "{dead:?}");
    assert!(
        dead.last_error
            .as_deref()
            .is_some_and(|error| error.contains("no capacity")),
        "{dead:?}"
    );

    enqueue(&world, event).await?;
    let rows = jobs(&world).await?;
    assert_eq!(
        rows.iter().filter(|job| !job.exhausted).count(),
        1,
        "a retry has a job of its own"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_outcome_could_not_be_recorded_waits_for_another_attempt() -> TestResult {
    let world = World::create().await?;
    enqueue(&world, id()).await?;
    drain(&world, vec![Err("no database".to_owned())]).await?;
    let rows = jobs(&world).await?;
    let waiting = rows.first().ok_or("the job is gone")?;
    assert!(!waiting.exhausted && waiting.waits, "{waiting:?}");
    assert!(
        waiting
            .last_error
            .as_deref()
            .is_some_and(|error| error.contains("no database")),
        "{waiting:?}"
    );
    Ok(())
}

/// Hangs until it is told to go on.
struct Hanging(Notify);

#[async_trait]
impl EventJobHandler for Hanging {
    async fn run(&self, _event: EventId) -> Result<JobVerdict, Box<dyn std::error::Error + Send + Sync>> {
        self.0.notified().await;
        Ok(JobVerdict::Done)
    }
}

/// What a worker that sees nothing of the queue any more must not say is that it works.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_look_has_no_pulse_and_one_with_its_hands_full_has() -> TestResult {
    const IDLE: Duration = Duration::from_secs(1);
    let silence = Silence {
        idle: IDLE,
        busy: IDLE * 60,
        places: 1,
    };
    let world = World::create().await?;
    let handler = Arc::new(Hanging(Notify::new()));
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let pulse = WorkerPulse::default();
    let options = WorkerOptions {
        poll_interval: Duration::from_millis(100),
        concurrency: 1,
        pulse: pulse.clone(),
        ..WorkerOptions::default()
    };
    let worker = QueueWorker::run(world.store.clone(), handler.clone(), None, options, async move {
        stopped.notified().await
    });
    let becomes = async |felt: bool| {
        while pulse.is_felt(silence) != felt {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let rename = async |from: &str, to: &str| {
        let sql = format!("ALTER TABLE graphile_worker.{from} RENAME TO {to}");
        world.store.connection().execute_unprepared(&sql).await.map(drop)
    };
    let script = async {
        becomes(true).await;
        rename("_private_jobs", "_elsewhere").await?;
        becomes(false).await;
        rename("_elsewhere", "_private_jobs").await?;
        becomes(true).await;
        enqueue(&world, id()).await?;
        enqueue(&world, id()).await?;
        while jobs(&world).await?.iter().all(|job| job.waits) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(IDLE * 2).await;
        let hands_are_full = pulse.is_felt(silence);
        handler.0.notify_one();
        tokio::time::sleep(IDLE / 10).await;
        handler.0.notify_one();
        stop.notify_one();
        Outcome::Ok(hands_are_full)
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(worker, script) }).await?;
    assert!(ended.1?, "a worker whose places are taken works");
    Ok(())
}
