//! What could be adopted, who decides, and what a scan may change about it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use sea_orm::sqlx;
use serde_json::json;
use shepherd_domain::adoption::{AdoptionStatus, Claim, Surroundings};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{AdoptionId, ServiceId, VmId};
use shepherd_domain::page::PageRequest;
use shepherd_domain::vm::{ObservedCondition, ObservedVm, VmStatus};
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::adoptions::{AdoptedVm, AdoptionCandidate, AdoptionFilter, AdoptionQueries, Sighting};
use shepherd_ports::services::ServiceQueries;
use shepherd_ports::vms::VmQueries;
use shepherd_ports::{RepositoryError, UnitOfWork};
use sqlx::AssertSqlSafe;

use crate::TestResult;
use crate::world::{Outcome, World, at, id, system_actor};

/// How often two want the same.
const RACES: i32 = 100;

fn claim(index: i32) -> Claim {
    Claim {
        system: "shop".to_owned(),
        service: "redis".to_owned(),
        instance: format!("{index:02}"),
        index,
    }
}

fn candidate(name: &str, uid: &str, index: i32) -> AdoptionCandidate {
    AdoptionCandidate {
        id: id(),
        namespace: "dev".to_owned(),
        resource_name: name.to_owned(),
        k8s_uid: uid.to_owned(),
        claim: claim(index),
        resource_spec: json!({"run_strategy": "Halted"}),
        labels: BTreeMap::from([("app".to_owned(), "shop".to_owned())]),
    }
}

fn observed(name: &str, uid: &str) -> ObservedVm {
    ObservedVm {
        name: name.to_owned(),
        namespace: "dev".to_owned(),
        uid: uid.to_owned(),
        resource_version: 7,
        condition: ObservedCondition::Is(VmStatus::Running),
        reason: None,
        message: None,
        run_strategy: Some("Always".to_owned()),
        vmi_uid: None,
        node: Some("node-1".to_owned()),
        ip: Some("10.0.0.7".to_owned()),
        restart_required: false,
        live_migratable: None,
        event_id: None,
        vm_id: None,
        managed: true,
        created_at: None,
    }
}

fn machine(world: &World, name: &str, uid: &str, index: i32) -> AdoptedVm {
    AdoptedVm {
        id: id(),
        cluster: world.cluster,
        claim: claim(index),
        created_by: ActorId::user(world.requester),
        observed: observed(name, uid),
        status: VmStatus::Running,
        cpu_cores: Some(2),
        memory_mb: Some(2048),
        disk_gb: None,
        storage_class: None,
        at: at(5),
    }
}

async fn note(world: &World, candidates: &[AdoptionCandidate], began: DateTime<Utc>) -> Outcome<()> {
    let mut work = world.begin().await?;
    work.adoptions()
        .note_candidates(world.cluster, candidates, began)
        .await?;
    Ok(work.commit().await?)
}

async fn status(world: &World, id: AdoptionId) -> Outcome<AdoptionStatus> {
    let record = world.store.get_adoption(id).await?.ok_or("the candidate is gone")?;
    Ok(record.status)
}

async fn run(world: &World, sql: String) -> Outcome<u64> {
    let pool = world.store.connection().get_postgres_connection_pool();
    Ok(sqlx::query(AssertSqlSafe(sql)).execute(pool).await?.rows_affected())
}

/// Service held, row inserted, number raised: the part of an adoption that meets creations.
async fn insert(work: &mut dyn UnitOfWork, vm: &AdoptedVm) -> Result<(), RepositoryError> {
    let service = work
        .adoptions()
        .hold_service("shop", "redis")
        .await?
        .ok_or_else(|| RepositoryError::Other("the Service is gone".into()))?;
    work.adoptions().insert_vm(vm, service).await?;
    work.adoptions().raise_instance_index(service, vm.claim.index + 1).await
}

async fn next_index(world: &World) -> Outcome<i32> {
    let service = world.store.get_service(world.system, world.service).await?;
    Ok(service.ok_or("the Service is gone")?.next_instance_index)
}

