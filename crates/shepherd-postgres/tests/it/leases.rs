//! Leases are held by one, and whoever lost one knows by its generation.

use std::time::Duration;

use shepherd_ports::health::{Asked, SignsOfLife, StoreHealth};
use shepherd_ports::leases::{HeartbeatKind, LeaseStore};

use crate::TestResult;
use crate::world::World;

const LONG: Duration = Duration::from_secs(60);
/// Runs out before the next statement begins.
const INSTANT: Duration = Duration::ZERO;

#[tokio::test]
async fn a_take_over_raises_the_generation_and_fences_the_old_holder() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    let first = store.acquire("watch", "a", LONG).await?.ok_or("not acquired")?;
    assert_eq!(
        store.acquire("watch", "a", LONG).await?.as_ref(),
        Some(&first),
        "renewing keeps the generation"
    );
    assert_eq!(store.acquire("watch", "b", LONG).await?, None);

    store.release(&first).await?;
    let second = store.acquire("watch", "b", LONG).await?.ok_or("not acquired")?;
    assert!(second.generation > first.generation);
    store.release(&first).await?;
    assert_eq!(
        store.acquire("watch", "a", LONG).await?,
        None,
        "an old holder cannot release the new one's lease"
    );
    Ok(())
}

#[tokio::test]
async fn a_lease_that_ran_out_is_anybodys_and_comes_back_with_a_new_generation() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    let first = store.acquire("watch", "a", INSTANT).await?.ok_or("not acquired")?;
    let again = store.acquire("watch", "a", INSTANT).await?.ok_or("not acquired")?;
    assert_eq!(again.generation, first.generation + 1);
    let other = store.acquire("watch", "b", LONG).await?.ok_or("not acquired")?;
    assert_eq!(other.generation, again.generation + 1);
    Ok(())
}

#[tokio::test]
async fn the_newest_beat_is_found_by_kind_and_instance() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    assert_eq!(store.last_beat(HeartbeatKind::Worker, None).await?, None);
    store.beat(HeartbeatKind::Worker, "one", "").await?;
    store.beat(HeartbeatKind::Worker, "two", "").await?;
    store.beat(HeartbeatKind::Worker, "one", "").await?;
    let newest = store.last_beat(HeartbeatKind::Worker, None).await?;
    assert!(newest.is_some());
    assert_eq!(store.last_beat(HeartbeatKind::Worker, Some("one")).await?, newest);
    assert_eq!(store.last_beat(HeartbeatKind::Watcher, None).await?, None);
    Ok(())
}

#[tokio::test]
async fn signs_of_life_tell_own_parts_from_those_of_others() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    let asked = Asked {
        instance: "one",
        lease: "health",
        silent: LONG,
        watcher_silent: LONG,
    };
    let nobody = SignsOfLife {
        watchers: true,
        own_watchers: true,
        ..SignsOfLife::default()
    };
    assert_eq!(
        store.signs_of_life(&asked).await?,
        nobody,
        "a new cluster is not missed"
    );

    store.beat(HeartbeatKind::Worker, "two", "queue").await?;
    store.beat(HeartbeatKind::Leader, "two", "health").await?;
    store.acquire("health", "two", LONG).await?.ok_or("not acquired")?;
    let others = SignsOfLife {
        worker: true,
        leader: true,
        ..nobody
    };
    assert_eq!(store.signs_of_life(&asked).await?, others);

    store.beat(HeartbeatKind::Worker, "one", "queue").await?;
    store.beat(HeartbeatKind::Leader, "one", "another").await?;
    let own_worker = SignsOfLife {
        own_worker: true,
        ..others
    };
    assert_eq!(
        store.signs_of_life(&asked).await?,
        own_worker,
        "another lease says nothing"
    );
    store.beat(HeartbeatKind::Leader, "one", "health").await?;
    let everybody = SignsOfLife {
        own_controllers: true,
        ..own_worker
    };
    assert_eq!(store.signs_of_life(&asked).await?, everybody);

    let cluster = world.cluster.to_string();
    store.beat(HeartbeatKind::Watcher, "one", &cluster).await?;
    let at_once = Asked {
        watcher_silent: INSTANT,
        ..asked
    };
    let silent = store.signs_of_life(&at_once).await?;
    assert!(!silent.watchers && silent.own_watchers, "it holds no watch: {silent:?}");
    let watch = format!("watch:{cluster}");
    store.acquire(&watch, "one", LONG).await?.ok_or("not acquired")?;
    assert!(!store.signs_of_life(&at_once).await?.own_watchers);
    assert!(store.signs_of_life(&asked).await?.own_watchers);
    store.read_queue().await?;
    Ok(())
}
