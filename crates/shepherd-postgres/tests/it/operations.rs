//! Snapshots, clones and migrations: names, copies, and ends that stay.

use shepherd_domain::ActorId;
use shepherd_domain::event::{EventStatus, EventType};
use shepherd_domain::ids::{CloneId, EventId, MigrationId, SnapshotId, TicketId, VmId};
use shepherd_domain::infrastructure::{ClonePhase, Migration, MigrationPhase};
use shepherd_domain::page::PageRequest;
use shepherd_domain::ticket::TicketStatus;
use shepherd_ports::clones::{CloneQueries, NewClone, NewCopy};
use shepherd_ports::migrations::{MigrationQueries, NewMigration};
use shepherd_ports::snapshots::{NewSnapshot, SnapshotQueries};
use shepherd_ports::vms::VmQueries;

use crate::TestResult;
use crate::world::{World, at, id, insert_event, system_actor};

fn snapshot(vm: VmId, name: &str) -> NewSnapshot {
    NewSnapshot {
        id: id(),
        vm_id: vm,
        name: name.to_owned(),
        k8s_name: format!("snapshot-{name}"),
        ticket_id: id::<TicketId>(),
        created_by: system_actor(),
    }
}

#[tokio::test]
async fn a_snapshot_keeps_its_name_on_one_machine_and_its_first_object() -> TestResult {
    let world = World::create().await?;
    let (one, other) = (world.vm().await?, world.vm().await?);
    let kept = snapshot(one, "before");
    let mut work = world.begin().await?;
    work.snapshots().insert(&kept).await?;
    work.snapshots().insert(&snapshot(other, "before")).await?;
    work.snapshots().note_object(kept.id, "u-1").await?;
    work.snapshots().note_object(kept.id, "u-2").await?;
    assert!(work.snapshots().settle(kept.id, true, None).await?);
    assert!(!work.snapshots().settle(id::<SnapshotId>(), true, None).await?);
    work.commit().await?;

    let mut work = world.begin().await?;
    let taken = work.snapshots().insert(&snapshot(one, "before")).await;
    assert!(taken.is_err_and(|error| error.is_unique("uq_vm_snapshots_name")));
    drop(work);

    let stored = world.store.get_snapshot(kept.id).await?.ok_or("no snapshot")?;
    assert_eq!((stored.ready, stored.k8s_uid.as_deref()), (true, Some("u-1")));
    let listed = world.store.list_snapshots(one, PageRequest::default()).await?;
    assert_eq!((listed.total, listed.items.len()), (1, 1));
    let long = "x".repeat(600);
    let mut work = world.begin().await?;
    work.snapshots().settle(kept.id, false, Some(&long)).await?;
    work.commit().await?;
    let failed = world.store.get_snapshot(kept.id).await?.ok_or("no snapshot")?;
    assert_eq!(failed.error.map(|error| error.len()), Some(512));

    let mut work = world.begin().await?;
    assert!(work.vms().delete(other).await?);
    assert!(work.snapshots().delete(kept.id).await?);
    assert!(!work.snapshots().delete(kept.id).await?);
    work.commit().await?;
    assert!(
        world.store.snapshots_of(other).await?.is_empty(),
        "it went with its machine"
    );
    Ok(())
}