#[tokio::test]
async fn a_candidate_is_pending_until_somebody_decides_or_it_is_gone() -> TestResult {
    let world = World::create().await?;
    let by = system_actor();
    let found = candidate("lost", "uid-1", 7);
    note(&world, std::slice::from_ref(&found), at(10)).await?;
    let record = world.store.get_adoption(found.id).await?.ok_or("it was noted")?;
    assert_eq!(record.status, AdoptionStatus::Pending);
    assert_eq!((record.instance.as_str(), record.system.as_str()), ("07", "shop"));
    assert_eq!((record.last_seen_at, record.environment), (at(10), Environment::Test));
    assert_eq!(record.labels["app"], "shop");

    let mut work = world.begin().await?;
    assert_eq!(work.adoptions().expire_unseen(world.cluster, at(10)).await?, 0);
    assert_eq!(work.adoptions().expire_unseen(world.cluster, at(11)).await?, 1);
    assert!(!work.adoptions().ignore(found.id, &by, at(12)).await?, "it has expired");
    work.commit().await?;
    assert_eq!(status(&world, found.id).await?, AdoptionStatus::Expired);
    note(&world, &[candidate("lost", "uid-1", 7)], at(20)).await?;
    assert_eq!(status(&world, found.id).await?, AdoptionStatus::Pending);

    let mut work = world.begin().await?;
    assert!(work.adoptions().ignore(found.id, &by, at(21)).await?);
    assert!(!work.adoptions().ignore(found.id, &by, at(21)).await?, "it is ignored");
    assert!(
        !work.adoptions().adopt(found.id, id(), &by, at(21)).await?,
        "it is ignored"
    );
    assert_eq!(work.adoptions().expire_unseen(world.cluster, at(99)).await?, 0);
    work.commit().await?;
    note(&world, &[candidate("lost", "uid-1", 7)], at(30)).await?;
    assert_eq!(status(&world, found.id).await?, AdoptionStatus::Ignored);
    let mut work = world.begin().await?;
    assert!(work.adoptions().restore(found.id).await?);
    assert!(!work.adoptions().restore(found.id).await?, "it is PENDING");
    assert!(work.adoptions().ignore(found.id, &by, at(31)).await?);
    work.commit().await?;
    note(&world, &[candidate("lost", "uid-2", 8)], at(40)).await?;
    let record = world.store.get_adoption(found.id).await?.ok_or("it was noted")?;
    assert_eq!((record.status, record.decided_by), (AdoptionStatus::Pending, None));
    assert_eq!((record.k8s_uid.as_str(), record.instance.as_str()), ("uid-2", "08"));
    Ok(())
}

#[tokio::test]
async fn an_adopted_machine_is_offered_again_once_its_row_is_gone() -> TestResult {
    let world = World::create().await?;
    let found = candidate("lost", "uid-1", 7);
    note(&world, std::slice::from_ref(&found), at(10)).await?;
    let vm = machine(&world, "lost", "uid-1", 7);
    let mut work = world.begin().await?;
    assert!(work.adoptions().adopt(found.id, vm.id, &system_actor(), at(11)).await?);
    insert(work.as_mut(), &vm).await?;
    work.commit().await?;
    let stored = world.store.get_vm(vm.id).await?.ok_or("the row is there")?;
    assert_eq!((stored.status, stored.instance.as_str()), (VmStatus::Running, "07"));
    assert_eq!((stored.k8s_uid.as_deref(), stored.ticket_id), (Some("uid-1"), None));
    assert_eq!((stored.cpu_cores, stored.disk_gb), (Some(2), None));
    assert_eq!(stored.observed_at, Some(at(5)));
    note(&world, &[candidate("lost", "uid-1", 7)], at(20)).await?;
    assert_eq!(status(&world, found.id).await?, AdoptionStatus::Adopted);
    let mut work = world.begin().await?;
    assert!(work.vms().delete(vm.id).await?);
    work.commit().await?;
    note(&world, &[candidate("lost", "uid-1", 7)], at(30)).await?;
    let record = world.store.get_adoption(found.id).await?.ok_or("it was noted")?;
    assert_eq!((record.status, record.vm_id), (AdoptionStatus::Pending, None));
    Ok(())
}

#[tokio::test]
async fn a_scan_that_began_earlier_changes_nothing_that_a_later_one_has_noted() -> TestResult {
    let world = World::create().await?;
    let found = candidate("lost", "new", 7);
    note(&world, std::slice::from_ref(&found), at(20)).await?;
    note(&world, &[candidate("lost", "old", 6)], at(10)).await?;
    let record = world.store.get_adoption(found.id).await?.ok_or("it was noted")?;
    assert_eq!((record.k8s_uid.as_str(), record.last_seen_at), ("new", at(20)));
    let mut work = world.begin().await?;
    assert_eq!(work.adoptions().expire_unseen(world.cluster, at(10)).await?, 0);
    Ok(())
}

