//! What clusters report becomes the state of rows: in order, for the right object, under a lease.

use std::time::Duration;

use sea_orm::sqlx;
use shepherd_domain::cluster::WatchState;
use shepherd_domain::ids::VmId;
use shepherd_domain::ticket::TicketStatus;
use shepherd_domain::vm::{CREATION_TIMEOUT, OBJECT_MISSING, ObservedCondition, ObservedVm, VmStatus};
use shepherd_ports::leases::{Lease, LeaseStore};
use shepherd_ports::vms::{Projected, Sighting, VmQueries, VmRecord};
use shepherd_ports::watches::WatchQueries;
use sqlx::AssertSqlSafe;

use crate::TestResult;
use crate::world::{Outcome, World, at};

/// Take-overs in the middle of projections.
const ROUNDS: u64 = 200;

struct Watch {
    world: World,
    vm: VmId,
    row: VmRecord,
    lease: Lease,
}

impl Watch {
    async fn begin() -> Outcome<Self> {
        let world = World::create().await?;
        let vm = world.vm().await?;
        let row = world.store.get_vm(vm).await?.ok_or("no machine")?;
        let lease = world
            .store
            .acquire("watch", "a", Duration::from_secs(60))
            .await?
            .ok_or("no lease")?;
        Ok(Self { world, vm, row, lease })
    }

    fn observed(&self, resource_version: u64, condition: ObservedCondition) -> ObservedVm {
        ObservedVm {
            name: self.row.name.clone(),
            namespace: self.row.namespace.clone(),
            uid: "u1".to_owned(),
            resource_version,
            condition,
            reason: None,
            message: None,
            run_strategy: None,
            vmi_uid: None,
            node: None,
            ip: None,
            restart_required: false,
            live_migratable: None,
            event_id: None,
            vm_id: Some(self.vm.to_string()),
            managed: true,
            created_at: None,
        }
    }

    async fn see(&self, observed: &ObservedVm) -> Outcome<Option<Projected>> {
        let sighting = Sighting::Present(Box::new(observed.clone()));
        Ok(self.project(&self.lease, &[sighting]).await?.pop())
    }

    async fn see_absence(&self, uid: &str) -> Outcome<Option<Projected>> {
        let VmRecord { namespace, name, .. } = &self.row;
        let sighting = Sighting::Gone {
            namespace: namespace.clone(),
            name: name.clone(),
            uid: uid.to_owned(),
        };
        Ok(self.project(&self.lease, &[sighting]).await?.pop())
    }

    async fn project(&self, lease: &Lease, sightings: &[Sighting]) -> Outcome<Vec<Projected>> {
        let mut work = self.world.begin().await?;
        let projected = work
            .vms()
            .project(self.world.cluster, sightings, at(100), lease)
            .await?;
        work.commit().await?;
        Ok(projected)
    }

    /// Where the row is stored, which changes with every write, and its version.
    async fn place(&self) -> Outcome<String> {
        let sql = format!(
            "SELECT xmin::text || xmax::text || ctid::text || row_version FROM vms WHERE id = '{}'",
            self.vm
        );
        text(&self.world, sql).await
    }

    async fn status(&self) -> Outcome<VmStatus> {
        Ok(self.world.store.get_vm(self.vm).await?.ok_or("no machine")?.status)
    }

    /// Approves a deletion, so that its ticket is open and the row DELETING.
    async fn approve_deletion(&self) -> Outcome<()> {
        let mut work = self.world.begin().await?;
        let submitted = self.world.submit_delete(work.as_mut(), self.vm).await?;
        let approve = TicketStatus::PendingApproval.approve()?;
        assert!(
            work.tickets()
                .approve(submitted.ticket, approve, &self.world.approval())
                .await?
        );
        let status = work.vms().find(self.vm).await?.ok_or("no machine")?.status;
        assert!(
            work.vms()
                .transition(self.vm, status.delete(false)?, None, None)
                .await?
        );
        work.commit().await?;
        Ok(())
    }
}