#[tokio::test]
async fn a_copy_is_its_source_under_another_name() -> TestResult {
    let world = World::create().await?;
    let source = world.vm().await?;
    let copy = NewCopy {
        id: id(),
        source,
        service_id: world.service,
        name: "dev-shop-redis-77".to_owned(),
        instance_index: 77,
        instance: "77".to_owned(),
        ticket_id: id(),
        created_by: ActorId::user(world.approver),
    };
    let clone = NewClone {
        id: id::<CloneId>(),
        source_vm_id: source,
        target_vm_id: copy.id,
        k8s_name: "clone-1".to_owned(),
        start_after_clone: true,
        ticket_id: copy.ticket_id,
        created_by: copy.created_by.clone(),
    };
    let mut work = world.begin().await?;
    assert!(work.clones().insert_copy(&copy).await?);
    let taken = NewCopy {
        id: id(),
        instance_index: 78,
        instance: "78".to_owned(),
        ticket_id: id(),
        ..copy.clone()
    };
    assert!(!work.clones().insert_copy(&taken).await?, "the name is taken");
    let orphan = NewCopy {
        id: id(),
        source: id(),
        name: "dev-shop-redis-79".to_owned(),
        instance_index: 79,
        instance: "79".to_owned(),
        ticket_id: id(),
        ..copy.clone()
    };
    assert!(!work.clones().insert_copy(&orphan).await?, "the source is gone");
    work.clones().insert(&clone).await?;
    assert!(work.clones().note_phase(clone.id, ClonePhase::InProgress, None).await?);
    assert!(!work.clones().note_phase(clone.id, ClonePhase::InProgress, None).await?);
    assert!(
        work.clones()
            .note_phase(clone.id, ClonePhase::Failed, Some("no room"))
            .await?
    );
    assert!(!work.clones().note_phase(clone.id, ClonePhase::Succeeded, None).await?);
    work.commit().await?;

    let (from, to) = (world.store.get_vm(source).await?, world.store.get_vm(copy.id).await?);
    let (from, to) = (from.ok_or("no source")?, to.ok_or("no copy")?);
    assert_eq!(
        (to.cluster_id, to.namespace, to.cpu_cores, to.template_id, to.disk_gb),
        (
            from.cluster_id,
            from.namespace,
            from.cpu_cores,
            from.template_id,
            from.disk_gb
        )
    );
    assert_eq!(
        (to.hostname.as_str(), to.created_by),
        ("dev-shop-redis-77", copy.created_by)
    );
    let making = world.store.clone_making(copy.id).await?.ok_or("no clone")?;
    assert_eq!((making.id, making.phase), (clone.id, ClonePhase::Failed));
    assert!(world.store.clone_making(source).await?.is_none());
    let facts = world.store.clone_facts(world.service, "dev").await?;
    assert_eq!(facts.service.map(|service| service.system_id), Some(world.system));
    assert!(facts.namespace.is_some_and(|namespace| namespace.enabled));
    assert!(world.store.clone_facts(id(), "nowhere").await?.service.is_none());
    Ok(())
}

fn seen(phase: MigrationPhase, target: Option<&str>) -> Migration {
    Migration {
        name: "migration-1".to_owned(),
        vm: "vm".to_owned(),
        uid: "u-1".to_owned(),
        phase,
        source_node: Some("node-1".to_owned()),
        target_node: target.map(str::to_owned),
        error: None,
        event_id: None,
    }
}

#[tokio::test]
async fn a_migration_is_called_off_once_and_only_while_it_is_under_way() -> TestResult {
    let world = World::create().await?;
    let vm = world.vm().await?;
    let new = NewMigration {
        id: id::<MigrationId>(),
        vm_id: vm,
        k8s_name: "migration-1".to_owned(),
        ticket_id: id(),
        created_by: system_actor(),
    };
    let mut work = world.begin().await?;
    work.migrations().insert(&new).await?;
    let running = seen(MigrationPhase::Running, Some("node-2"));
    work.migrations().observe(new.id, &running).await?;
    work.commit().await?;
    let before = world.store.get_migration(new.id).await?.ok_or("no migration")?;
    assert_eq!(
        (before.phase, before.target_node.as_deref()),
        (MigrationPhase::Running, Some("node-2"))
    );

    let mut work = world.begin().await?;
    work.migrations().observe(new.id, &running).await?;
    let forgetful = seen(MigrationPhase::Running, None);
    work.migrations().observe(new.id, &forgetful).await?;
    let first = id::<EventId>();
    assert!(work.migrations().call_off(new.id, first).await?);
    assert!(!work.migrations().call_off(new.id, id()).await?);
    work.commit().await?;
    let after = world.store.get_migration(new.id).await?.ok_or("no migration")?;
    assert_eq!(
        after.row_version,
        before.row_version + 1,
        "nothing but the wish was written"
    );
    assert_eq!(
        (after.cancel_event_id, after.target_node.as_deref()),
        (Some(first), Some("node-2"))
    );

    let mut work = world.begin().await?;
    let held = work.migrations().hold(new.id).await?.ok_or("no migration")?;
    assert_eq!(held.cancel_event_id, Some(first));
    assert!(
        work.migrations()
            .settle(new.id, MigrationPhase::Cancelled, None)
            .await?
    );
    assert!(
        !work
            .migrations()
            .settle(new.id, MigrationPhase::Failed, Some("late"))
            .await?
    );
    work.migrations()
        .observe(new.id, &seen(MigrationPhase::Running, None))
        .await?;
    work.commit().await?;
    let listed = world.store.list_migrations(vm, PageRequest::default()).await?;
    assert_eq!(
        listed.items.first().map(|found| found.phase),
        Some(MigrationPhase::Cancelled)
    );
    Ok(())
}

