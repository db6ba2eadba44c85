//! Clusters: who may write what over whom, what counts as a change, and who is told.

use std::time::Duration;

use futures::StreamExt;
use sea_orm::ConnectionTrait;
use shepherd_domain::Environment;
use shepherd_domain::cluster::{ClusterFacts, ClusterStatus, DetectedCapabilities, StorageClass};
use shepherd_domain::ticket::TicketStatus;
use shepherd_ports::changes::{Change, ChangeFeed};
use shepherd_ports::clusters::{ClusterPatch, ClusterQueries, ClusterRecord, HealthResult, SeenCluster};
use shepherd_ports::crypto::Sealed;
use shepherd_ports::leases::{Lease, LeaseStore};

use crate::TestResult;
use crate::world::{Outcome, World, at};

const LONG: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(20);

fn found(status: ClusterStatus, seconds: i64) -> HealthResult {
    HealthResult {
        status,
        reason: None,
        facts: None,
        at: at(seconds),
    }
}

fn class(name: &str, default: bool) -> StorageClass {
    StorageClass {
        name: name.to_owned(),
        default,
    }
}

impl World {
    async fn the_cluster(&self) -> Outcome<ClusterRecord> {
        Ok(self.store.get_cluster(self.cluster).await?.ok_or("no cluster")?)
    }

    /// Stores a result; answers whether that was allowed.
    async fn record(&self, seen: &SeenCluster, result: &HealthResult, lease: Option<&Lease>) -> Outcome<bool> {
        let mut work = self.begin().await?;
        let before = work.clusters().record_health(seen, result, lease).await?;
        work.commit().await?;
        Ok(before.is_some())
    }

    async fn set_credentials(&self, bytes: &[u8]) -> Outcome<ClusterRecord> {
        let sealed = Sealed {
            bytes: bytes.to_vec(),
            key_id: "k1".to_owned(),
        };
        let mut work = self.begin().await?;
        let set = work
            .clusters()
            .set_credentials(self.cluster, "https://192.0.2.11:6443", &sealed)
            .await?;
        work.commit().await?;
        Ok(set.ok_or("no cluster")?)
    }

    async fn update(&self, patch: &ClusterPatch) -> Outcome<ClusterRecord> {
        let mut work = self.begin().await?;
        let changed = work.clusters().update(self.cluster, patch).await?;
        work.commit().await?;
        Ok(changed.ok_or("no cluster")?)
    }
}

#[tokio::test]
async fn an_earlier_look_never_overwrites_a_later_one() -> TestResult {
    let world = World::create().await?;
    let started = world.the_cluster().await?.seen();
    // Another replica begins after this one and ends before it.
    assert!(world.record(&started, &found(ClusterStatus::Healthy, 20), None).await?);
    assert!(
        !world
            .record(&started, &found(ClusterStatus::Unreachable, 10), None)
            .await?
    );
    let cluster = world.the_cluster().await?;
    assert_eq!(cluster.status, ClusterStatus::Healthy);
    assert_eq!(cluster.last_checked_at, Some(at(20)));
    assert_eq!(cluster.last_healthy_at, Some(at(20)));

    // Whoever saw the newest result may follow it, whatever its clock says; so may a later look.
    let seen = cluster.seen();
    assert!(world.record(&seen, &found(ClusterStatus::Unhealthy, 5), None).await?);
    assert!(world.record(&started, &found(ClusterStatus::Healthy, 30), None).await?);
    let cluster = world.the_cluster().await?;
    assert_eq!(
        (cluster.status, cluster.last_checked_at),
        (ClusterStatus::Healthy, Some(at(30)))
    );
    Ok(())
}

#[tokio::test]
async fn a_look_with_old_credentials_says_nothing_about_new_ones() -> TestResult {
    let world = World::create().await?;
    let new = world.the_cluster().await?.seen();
    let changed = world.set_credentials(&[4, 5, 6]).await?;
    assert!(!world.record(&new, &found(ClusterStatus::Healthy, 10), None).await?);

    let seen = changed.seen();
    assert!(world.record(&seen, &found(ClusterStatus::Healthy, 10), None).await?);
    let healthy = world.the_cluster().await?;
    let changed = world.set_credentials(&[7, 8, 9]).await?;
    assert_eq!(changed.status, ClusterStatus::Unknown);
    assert_eq!((changed.status_reason, changed.last_checked_at), (None, None));
    assert_eq!(changed.api_server_url, "https://192.0.2.11:6443");
    assert!(changed.row_version > healthy.row_version, "a person changed it");
    assert!(
        !world
            .record(&healthy.seen(), &found(ClusterStatus::Healthy, 99), None)
            .await?
    );
    assert_eq!(world.the_cluster().await?.status, ClusterStatus::Unknown);
    Ok(())
}

