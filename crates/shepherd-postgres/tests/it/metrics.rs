//! The state that metrics show.

use shepherd_domain::Environment;
use shepherd_domain::ticket::RequestType;
use shepherd_ports::leases::{HeartbeatKind, LeaseStore};
use shepherd_ports::metrics::state::{JobCounts, MetricsQueries, PendingTickets};
use shepherd_ports::queue::EventJob;
use shepherd_ports::tickets::TicketQueries;

use crate::TestResult;
use crate::world::{World, at, id};

const DAY: i64 = 24 * 3600;

#[tokio::test]
async fn a_sample_counts_what_is_open() -> TestResult {
    let world = World::create().await?;
    let empty = world.store.sample_state(at(0)).await?;
    assert!(
        empty.pending.is_empty() && empty.background_jobs.is_empty(),
        "{empty:?}"
    );
    assert_eq!(empty.jobs, JobCounts::default());
    assert_eq!((empty.dead_letters, empty.oldest_available_seconds), (0, 0.0));
    assert!(
        (0.0..=1.0).contains(&empty.dead_tuple_ratio),
        "{}",
        empty.dead_tuple_ratio
    );
    assert_eq!(
        (empty.vacuum_overdue_seconds, empty.audit_push_failing_seconds),
        (0.0, 0.0)
    );
    let cluster = empty.clusters.iter().find(|cluster| cluster.id == world.cluster);
    assert_eq!(cluster.ok_or("no cluster")?.name, "one");

    let mut work = world.begin().await?;
    let submitted = world.submit_create(work.as_mut()).await?;
    for (event, run_at) in [(submitted.event, None), (id(), Some(at(100 * 365 * DAY)))] {
        let job = EventJob {
            event,
            lane: event.to_string(),
            run_at,
        };
        work.jobs().enqueue(job).await?;
    }
    work.upkeep().record_success("archive", None, at(7)).await?;
    work.commit().await?;
    world.store.beat(HeartbeatKind::Leader, "replica", "health").await?;

    let ticket = world.store.get_ticket(submitted.ticket).await?.ok_or("no ticket")?;
    assert_eq!(ticket.request_type, RequestType::CreateVm);
    let later = ticket.created_at + chrono::TimeDelta::days(5);
    let sample = world.store.sample_state(later).await?;
    let waiting = PendingTickets {
        environment: Environment::Test,
        days: 5,
        count: 1,
    };
    assert_eq!(sample.pending, [waiting]);
    let jobs = JobCounts {
        available: 1,
        scheduled: 1,
        ..JobCounts::default()
    };
    assert_eq!(sample.jobs, jobs);
    assert!(sample.oldest_available_seconds >= 0.0);
    let archive = sample.background_jobs.iter().find(|job| job.job == "archive");
    let succeeded_at = archive.ok_or("no success")?.succeeded_at;
    assert_eq!(succeeded_at, f64::from(i32::try_from(at(7).timestamp())?));
    assert!(sample.background_jobs.iter().any(|job| job.job == "health"));
    Ok(())
}

#[tokio::test]
async fn a_transaction_uses_a_connection() -> TestResult {
    let world = World::create().await?;
    let work = world.begin().await?;
    let pools = world.store.pool_connections();
    let [shared] = pools.as_slice() else {
        return Err(format!("one pool: {pools:?}").into());
    };
    assert!(
        shared.pool == "shared" && shared.used >= 1 && shared.limit >= shared.used,
        "{shared:?}"
    );
    drop(work);
    Ok(())
}