#[tokio::test]
async fn the_list_shows_what_the_caller_may_decide_about() -> TestResult {
    let world = World::create().await?;
    let found = [candidate("a", "1", 1), candidate("b", "2", 2), candidate("c", "3", 3)];
    note(&world, &found, at(10)).await?;
    let mut work = world.begin().await?;
    work.adoptions().ignore(found[0].id, &system_actor(), at(11)).await?;
    work.commit().await?;
    let page = PageRequest::default();
    let count =
        async |filter: AdoptionFilter| -> Outcome<u64> { Ok(world.store.list_adoptions(&filter, page).await?.total) };
    let all = AdoptionFilter {
        visible: EnvironmentSet::ALL,
        ..AdoptionFilter::default()
    };
    assert_eq!(count(all).await?, 3);
    let ignored = AdoptionFilter {
        status: Some(AdoptionStatus::Ignored),
        ..all
    };
    assert_eq!(count(ignored).await?, 1);
    let elsewhere = AdoptionFilter {
        cluster: Some(id()),
        ..all
    };
    assert_eq!(count(elsewhere).await?, 0);
    let prod = AdoptionFilter {
        visible: [Environment::Prod].into_iter().collect(),
        ..all
    };
    assert_eq!(count(prod).await?, 0);
    Ok(())
}

#[tokio::test]
async fn surroundings_are_what_rows_say_in_the_order_asked() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let vm = machine(&world, "known", "uid-1", 7);
    insert(work.as_mut(), &vm).await?;
    work.commit().await?;
    let sighting = |name: &str, uid: &str, row: Option<VmId>, index: i32| Sighting {
        namespace: "dev".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        vm_id: row,
        claim: Some(claim(index)),
    };
    let nameless = Sighting {
        namespace: "nowhere".to_owned(),
        claim: None,
        ..sighting("x", "y", None, 1)
    };
    let asked = [
        sighting("known", "other", None, 8),
        sighting("renamed", "uid-1", None, 8),
        sighting("copy", "uid-2", Some(vm.id), 7),
        sighting("new", "uid-3", Some(id()), 8),
        nameless,
    ];
    let found = world.store.surroundings(world.cluster, &asked).await?;
    let free = Surroundings {
        namespace: Some(Environment::Test),
        service: Some(world.service),
        ..Surroundings::default()
    };
    let expected = [
        Surroundings {
            known: true,
            name_taken: true,
            ..free.clone()
        },
        Surroundings {
            known: true,
            ..free.clone()
        },
        Surroundings {
            id_taken: true,
            instance_taken: true,
            ..free.clone()
        },
        free,
        Surroundings::default(),
    ];
    assert_eq!(found, expected);
    let elsewhere = world.store.surroundings(id(), &asked[..1]).await?;
    assert_eq!(
        elsewhere.first().map(|found| (found.known, found.name_taken)),
        Some((false, true))
    );
    Ok(())
}

#[tokio::test]
async fn a_cluster_is_scanned_once_per_interval_and_whenever_it_is_asked_for() -> TestResult {
    const INTERVAL: i64 = 900;
    let world = World::create().await?;
    let claimed = async || -> Outcome<usize> {
        let claims = (0..4).map(|_| async {
            let mut work = world.begin().await?;
            let claimed = work.adoptions().claim_scans(INTERVAL).await?;
            work.commit().await?;
            Ok::<_, RepositoryError>(claimed.len())
        });
        let counts: Result<Vec<usize>, _> = join_all(claims).await.into_iter().collect();
        Ok(counts?.into_iter().sum())
    };
    let asked = async |environments: EnvironmentSet| -> Outcome<u32> {
        let mut work = world.begin().await?;
        let scheduled = work.adoptions().request_scan(environments, None).await?;
        work.commit().await?;
        Ok(scheduled)
    };
    assert_eq!(asked(EnvironmentSet::ALL).await?, 0, "it is not HEALTHY");
    run(&world, "UPDATE clusters SET status = 'HEALTHY'".to_owned()).await?;
    assert_eq!(claimed().await?, 0, "it was registered just now");
    assert_eq!(asked([Environment::Prod].into_iter().collect()).await?, 0);
    assert_eq!(asked(EnvironmentSet::ALL).await?, 1);
    assert_eq!(claimed().await?, 1, "of several who ask, one gets it");
    assert_eq!(claimed().await?, 0);
    let late = "UPDATE adoption_scans SET scanned_at = scanned_at - interval '15 minutes'";
    run(&world, late.to_owned()).await?;
    assert_eq!(claimed().await?, 1);
    run(&world, "DELETE FROM adoption_scans".to_owned()).await?;
    let old = "UPDATE clusters SET created_at = now() - interval '1 day'";
    run(&world, old.to_owned()).await?;
    assert_eq!(claimed().await?, 1, "nobody has scanned it yet");
    Ok(())
}