#[tokio::test]
async fn a_lost_lease_and_a_deleted_cluster_store_nothing() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    let seen = world.the_cluster().await?.seen();
    let lease = store.acquire("health", "a", LONG).await?.ok_or("no lease")?;
    let lost = Lease {
        generation: lease.generation + 1,
        ..lease.clone()
    };
    let result = found(ClusterStatus::Healthy, 10);
    assert!(!world.record(&seen, &result, Some(&lost)).await?);
    assert!(world.record(&seen, &result, Some(&lease)).await?);

    let mut work = world.begin().await?;
    assert!(work.clusters().delete(world.cluster).await?);
    assert!(!work.clusters().delete(world.cluster).await?);
    work.commit().await?;
    assert!(!world.record(&seen, &found(ClusterStatus::Healthy, 99), None).await?);
    Ok(())
}

#[tokio::test]
async fn what_a_look_leaves_out_stays_as_it_was() -> TestResult {
    let world = World::create().await?;
    let everything = ClusterFacts {
        kubernetes_version: "v1.33.1".to_owned(),
        kubevirt_version: Some("1.6.2".to_owned()),
        features: vec!["NUMA".to_owned()],
        capabilities: Some(DetectedCapabilities {
            cdi: true,
            ..DetectedCapabilities::default()
        }),
        storage_classes: Some(vec![class("fast", false), class("slow", true)]),
        ..ClusterFacts::default()
    };
    let mut result = found(ClusterStatus::Healthy, 10);
    result.facts = Some(everything);
    world.record(&world.the_cluster().await?.seen(), &result, None).await?;
    let cluster = world.the_cluster().await?;
    assert_eq!(cluster.storage_classes, ["fast", "slow"]);
    assert_eq!(cluster.detected_default_storage_class.as_deref(), Some("slow"));
    assert_eq!(cluster.effective_storage_class(), Some("slow"));

    let mut result = found(ClusterStatus::Unhealthy, 20);
    result.facts = Some(ClusterFacts {
        kubernetes_version: "v1.34.0".to_owned(),
        ..ClusterFacts::default()
    });
    let mut work = world.begin().await?;
    let before = work.clusters().record_health(&cluster.seen(), &result, None).await?;
    let before = before.ok_or("nothing was stored")?;
    assert_eq!(before.kubevirt_version.as_deref(), Some("1.6.2"));
    work.commit().await?;
    let after = world.the_cluster().await?;
    assert_eq!(after.kubernetes_version.as_deref(), Some("v1.34.0"));
    assert_eq!(after.kubevirt_version.as_deref(), Some("1.6.2"));
    assert_eq!(after.enabled_features, ["NUMA"]);
    assert!(after.detected_capabilities.cdi);
    assert_eq!(after.storage_classes, ["fast", "slow"]);
    assert_eq!(after.detected_default_storage_class.as_deref(), Some("slow"));
    assert_eq!(after.storage_classes_updated_at, Some(at(10)));

    let chosen = ClusterPatch {
        default_storage_class: Some(Some("fast".to_owned())),
        ..ClusterPatch::default()
    };
    assert_eq!(world.update(&chosen).await?.effective_storage_class(), Some("fast"));

    let mut result = found(ClusterStatus::Healthy, 30);
    result.facts = Some(ClusterFacts {
        storage_classes: Some(vec![class("other", false)]),
        ..ClusterFacts::default()
    });
    world.record(&world.the_cluster().await?.seen(), &result, None).await?;
    let after = world.the_cluster().await?;
    assert_eq!(after.detected_default_storage_class, None);
    assert_eq!(
        after.effective_storage_class(),
        Some("fast"),
        "a choice outlives its class"
    );
    Ok(())
}

