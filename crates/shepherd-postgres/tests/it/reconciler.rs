//! Runs exclude each other, end once, and mark only what still qualifies.

use futures::future::join_all;
use sea_orm::sqlx;
use serde_json::json;
use shepherd_domain::ActorId;
use shepherd_domain::Environment;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{ClusterId, ReconcilerRunId, VmId};
use shepherd_domain::page::PageRequest;
use shepherd_domain::reconciler::{FindingKind, ReconcilerMode, RunStatus, SkipReason};
use shepherd_ports::reconciler::{ClusterFindings, Ghost, NewRun, Orphan, ReconcilerQueries, RunStart, Skipped};
use shepherd_ports::upkeep::Transient;
use sqlx::AssertSqlSafe;

use crate::TestResult;
use crate::world::{Outcome, World, at, id, system_actor};

/// How often several runs begin at the same time.
const RACES: usize = 100;

fn new_run(cluster: Option<ClusterId>) -> NewRun {
    NewRun {
        id: id(),
        mode: ReconcilerMode::Mark,
        cluster,
        started_by: system_actor(),
        claimed: false,
    }
}

async fn start(world: &World, run: &NewRun) -> Outcome<RunStart> {
    let mut work = world.begin().await?;
    let started = work.reconciler().start(run).await?;
    work.commit().await?;
    Ok(started)
}

async fn started(world: &World, cluster: Option<ClusterId>) -> Outcome<ReconcilerRunId> {
    let run = new_run(cluster);
    assert_eq!(start(world, &run).await?, RunStart::Started);
    Ok(run.id)
}

async fn finish(world: &World, run: ReconcilerRunId, error: Option<&str>) -> Outcome<Option<RunStatus>> {
    let mut work = world.begin().await?;
    let ended = work.reconciler().finish(run, error, at(9)).await?;
    work.commit().await?;
    Ok(ended)
}

async fn status(world: &World, run: ReconcilerRunId) -> Outcome<RunStatus> {
    let found = world.store.get_run(EnvironmentSet::ALL, run).await?;
    Ok(found.ok_or("the run is gone")?.status)
}

async fn run(world: &World, sql: impl Into<String>) -> Outcome<u64> {
    let pool = world.store.connection().get_postgres_connection_pool();
    Ok(sqlx::query(AssertSqlSafe(sql.into()))
        .execute(pool)
        .await?
        .rows_affected())
}

async fn texts(world: &World, sql: &'static str) -> Outcome<Vec<String>> {
    let pool = world.store.connection().get_postgres_connection_pool();
    Ok(sqlx::query_scalar(sql).fetch_all(pool).await?)
}

/// A row that is old enough to be looked for.
async fn old_vm(world: &World) -> Outcome<VmId> {
    let vm = world.vm().await?;
    let sql = format!("UPDATE vms SET status = 'RUNNING', created_at = now() - interval '1 hour' WHERE id = '{vm}'");
    run(world, sql).await?;
    Ok(vm)
}

fn ghost(vm: VmId) -> Ghost {
    Ghost {
        id: id(),
        vm_id: vm,
        uid: None,
    }
}

fn orphan(name: &str) -> Orphan {
    Orphan {
        id: id(),
        namespace: "dev".to_owned(),
        name: name.to_owned(),
        details: json!({"reason": "service_not_found"}),
    }
}

fn found(world: &World, ghosts: &[VmId]) -> ClusterFindings {
    ClusterFindings {
        cluster: world.cluster,
        examined: 10,
        ghosts: ghosts.iter().map(|vm| ghost(*vm)).collect(),
        orphans: Vec::new(),
        halted: false,
    }
}

async fn record(world: &World, run: ReconcilerRunId, mode: ReconcilerMode, found: &ClusterFindings) -> Outcome<bool> {
    let mut work = world.begin().await?;
    let kept = work.reconciler().record(run, mode, found, at(5)).await?;
    work.commit().await?;
    Ok(kept)
}