/// Whoever comes first gets the number; neither loses anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adoption_and_a_creation_never_share_a_number() -> TestResult {
    let world = World::create().await?;
    for round in 0..RACES {
        let wanted = next_index(&world).await?;
        let vm = machine(&world, &format!("adopted-{round}"), &format!("uid-{round}"), wanted);
        let adopts = async {
            let mut work = world.begin().await?;
            insert(work.as_mut(), &vm).await?;
            work.commit().await
        };
        let (adopted, created) = tokio::join!(adopts, world.vm());
        created?;
        match adopted {
            Ok(()) => assert_eq!(next_index(&world).await?, wanted + 2, "round {round}"),
            Err(error) => {
                assert!(error.is_unique("uq_vms_instance_index"), "round {round}: {error:?}");
                assert_eq!(next_index(&world).await?, wanted + 1, "round {round}");
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_decisions_one_counts() -> TestResult {
    let world = World::create().await?;
    for round in 0..RACES {
        let found = candidate(&format!("lost-{round}"), "uid", 1);
        note(&world, std::slice::from_ref(&found), at(10)).await?;
        let decisions = (0..3).map(|number| {
            let (world, id_of) = (&world, found.id);
            async move {
                let by = system_actor();
                let mut work = world.begin().await?;
                let won = if number == 0 {
                    work.adoptions().ignore(id_of, &by, at(11)).await?
                } else {
                    work.adoptions().adopt(id_of, id(), &by, at(11)).await?
                };
                work.commit().await?;
                Ok::<_, RepositoryError>(won)
            }
        });
        let won: Result<Vec<bool>, _> = join_all(decisions).await.into_iter().collect();
        assert_eq!(won?.into_iter().filter(|won| *won).count(), 1, "round {round}");
    }
    Ok(())
}

#[tokio::test]
async fn a_machine_that_was_just_adopted_catches_up_and_never_falls_back() -> TestResult {
    let world = World::create().await?;
    let vm = AdoptedVm {
        status: VmStatus::Stopped,
        ..machine(&world, "lost", "uid-1", 7)
    };
    let mut work = world.begin().await?;
    insert(work.as_mut(), &vm).await?;
    let seen = |version: u64, uid: &str| ObservedVm {
        resource_version: version,
        ..observed("lost", uid)
    };
    for (version, uid) in [(6, "uid-1"), (7, "uid-1"), (8, "uid-2")] {
        let old = seen(version, uid);
        work.adoptions().catch_up(vm.id, &old, VmStatus::Failed, at(9)).await?;
    }
    let before = work.vms().find(vm.id).await?.ok_or("the row is there")?;
    assert_eq!(before.status, VmStatus::Stopped);
    work.adoptions()
        .catch_up(vm.id, &seen(8, "uid-1"), VmStatus::Running, at(9))
        .await?;
    let after = work.vms().find(vm.id).await?.ok_or("the row is there")?;
    assert_eq!((after.status, after.observed_at), (VmStatus::Running, Some(at(9))));
    Ok(())
}

#[tokio::test]
async fn a_service_is_found_by_both_names() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let held: Option<ServiceId> = work.adoptions().hold_service("shop", "redis").await?;
    assert_eq!(held, Some(world.service));
    assert_eq!(work.adoptions().hold_service("shop", "web").await?, None);
    assert_eq!(work.adoptions().hold_service("lab", "redis").await?, None);
    work.adoptions().raise_instance_index(world.service, 9).await?;
    work.adoptions().raise_instance_index(world.service, 4).await?;
    work.commit().await?;
    assert_eq!(next_index(&world).await?, 9, "numbers only grow");
    Ok(())
}