#[tokio::test]
async fn only_people_raise_the_version() -> TestResult {
    let world = World::create().await?;
    let before = world.the_cluster().await?;
    let mut result = found(ClusterStatus::Healthy, 10);
    result.facts = Some(ClusterFacts {
        kubernetes_version: "v1.33.1".to_owned(),
        kubevirt_version: Some("1.6.2".to_owned()),
        storage_classes: Some(vec![class("fast", true)]),
        capabilities: Some(DetectedCapabilities::default()),
        ..ClusterFacts::default()
    });
    assert!(world.record(&before.seen(), &result, None).await?);
    assert_eq!(world.the_cluster().await?.row_version, before.row_version);

    let patch = ClusterPatch {
        display_name: Some(Some("Hall 1".to_owned())),
        scheduling_weight: Some(5),
        concurrency_limit: Some(Some(7)),
        enabled: Some(false),
        ..ClusterPatch::default()
    };
    let changed = world.update(&patch).await?;
    assert_eq!(changed.row_version, before.row_version + 1);
    assert_eq!(changed.display_name.as_deref(), Some("Hall 1"));
    assert_eq!((changed.scheduling_weight, changed.concurrency_limit), (5, Some(7)));
    assert!(!changed.enabled);
    let credentials = world.store.sealed_credentials(world.cluster).await?;
    assert_eq!(credentials.and_then(|found| found.concurrency_limit), Some(7));

    let same = world.update(&ClusterPatch::default()).await?;
    assert_eq!(same.row_version, changed.row_version, "nothing changed");
    let cleared = ClusterPatch {
        display_name: Some(None),
        concurrency_limit: Some(None),
        ..ClusterPatch::default()
    };
    let changed = world.update(&cleared).await?;
    assert_eq!((changed.display_name, changed.concurrency_limit), (None, None));
    assert_eq!(changed.scheduling_weight, 5);
    Ok(())
}

#[tokio::test]
async fn machines_and_open_decisions_are_counted() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let used = work.clusters().count_use(world.cluster).await?;
    assert_eq!((used.vm_count, used.pending_request_count), (0, 0));
    let submitted = world.submit_create(work.as_mut()).await?;
    let used = work.clusters().count_use(world.cluster).await?;
    assert_eq!(used.pending_request_count, 0, "nobody has decided for it");
    let step = TicketStatus::PendingApproval.approve()?;
    assert!(
        work.tickets()
            .approve(submitted.ticket, step, &world.approval())
            .await?
    );
    world.insert_vm(work.as_mut(), "dev", world.service).await?;
    let used = work.clusters().count_use(world.cluster).await?;
    assert_eq!((used.vm_count, used.pending_request_count), (1, 1));
    Ok(())
}

#[tokio::test]
async fn whoever_locks_a_cluster_waits_for_whoever_holds_it() -> TestResult {
    let world = World::create().await?;
    let mut placing = world.begin().await?;
    let held = placing.clusters().hold(world.cluster).await?.ok_or("no cluster")?;
    assert_eq!(held.environment, Environment::Test);

    let moving = async {
        let mut moving = world.begin().await?;
        moving.clusters().lock(world.cluster).await?.ok_or("no cluster")?;
        let used = moving.clusters().count_use(world.cluster).await?;
        Outcome::Ok(used.vm_count)
    };
    let placing = async {
        world.insert_vm(placing.as_mut(), "dev", world.service).await?;
        placing.commit().await?;
        Outcome::Ok(())
    };
    let (seen, placed) = tokio::join!(moving, placing);
    placed?;
    assert_eq!(seen?, 1);
    Ok(())
}

#[tokio::test]
async fn other_replicas_are_told_what_concerns_them() -> TestResult {
    let world = World::create().await?;
    let cluster = world.cluster;
    let mut changes = world.store.changes().await?;
    let patch = |enabled| ClusterPatch {
        enabled: Some(enabled),
        ..ClusterPatch::default()
    };
    // What is found, and what only placement looks at, concerns nobody: the next change is the first that is heard of.
    let seen = world.the_cluster().await?.seen();
    world.record(&seen, &found(ClusterStatus::Healthy, 10), None).await?;
    let weight = ClusterPatch {
        scheduling_weight: Some(1),
        ..ClusterPatch::default()
    };
    world.update(&weight).await?;
    world.update(&patch(false)).await?;
    let told = tokio::time::timeout(PATIENCE, changes.next()).await?;
    assert_eq!(told, Some(Change::Cluster(cluster)));
    world.set_credentials(&[9]).await?;
    let told = tokio::time::timeout(PATIENCE, changes.next()).await?;
    assert_eq!(told, Some(Change::Cluster(cluster)));

    // What happens while the connection is lost is not heard, and that is said.
    let db = world.store.connection();
    let cut = "DO $$ BEGIN \
         PERFORM pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE 'LISTEN%'; END $$";
    db.execute_unprepared(cut).await?;
    let told = tokio::time::timeout(PATIENCE, changes.next()).await?;
    assert_eq!(told, Some(Change::Everything));
    world.update(&patch(true)).await?;
    let told = tokio::time::timeout(PATIENCE, changes.next()).await?;
    assert_eq!(told, Some(Change::Cluster(cluster)), "it listens again");

    let mut work = world.begin().await?;
    work.clusters().delete(cluster).await?;
    work.commit().await?;
    let told = tokio::time::timeout(PATIENCE, changes.next()).await?;
    assert_eq!(told, Some(Change::Cluster(cluster)));
    Ok(())
}