#[tokio::test]
async fn a_restart_remembers_the_instance_of_its_first_attempt() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let submitted = world.submit_create(work.as_mut()).await?;
    let tickets = work.tickets();
    let ticket = submitted.ticket;
    assert_eq!(
        tickets.guard_restart(ticket, Some("u-1")).await?,
        None,
        "not executing yet"
    );
    tickets
        .approve(ticket, TicketStatus::PendingApproval.approve()?, &world.approval())
        .await?;
    tickets
        .transition(ticket, TicketStatus::Approved.start()?, at(61))
        .await?;
    assert_eq!(tickets.guard_restart(ticket, None).await?, None);
    assert_eq!(
        tickets.guard_restart(ticket, Some("u-1")).await?.as_deref(),
        Some("u-1")
    );
    assert_eq!(
        tickets.guard_restart(ticket, Some("u-2")).await?.as_deref(),
        Some("u-1")
    );
    assert_eq!(tickets.guard_restart(ticket, None).await?.as_deref(), Some("u-1"));
    work.commit().await?;
    Ok(())
}

#[tokio::test]
async fn what_hangs_on_a_work_event_is_found_while_it_is_processed() -> TestResult {
    let world = World::create().await?;
    let vm = world.vm().await?;
    let mut work = world.begin().await?;
    let cause = insert_event(
        work.as_mut(),
        EventType::VmMigrationRequested,
        vm,
        world.requester,
        EventStatus::Processing,
    )
    .await?;
    assert!(work.events().open_followers(vm, cause).await?.is_empty());
    let follower = shepherd_ports::events::NewEvent {
        id: id(),
        event_type: EventType::VmMigrationCancelRequested,
        aggregate_type: shepherd_domain::event::AggregateType::Vm,
        aggregate_id: vm.to_string(),
        payload: serde_json::json!({"schema": 1}),
        status: EventStatus::Processing,
        causation_id: Some(cause),
        environment: None,
        created_by: system_actor(),
        at: at(1),
        trace_id: None,
        trace_parent: None,
    };
    let wish = follower.id;
    work.events().insert(follower).await?;
    assert_eq!(work.events().open_followers(vm, cause).await?, [wish]);
    let done = EventStatus::Processing.complete()?;
    assert!(work.events().transition(wish, done, None, at(2)).await?);
    assert!(work.events().open_followers(vm, cause).await?.is_empty());
    assert!(work.vms().hold(vm).await?.is_some_and(|held| held.id == vm));
    work.commit().await?;
    Ok(())
}

#[tokio::test]
async fn what_follows_from_an_event_once_is_inserted_once() -> TestResult {
    let world = World::create().await?;
    let vm = world.vm().await?;
    let by = world.requester;
    let mut work = world.begin().await?;
    let wanted = EventType::VmCreationRequested;
    let cause = insert_event(work.as_mut(), wanted, vm, by, EventStatus::Processing).await?;
    let another = insert_event(work.as_mut(), wanted, vm, by, EventStatus::Processing).await?;
    let fact = |cause, namespace: &str| shepherd_ports::events::NewEvent {
        id: id(),
        event_type: EventType::NamespaceCreated,
        aggregate_type: shepherd_domain::event::AggregateType::Namespace,
        aggregate_id: namespace.to_owned(),
        payload: serde_json::json!({"namespace": namespace}),
        status: EventStatus::Completed,
        causation_id: Some(cause),
        environment: None,
        created_by: system_actor(),
        at: at(1),
        trace_id: None,
        trace_parent: None,
    };
    let first = fact(cause, "made");
    let stored = first.id;
    assert!(work.events().insert_once(first).await?);
    assert!(!work.events().insert_once(fact(cause, "made")).await?);
    assert!(work.events().insert_once(fact(cause, "made-too")).await?);
    assert!(work.events().insert_once(fact(another, "made")).await?);
    let stored = work.events().find(stored).await?;
    assert!(stored.is_some_and(|event| event.causation_id == Some(cause) && event.processed_at == Some(at(1))));
    work.commit().await?;

    let mut work = world.begin().await?;
    assert!(!work.events().insert_once(fact(cause, "made")).await?);
    Ok(())
}
