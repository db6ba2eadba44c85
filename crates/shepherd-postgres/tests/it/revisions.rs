//! Revisions: numbered without gaps whoever writes at the same time, and kept when their machine goes.

use futures::future::try_join_all;
use shepherd_domain::ActorId;
use shepherd_domain::ids::{TicketId, VmId};
use shepherd_domain::page::PageRequest;
use shepherd_ports::revisions::RevisionQueries;
use shepherd_ports::vms::{NewRevision, VmQueries, VmShape};

use crate::TestResult;
use crate::world::{Outcome, World, id};

/// How many write at the same time.
const WRITERS: i32 = 8;

fn revision(world: &World, vm: VmId, content: &str) -> NewRevision {
    NewRevision {
        id: id(),
        vm_id: vm,
        vm_name: "dev-shop-redis-01".to_owned(),
        snapshot: content.as_bytes().to_vec(),
        sha256: format!("sha of {content}"),
        reason: Some("because".to_owned()),
        ticket_id: Some(id::<TicketId>()),
        changed_by: ActorId::user(world.requester),
    }
}

async fn add(world: &World, revision: &NewRevision) -> Outcome<Option<i32>> {
    let mut work = world.begin().await?;
    let number = work.vms().add_revision(revision).await?;
    work.commit().await?;
    Ok(number)
}

#[tokio::test]
async fn revisions_that_are_written_at_the_same_time_are_numbered_one_after_another() -> TestResult {
    let world = World::create().await?;
    let vm = world.vm().await?;
    let other = world.vm().await?;
    assert_eq!(world.store.newest_revision(vm).await?, 0);
    let all: Vec<NewRevision> = (0..WRITERS)
        .map(|number| revision(&world, vm, &format!("content {number}")))
        .collect();
    let mut numbers = try_join_all(all.iter().map(|revision| add(&world, revision))).await?;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=WRITERS).map(Some).collect::<Vec<_>>());
    assert_eq!(world.store.newest_revision(vm).await?, WRITERS);
    assert_eq!(add(&world, &revision(&world, other, "content 0")).await?, Some(1));
    Ok(())
}

#[tokio::test]
async fn the_same_content_is_kept_once_in_a_row() -> TestResult {
    let world = World::create().await?;
    let vm = world.vm().await?;
    let content = ["a", "a", "b", "a"];
    let mut numbers = Vec::new();
    for content in content {
        numbers.push(add(&world, &revision(&world, vm, content)).await?);
    }
    assert_eq!(numbers, [Some(1), None, Some(2), Some(3)]);

    let twins = [revision(&world, vm, "c"), revision(&world, vm, "c")];
    let mut numbers = try_join_all(twins.iter().map(|revision| add(&world, revision))).await?;
    numbers.sort_unstable();
    assert_eq!(numbers, [None, Some(4)], "also at the same time");
    Ok(())
}

#[tokio::test]
async fn revisions_are_found_by_machine_and_when_it_is_gone_by_ticket() -> TestResult {
    let world = World::create().await?;
    let vm = world.vm().await?;
    let first = revision(&world, vm, "first");
    let second = NewRevision {
        snapshot: vec![0, 255, 128],
        ticket_id: None,
        reason: None,
        ..revision(&world, vm, "second")
    };
    for new in [&first, &second] {
        add(&world, new).await?;
    }
    let listed = world.store.list_revisions(vm, PageRequest::default()).await?;
    let numbers: Vec<i32> = listed.items.iter().map(|found| found.revision).collect();
    assert_eq!((listed.total, numbers), (2, vec![2, 1]), "the newest comes first");
    assert_eq!(
        (listed.items[0].ticket_id, &listed.items[0].change_reason),
        (None, &None)
    );
    let page = PageRequest::new(2, 1).ok_or("no page")?;
    assert_eq!(world.store.list_revisions(vm, page).await?.items[0].revision, 1);

    let stored = world.store.get_revision(vm, 2).await?.ok_or("no revision")?;
    assert_eq!((stored.snapshot, stored.record.id), (vec![0, 255, 128], second.id));
    assert!(world.store.get_revision(vm, 3).await?.is_none());
    assert!(world.store.get_revision(id(), 1).await?.is_none());

    let mut work = world.begin().await?;
    assert!(work.vms().delete(vm).await?);
    work.commit().await?;
    let ticket = first.ticket_id.ok_or("no ticket")?;
    let found = world.store.revisions_of_ticket(ticket).await?;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].vm_id, found[0].vm_name.as_str()), (vm, "dev-shop-redis-01"));
    assert_eq!(
        world.store.get_revision(vm, 1).await?.map(|found| found.snapshot),
        Some(first.snapshot)
    );
    Ok(())
}

#[tokio::test]
async fn a_modified_machine_has_its_new_shape_and_nothing_else() -> TestResult {
    let world = World::create().await?;
    let vm = world.vm().await?;
    let before = world.store.get_vm(vm).await?.ok_or("no machine")?;
    let shape = VmShape {
        instance_size_id: world.size,
        disk_gb: 77,
        cpu_cores: 7,
        memory_mb: 7_168,
    };
    let mut work = world.begin().await?;
    work.vms().reshape(vm, &shape).await?;
    work.commit().await?;
    let after = world.store.get_vm(vm).await?.ok_or("no machine")?;
    assert_eq!(
        (after.disk_gb, after.cpu_cores, after.memory_mb),
        (Some(77), Some(7), Some(7_168))
    );
    assert_eq!(
        (after.status, after.template_id, after.name),
        (before.status, before.template_id, before.name)
    );
    assert!(after.row_version > before.row_version);
    assert!(
        world.store.shaped_by(vm).await?.is_none(),
        "its ticket was not carried out"
    );
    Ok(())
}