const RUNNING: ObservedCondition = ObservedCondition::Is(VmStatus::Running);
const STOPPED: ObservedCondition = ObservedCondition::Is(VmStatus::Stopped);

#[tokio::test]
async fn a_list_counts_although_its_versions_are_older() -> TestResult {
    let watch = Watch::begin().await?;
    watch.see(&watch.observed(5_000, RUNNING)).await?;
    assert_eq!(watch.see(&watch.observed(40, STOPPED)).await?, None, "an old event");
    let restored = [Sighting::Listed(Box::new(watch.observed(40, RUNNING)))];
    assert!(
        watch.project(&watch.lease, &restored).await?.len() <= 1 && watch.status().await? == VmStatus::Running,
        "nothing but the version is new"
    );
    let place = watch.place().await?;
    watch.project(&watch.lease, &restored).await?;
    assert_eq!(
        watch.place().await?,
        place,
        "a list that says nothing new writes nothing"
    );
    watch.see(&watch.observed(41, STOPPED)).await?;
    assert_eq!(
        watch.status().await?,
        VmStatus::Stopped,
        "versions count anew from there"
    );
    Ok(())
}

#[tokio::test]
async fn the_first_running_is_told_once_and_makes_waiting_mean_pending() -> TestResult {
    let watch = Watch::begin().await?;
    assert!(
        watch
            .see(&watch.observed(1, ObservedCondition::Waiting))
            .await?
            .is_some(),
        "the uid is new"
    );
    assert_eq!(watch.status().await?, VmStatus::Creating);
    let running = watch.see(&watch.observed(2, RUNNING)).await?.ok_or("nothing changed")?;
    assert!(running.first_running);
    assert_eq!(
        (running.before, running.after, running.system),
        (VmStatus::Creating, VmStatus::Running, watch.world.system)
    );
    watch.see(&watch.observed(3, ObservedCondition::Waiting)).await?;
    assert_eq!(watch.status().await?, VmStatus::Pending);
    let again = watch.see(&watch.observed(4, RUNNING)).await?.ok_or("nothing changed")?;
    assert!(!again.first_running);
    Ok(())
}

#[tokio::test]
async fn an_observation_that_changes_nothing_is_not_written() -> TestResult {
    let watch = Watch::begin().await?;
    watch.see(&watch.observed(5, RUNNING)).await?;
    let version = watch
        .world
        .store
        .get_vm(watch.vm)
        .await?
        .ok_or("no machine")?
        .row_version;
    assert_eq!(watch.see(&watch.observed(6, RUNNING)).await?, None);
    let after = watch
        .world
        .store
        .get_vm(watch.vm)
        .await?
        .ok_or("no machine")?
        .row_version;
    assert_eq!(version, after);
    Ok(())
}

