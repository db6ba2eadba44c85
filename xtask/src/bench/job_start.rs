//! From the commit of a job to its start, on an idle queue.
//!
//! The jobs name events that do not exist, so the worker finishes each as soon as it has looked. What is timed is how
//! long after the commit the row of the job is gone: the start, that look, the deletion and one question of ours. It
//! is an upper bound of what is asked for.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use sqlx::PgConnection;

use super::bed::Bed;
use super::figure::{Figure, Goal, milliseconds, percentile};
use crate::progress::Step;

const SAMPLES: usize = 200;
const PAUSE: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_micros(500);
/// The first job waits until the worker has started.
const LIMIT: Duration = Duration::from_secs(30);
const WARM_UP: usize = 5;

/// As `shepherd-postgres` enqueues (queue.rs), with an id nobody has.
const ENQUEUE: &str = "SELECT job.id FROM (SELECT gen_random_uuid() AS event) AS made \
     CROSS JOIN LATERAL graphile_worker.add_job('event_job', payload => json_build_object('event_id', made.event), \
         queue_name => made.event::text, max_attempts => 25, job_key => made.event::text) AS job";
const IS_THERE: &str = "SELECT EXISTS (SELECT FROM graphile_worker.jobs WHERE id = $1)";
const NOTE: &str = "upper bound: until the row of a job that has nothing to do is gone";

pub(super) async fn measure(bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
    step.detail("preparing");
    let database = bed.database("bench_jobs").await?;
    let served = bed.serve(&database, "worker").await?;
    let mut db = database.connect().await?;
    for _ in 0..WARM_UP {
        until_gone(&mut db).await?;
    }
    let mut samples = Vec::new();
    for number in 1..=SAMPLES {
        step.detail(&format!("{number} of {SAMPLES}"));
        tokio::time::sleep(PAUSE).await;
        samples.push(milliseconds(until_gone(&mut db).await?));
    }
    served.stop().await;
    let details = json!({"samples": SAMPLES, "max_ms": percentile(&samples, 100)});
    Ok(vec![
        Figure::new("job_start_p50", percentile(&samples, 50), "ms", Goal::AtMost(10.0)).noted(NOTE),
        Figure::new("job_start_p99", percentile(&samples, 99), "ms", Goal::AtMost(50.0))
            .noted(NOTE)
            .detailed(details),
    ])
}

async fn until_gone(db: &mut PgConnection) -> anyhow::Result<Duration> {
    let job: i64 = sqlx::query_scalar(ENQUEUE)
        .fetch_one(&mut *db)
        .await
        .context("enqueue a job")?;
    // The statement is a transaction of its own: its answer says that it is committed.
    let committed = Instant::now();
    loop {
        let is_there: bool = sqlx::query_scalar(IS_THERE).bind(job).fetch_one(&mut *db).await?;
        if !is_there {
            return Ok(committed.elapsed());
        }
        ensure!(committed.elapsed() < LIMIT, "no worker took a job within {LIMIT:?}");
        // The runtime's timer counts whole milliseconds, which is too coarse here.
        std::thread::sleep(POLL);
    }
}