async fn marked(world: &World) -> Outcome<Vec<String>> {
    texts(
        world,
        "SELECT id::text FROM vms WHERE reconcile_mark = 'GHOST' ORDER BY id",
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_all_clusters_excludes_every_other_one_and_the_reverse() -> TestResult {
    let world = World::create().await?;
    let (one, other) = (world.cluster, id());
    for round in 0..RACES {
        let runs = [None, Some(one), Some(one), Some(other)].map(new_run);
        let answers = join_all(runs.iter().map(|run| start(&world, run))).await;
        let mut begun = Vec::new();
        for (run, answer) in runs.iter().zip(answers) {
            if answer? == RunStart::Started {
                begun.push(run.cluster);
            }
        }
        begun.sort();
        let all_alone = begun == [None::<ClusterId>];
        let each_its_own = begun.iter().filter(|cluster| **cluster == Some(one)).count() == 1
            && begun.iter().all(|cluster| cluster.is_some());
        assert!(all_alone || each_its_own, "round {round}: {begun:?}");
        run(&world, "DELETE FROM reconciler_runs").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_run_that_gives_no_sign_of_life_is_failed_and_excludes_nothing() -> TestResult {
    let world = World::create().await?;
    let dead = started(&world, None).await?;
    let late = started_is_refused(&world, Some(world.cluster)).await?;
    assert_eq!(late, dead);
    run(
        &world,
        "UPDATE reconciler_runs SET heartbeat_at = now() - interval '119 seconds'",
    )
    .await?;
    assert_eq!(started_is_refused(&world, None).await?, dead);
    run(
        &world,
        "UPDATE reconciler_runs SET heartbeat_at = now() - interval '121 seconds'",
    )
    .await?;
    let next = started(&world, None).await?;
    assert_eq!(status(&world, dead).await?, RunStatus::Failed);

    // What the dead one finds out later is not kept.
    let vm = old_vm(&world).await?;
    assert!(!record(&world, dead, ReconcilerMode::Mark, &found(&world, &[vm])).await?);
    assert_eq!(marked(&world).await?, Vec::<String>::new());
    assert_eq!(finish(&world, dead, None).await?, None);
    let mut work = world.begin().await?;
    assert!(!work.reconciler().beat(dead).await?);
    assert!(work.reconciler().beat(next).await?);
    Ok(())
}

async fn started_is_refused(world: &World, cluster: Option<ClusterId>) -> Outcome<ReconcilerRunId> {
    match start(world, &new_run(cluster)).await? {
        RunStart::Excluded(other) => Ok(other),
        RunStart::Started => Err("it should have been excluded".into()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_worked_on_by_one_worker() -> TestResult {
    let world = World::create().await?;
    let here = NewRun {
        claimed: true,
        ..new_run(Some(id()))
    };
    assert_eq!(start(&world, &here).await?, RunStart::Started);
    let waiting = started(&world, Some(world.cluster)).await?;
    let claims = (0..5).map(|_| async {
        let mut work = world.begin().await?;
        let claimed = work.reconciler().claim().await?;
        work.commit().await?;
        Ok::<_, shepherd_ports::RepositoryError>(claimed)
    });
    let claimed: Result<Vec<_>, _> = join_all(claims).await.into_iter().collect();
    let claimed: Vec<ReconcilerRunId> = claimed?.into_iter().flatten().map(|run| run.id).collect();
    assert_eq!(claimed, [waiting]);
    Ok(())
}

#[tokio::test]
async fn a_scheduled_run_begins_once_per_interval_and_not_beside_another() -> TestResult {
    const INTERVAL: i64 = 6 * 3600;
    let world = World::create().await?;
    let due = async || -> Outcome<bool> {
        let mut scheduled = new_run(None);
        scheduled.started_by = ActorId::system("reconciler");
        let mut work = world.begin().await?;
        let begun = work.reconciler().start_if_due(&scheduled, INTERVAL).await?;
        work.commit().await?;
        if begun {
            finish(&world, scheduled.id, None).await?;
        }
        Ok(begun)
    };
    assert!(!due().await?, "the first cluster was registered just now");
    run(&world, "UPDATE clusters SET created_at = now() - interval '7 hours'").await?;
    let other = started(&world, Some(world.cluster)).await?;
    assert!(!due().await?, "another run is under way");
    finish(&world, other, None).await?;
    assert!(due().await?);
    assert!(!due().await?, "it has run just now");
    run(
        &world,
        "UPDATE reconciler_runs SET created_at = now() - interval '5 hours'",
    )
    .await?;
    assert!(!due().await?);
    run(
        &world,
        "UPDATE reconciler_runs SET created_at = now() - interval '6 hours'",
    )
    .await?;
    assert!(due().await?);
    run(&world, "DELETE FROM clusters").await?;
    run(&world, "DELETE FROM reconciler_runs").await?;
    assert!(!due().await?, "there is nothing to compare");
    Ok(())
}

#[tokio::test]
async fn rows_are_looked_for_unless_they_are_young_or_on_their_way() -> TestResult {
    let world = World::create().await?;
    let old = old_vm(&world).await?;
    let set = async |vm: VmId, what: &str| run(&world, format!("UPDATE vms SET {what} WHERE id = '{vm}'")).await;
    let young = old_vm(&world).await?;
    set(young, "created_at = now() - interval '9 minutes'").await?;
    let leaving = old_vm(&world).await?;
    set(leaving, "status = 'DELETING'").await?;
    let stuck = old_vm(&world).await?;
    set(stuck, "status = 'CREATING'").await?;
    let coming = old_vm(&world).await?;
    let mut work = world.begin().await?;
    let ticket = world.submit_create(work.as_mut()).await?.ticket;
    work.commit().await?;
    set(coming, &format!("status = 'CREATING', ticket_id = '{ticket}'")).await?;
    let mut examined: Vec<VmId> = world
        .store
        .examined(world.cluster)
        .await?
        .into_iter()
        .map(|vm| vm.id)
        .collect();
    examined.sort();
    assert_eq!(examined, [old, stuck]);
    assert!(world.store.examined(id()).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn marks_are_set_and_taken_away_by_a_marking_run_alone() -> TestResult {
    let world = World::create().await?;
    let (missing, back) = (old_vm(&world).await?, old_vm(&world).await?);
    let run_id = started(&world, Some(world.cluster)).await?;
    let both = found(&world, &[missing, back]);
    assert!(record(&world, run_id, ReconcilerMode::DryRun, &both).await?);
    assert_eq!(marked(&world).await?, Vec::<String>::new());
    run(&world, "DELETE FROM reconciler_findings").await?;
    assert!(record(&world, run_id, ReconcilerMode::Mark, &both).await?);
    assert_eq!(marked(&world).await?, [missing.to_string(), back.to_string()]);

    run(&world, "DELETE FROM reconciler_findings").await?;
    let halted = ClusterFindings {
        halted: true,
        ..found(&world, &[])
    };
    assert!(record(&world, run_id, ReconcilerMode::Mark, &halted).await?);
    assert_eq!(marked(&world).await?.len(), 2, "a halted cluster keeps its marks");
    assert!(record(&world, run_id, ReconcilerMode::Mark, &found(&world, &[missing])).await?);
    assert_eq!(marked(&world).await?, [missing.to_string()]);
    assert_eq!(finish(&world, run_id, None).await?, Some(RunStatus::Halted));
    assert_eq!(finish(&world, run_id, None).await?, None, "it ends once");
    let ended = world
        .store
        .get_run(EnvironmentSet::ALL, run_id)
        .await?
        .ok_or("the run")?;
    assert_eq!(ended.halted_cluster_ids, [world.cluster]);
    assert_eq!((ended.examined, ended.ghosts), (40, 5));
    Ok(())
}

#[tokio::test]
async fn what_no_longer_qualifies_is_neither_found_nor_marked() -> TestResult {
    let world = World::create().await?;
    let gone = old_vm(&world).await?;
    let leaving = old_vm(&world).await?;
    let appeared = old_vm(&world).await?;
    let still = old_vm(&world).await?;
    run(&world, format!("DELETE FROM vms WHERE id = '{gone}'")).await?;
    run(
        &world,
        format!("UPDATE vms SET status = 'DELETING' WHERE id = '{leaving}'"),
    )
    .await?;
    run(
        &world,
        format!("UPDATE vms SET k8s_uid = 'uid' WHERE id = '{appeared}'"),
    )
    .await?;
    let known = texts(&world, "SELECT name FROM vms ORDER BY id LIMIT 1").await?;
    let mut findings = found(&world, &[gone, leaving, appeared, still]);
    findings.orphans = vec![orphan("lost"), orphan("lost"), orphan(&known[0])];
    let run_id = started(&world, Some(world.cluster)).await?;
    assert!(record(&world, run_id, ReconcilerMode::Mark, &findings).await?);
    assert_eq!(marked(&world).await?, [still.to_string()]);
    let page = PageRequest::default();
    let ghosts = world.store.list_findings(run_id, FindingKind::Ghost, page).await?;
    assert_eq!(ghosts.total, 1);
    assert_eq!(ghosts.items[0].vm_id, Some(still));
    assert_eq!(ghosts.items[0].cluster_name.as_deref(), Some("one"));
    let orphans = world.store.list_findings(run_id, FindingKind::Orphan, page).await?;
    assert_eq!(orphans.total, 1);
    assert_eq!((orphans.items[0].name.as_str(), orphans.items[0].vm_id), ("lost", None));
    assert_eq!(orphans.items[0].details["reason"], "service_not_found");
    let ended = world
        .store
        .get_run(EnvironmentSet::ALL, run_id)
        .await?
        .ok_or("the run")?;
    assert_eq!((ended.examined, ended.ghosts, ended.orphans), (10, 1, 1));
    Ok(())
}

#[tokio::test]
async fn a_run_tells_what_it_skipped_and_why_it_failed() -> TestResult {
    let world = World::create().await?;
    let run_id = started(&world, None).await?;
    let skipped = Skipped {
        cluster_id: world.cluster,
        cluster: "one".to_owned(),
        reason: SkipReason::NotLive,
    };
    let mut work = world.begin().await?;
    assert!(work.reconciler().skip(run_id, &skipped).await?);
    assert!(work.reconciler().skip(run_id, &skipped).await?);
    work.commit().await?;
    let words = "x".repeat(600);
    assert_eq!(finish(&world, run_id, Some(&words)).await?, Some(RunStatus::Failed));
    let ended = world
        .store
        .get_run(EnvironmentSet::ALL, run_id)
        .await?
        .ok_or("the run")?;
    assert_eq!(ended.skipped, [skipped.clone(), skipped]);
    assert_eq!(ended.error.map(|error| error.len()), Some(512));
    assert_eq!(ended.finished_at, Some(at(9)));
    Ok(())
}

#[tokio::test]
async fn runs_are_shown_to_those_who_may_see_their_clusters() -> TestResult {
    let world = World::create().await?;
    let of_test = started(&world, Some(world.cluster)).await?;
    finish(&world, of_test, None).await?;
    let of_all = started(&world, None).await?;
    finish(&world, of_all, None).await?;
    let of_gone = started(&world, Some(id())).await?;
    let prod: EnvironmentSet = [Environment::Prod].into_iter().collect();
    for (visible, expected) in [
        (EnvironmentSet::ALL, vec![of_gone, of_all, of_test]),
        (EnvironmentSet::TEST, vec![of_test]),
        (prod, vec![]),
        (EnvironmentSet::EMPTY, vec![]),
    ] {
        let listed = world.store.list_runs(visible, PageRequest::default()).await?;
        let ids: Vec<ReconcilerRunId> = listed.items.iter().map(|run| run.id).collect();
        assert_eq!(ids, expected, "{visible:?}");
        let one = world.store.get_run(visible, of_all).await?;
        assert_eq!(one.is_some(), expected.contains(&of_all), "{visible:?}");
    }
    Ok(())
}

#[tokio::test]
async fn old_runs_go_with_their_findings_and_running_ones_stay() -> TestResult {
    let world = World::create().await?;
    let vm = old_vm(&world).await?;
    let old = started(&world, Some(world.cluster)).await?;
    assert!(record(&world, old, ReconcilerMode::DryRun, &found(&world, &[vm])).await?);
    finish(&world, old, None).await?;
    started(&world, Some(world.cluster)).await?;
    let mut work = world.begin().await?;
    assert_eq!(work.upkeep().remove(Transient::ReconcilerRuns, at(9), 10).await?, 0);
    assert_eq!(work.upkeep().remove(Transient::ReconcilerRuns, at(10), 10).await?, 1);
    work.commit().await?;
    assert_eq!(
        texts(&world, "SELECT id::text FROM reconciler_findings").await?.len(),
        0
    );
    assert_eq!(texts(&world, "SELECT id::text FROM reconciler_runs").await?.len(), 1);
    Ok(())
}