#[tokio::test]
async fn older_observations_and_other_objects_are_ignored() -> TestResult {
    let watch = Watch::begin().await?;
    watch.see(&watch.observed(10, RUNNING)).await?;
    assert_eq!(
        watch.see(&watch.observed(9, STOPPED)).await?,
        None,
        "older, and not greater as text either"
    );
    let other_object = ObservedVm {
        uid: "u2".to_owned(),
        ..watch.observed(11, STOPPED)
    };
    assert_eq!(watch.see(&other_object).await?, None);
    let other_row = ObservedVm {
        vm_id: Some(watch.world.system.to_string()),
        ..watch.observed(11, STOPPED)
    };
    assert_eq!(watch.see(&other_row).await?, None);
    let no_row = ObservedVm {
        vm_id: Some("nonsense".to_owned()),
        ..watch.observed(11, STOPPED)
    };
    assert_eq!(watch.see(&no_row).await?, None);
    assert_eq!(watch.status().await?, VmStatus::Running);
    let unannotated = ObservedVm {
        vm_id: None,
        ..watch.observed(11, STOPPED)
    };
    assert!(watch.see(&unannotated).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn nothing_is_written_once_the_lease_is_lost() -> TestResult {
    let watch = Watch::begin().await?;
    watch.world.store.release(&watch.lease).await?;
    assert_eq!(watch.see(&watch.observed(1, RUNNING)).await?, None);
    watch
        .world
        .store
        .acquire("watch", "b", Duration::from_secs(60))
        .await?
        .ok_or("no lease")?;
    assert_eq!(watch.see(&watch.observed(1, RUNNING)).await?, None);
    assert_eq!(watch.status().await?, VmStatus::Creating);
    Ok(())
}

#[tokio::test]
async fn a_machine_that_is_being_deleted_stays_deleting_while_its_ticket_is_open() -> TestResult {
    let watch = Watch::begin().await?;
    watch.see(&watch.observed(1, RUNNING)).await?;
    watch.approve_deletion().await?;
    assert_eq!(watch.see(&watch.observed(2, STOPPED)).await?, None);
    assert_eq!(watch.see_absence("u1").await?, None);
    assert_eq!(watch.status().await?, VmStatus::Deleting);
    Ok(())
}

#[tokio::test]
async fn a_missing_object_makes_its_row_unknown_until_it_is_seen_again() -> TestResult {
    let watch = Watch::begin().await?;
    watch.see(&watch.observed(7, RUNNING)).await?;
    assert_eq!(watch.see_absence("u2").await?, None);
    let missing = watch.see_absence("u1").await?.ok_or("nothing changed")?;
    assert_eq!(
        (missing.after, missing.reason.as_deref()),
        (VmStatus::Unknown, Some(OBJECT_MISSING))
    );
    assert_eq!(watch.see_absence("u1").await?, None);
    let back = watch.see(&watch.observed(7, RUNNING)).await?.ok_or("nothing changed")?;
    assert_eq!(back.before, VmStatus::Unknown);
    Ok(())
}

/// One text, by SQL.
async fn text(world: &World, sql: String) -> Outcome<String> {
    let pool = world.store.connection().get_postgres_connection_pool();
    Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await?)
}

/// More machines of the same Service, as they are seen to run.
async fn running_fleet(watch: &Watch, machines: u64) -> Outcome<Vec<Sighting>> {
    let mut fleet = Vec::new();
    for number in 1..=machines {
        let vm = watch.world.vm().await?;
        let row = watch.world.store.get_vm(vm).await?.ok_or("no machine")?;
        fleet.push(Sighting::Present(Box::new(ObservedVm {
            name: row.name,
            uid: format!("fleet-{number}"),
            vm_id: Some(vm.to_string()),
            ..watch.observed(number, RUNNING)
        })));
    }
    Ok(fleet)
}

#[tokio::test]
async fn a_batch_changes_each_row_by_its_own_sighting() -> TestResult {
    let watch = Watch::begin().await?;
    watch.see(&watch.observed(50, RUNNING)).await?;
    let mut batch = running_fleet(&watch, 20).await?;
    batch.push(Sighting::Present(Box::new(watch.observed(49, STOPPED))));
    batch.push(Sighting::Present(Box::new(ObservedVm {
        name: "nobodys".to_owned(),
        vm_id: None,
        ..watch.observed(60, STOPPED)
    })));
    let changed = watch.project(&watch.lease, &batch).await?;
    assert_eq!(changed.len(), 20, "neither what is older nor what has no row");
    assert!(
        changed
            .iter()
            .all(|row| row.first_running && row.after == VmStatus::Running)
    );
    assert_eq!(watch.status().await?, VmStatus::Running);
    assert_eq!(watch.project(&watch.lease, &batch).await?, [], "it says nothing new");
    let VmRecord { namespace, name, .. } = &watch.row;
    batch.push(Sighting::Gone {
        namespace: namespace.clone(),
        name: name.clone(),
        uid: "u1".to_owned(),
    });
    let missing = watch.project(&watch.lease, &batch).await?;
    assert_eq!(
        missing.iter().map(|row| row.vm).collect::<Vec<_>>(),
        [watch.vm],
        "the batch holds an old sighting of the same object too"
    );
    Ok(())
}

#[tokio::test]
async fn unchanged_machines_are_not_written_at_all() -> TestResult {
    let watch = Watch::begin().await?;
    watch.see(&watch.observed(5, RUNNING)).await?;
    let place = watch.place().await?;
    for version in 5..30 {
        assert_eq!(watch.see(&watch.observed(version, RUNNING)).await?, None);
    }
    assert_eq!(watch.place().await?, place, "not even by a lock");
    Ok(())
}

#[tokio::test]
async fn a_text_that_cannot_be_stored_harms_no_machine() -> TestResult {
    let watch = Watch::begin().await?;
    let odd = ObservedVm {
        message: Some("a\0b".to_owned()),
        node: Some("n\0".to_owned()),
        ..watch.observed(1, RUNNING)
    };
    assert!(watch.see(&odd).await?.is_some());
    let row = watch.world.store.get_vm(watch.vm).await?.ok_or("no machine")?;
    assert_eq!(row.status_message.as_deref(), Some("ab"));
    let impossible = ObservedVm {
        uid: "u\0".to_owned(),
        ..watch.observed(2, STOPPED)
    };
    assert_eq!(watch.see(&impossible).await?, None);
    Ok(())
}

#[tokio::test]
async fn a_projector_that_was_replaced_never_overwrites_its_successor() -> TestResult {
    let watch = Watch::begin().await?;
    let holders = ["a", "b"];
    let mut lease = watch.lease.clone();
    for round in 1..=ROUNDS {
        let old = lease.clone();
        let successor = holders[usize::try_from(round % 2)?];
        let node = |observed: ObservedVm, node: String| ObservedVm {
            node: Some(node),
            ..observed
        };
        // The replaced holder still has something newer than what the rows say, and writes at the same time.
        let late = node(watch.observed(round * 10 + 5, STOPPED), format!("late-{round}"));
        let late = [Sighting::Present(Box::new(late))];
        let new = node(watch.observed(round * 10 + 6, RUNNING), format!("new-{round}"));
        let taken_over = async {
            watch.world.store.release(&old).await?;
            let lease = watch
                .world
                .store
                .acquire("watch", successor, Duration::from_secs(60))
                .await?
                .ok_or("no lease")?;
            watch.project(&lease, &[Sighting::Present(Box::new(new))]).await?;
            Outcome::Ok(lease)
        };
        let (by_old, by_new) = tokio::join!(watch.project(&old, &late), taken_over);
        by_old?;
        lease = by_new?;
        assert_eq!(
            watch.project(&old, &late).await?,
            [],
            "round {round}: the lease is lost"
        );
        let row = watch.world.store.get_vm(watch.vm).await?.ok_or("no machine")?;
        assert_eq!(row.node_name, Some(format!("new-{round}")), "round {round}");
        assert_eq!(row.status, VmStatus::Running);
    }
    Ok(())
}

#[tokio::test]
async fn two_projectors_of_the_same_batch_do_not_wait_for_each_other_forever() -> TestResult {
    let watch = Watch::begin().await?;
    let fleet = running_fleet(&watch, 40).await?;
    let mut reversed = fleet.clone();
    reversed.reverse();
    let (one, other) = tokio::join!(
        watch.project(&watch.lease, &fleet),
        watch.project(&watch.lease, &reversed)
    );
    assert_eq!(one?.len() + other?.len(), 40, "each row is changed once");
    Ok(())
}

#[tokio::test]
async fn the_state_of_a_watch_is_written_under_its_lease() -> TestResult {
    let watch = Watch::begin().await?;
    let (world, lease) = (&watch.world, &watch.lease);
    let mut work = world.begin().await?;
    assert_eq!(
        work.watches().begin(world.cluster, at(1), lease).await?,
        Some(WatchState::Starting)
    );
    for state in [WatchState::Live, WatchState::Live, WatchState::Rebuilding] {
        assert!(work.watches().set_state(world.cluster, state, at(2), lease).await?);
    }
    work.commit().await?;
    let versions = "SELECT state || ' ' || row_version FROM cluster_watches".to_owned();
    assert_eq!(
        text(world, versions.clone()).await?,
        "REBUILDING 3",
        "a state that is noted already is not written"
    );

    let mut work = world.begin().await?;
    assert_eq!(
        work.watches().begin(world.cluster, at(3), lease).await?,
        Some(WatchState::Rebuilding),
        "what was left rebuilding still is"
    );
    assert!(
        work.watches()
            .set_state(world.cluster, WatchState::Live, at(4), lease)
            .await?
    );
    assert_eq!(
        work.watches().begin(world.cluster, at(5), lease).await?,
        Some(WatchState::Starting)
    );
    work.commit().await?;

    world.store.release(lease).await?;
    let mut work = world.begin().await?;
    assert!(
        !work
            .watches()
            .set_state(world.cluster, WatchState::Live, at(6), lease)
            .await?
    );
    assert_eq!(work.watches().begin(world.cluster, at(6), lease).await?, None);
    work.commit().await?;
    assert!(text(world, versions).await?.starts_with("STARTING"));
    Ok(())
}

#[tokio::test]
async fn every_enabled_cluster_needs_a_watcher_that_is_alive() -> TestResult {
    use shepherd_ports::leases::HeartbeatKind;

    let world = World::create().await?;
    let minute = Duration::from_secs(60);
    assert_eq!(
        world.store.silent_watches(minute).await?,
        0,
        "it was registered just now"
    );
    let pool = world.store.connection().get_postgres_connection_pool();
    let aged = "ALTER TABLE clusters DISABLE TRIGGER USER; UPDATE clusters SET updated_at = now() - interval '1 day'";
    sqlx::raw_sql(aged).execute(pool).await?;
    let other = shepherd_domain::ids::ClusterId::from_bits(77).to_string();
    world.store.beat(HeartbeatKind::Watcher, "a", &other).await?;
    assert_eq!(
        world.store.silent_watches(minute).await?,
        1,
        "the beat of another cluster does not count"
    );
    world
        .store
        .beat(HeartbeatKind::Watcher, "a", &world.cluster.to_string())
        .await?;
    assert_eq!(world.store.silent_watches(minute).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_creation_that_takes_too_long_is_given_up_once() -> TestResult {
    let watch = Watch::begin().await?;
    let hour = chrono::TimeDelta::hours(1);
    let created = watch.row.created_at;
    let give_up = async |after: chrono::TimeDelta| -> Outcome<Vec<Projected>> {
        let mut work = watch.world.begin().await?;
        let failed = work.watches().fail_stuck_creations(hour, created + after, 10).await?;
        work.commit().await?;
        Ok(failed)
    };
    assert_eq!(give_up(chrono::TimeDelta::minutes(59)).await?, []);
    let failed = give_up(chrono::TimeDelta::minutes(61)).await?;
    assert_eq!(
        failed
            .iter()
            .map(|row| (row.vm, row.after, row.reason.as_deref()))
            .collect::<Vec<_>>(),
        [(watch.vm, VmStatus::Failed, Some(CREATION_TIMEOUT))]
    );
    assert_eq!(give_up(chrono::TimeDelta::minutes(70)).await?, []);
    assert_eq!(
        watch.see(&watch.observed(1, ObservedCondition::Waiting)).await?,
        None,
        "it still waits, which is why it was given up"
    );
    let runs = watch.see(&watch.observed(2, RUNNING)).await?.ok_or("nothing changed")?;
    assert!(runs.first_running);
    Ok(())
}
