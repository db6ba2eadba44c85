//! A worker that dies at any step of an operation: another one finishes, and nothing happens twice.

use std::time::Duration;

use crate::server::{Env, eventually};
use crate::world::{CARRIED_OUT, World, creations};

/// The steps of a creation between which a process can die.
const CREATION: [&str; 5] = ["claimed", "namespace_ensured", "applied", "carried_out", "recorded"];
/// The steps of a deletion.
const DELETION: [&str; 5] = ["claimed", "deletion_asked", "gone", "carried_out", "recorded"];
/// Several installations start at the same time.
const HALT_PATIENCE: Duration = Duration::from_secs(60);
const MACHINE: &str = "dev-shop-web-01";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_whose_worker_is_killed_at_any_step_happens_exactly_once() {
    // One after another: every case is an installation of several processes.
    for step in CREATION {
        creation_killed_at(step).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_whose_worker_is_killed_at_any_step_happens_exactly_once() {
    for step in DELETION {
        deletion_killed_at(step).await;
    }
}

async fn creation_killed_at(step: &str) {
    let world = World::with("api,controllers", &[]).await;
    let ticket = world.request_vm("dev").await;
    world.approve(&ticket).await;
    die_at(&world, step).await;
    let successor = world.start_replica("worker", &queue()).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    world.wait_for_queue().await;
    let vm = world.vm_of(&ticket).await;
    world.wait_for_vm_status(&vm, "RUNNING").await;

    let cluster = world.test.cluster();
    assert_eq!(cluster.list("VirtualMachine", "").len(), 1, "objects after {step}");
    let made = creations(&world.test, "dev");
    assert_eq!(made.get(MACHINE), Some(&1), "creations after {step}: {made:?}");
    assert_eq!(world.home.count("vms").await, 1, "rows after {step}");
    assert_eq!(world.home.count("vm_revisions").await, 1, "revisions after {step}");
    let audited = ["vm.request", "approval.approve", "vm.execution_started", "vm.create"];
    assert_eq!(world.audit_of(&ticket).await, audited, "audit rows after {step}");
    let facts = ["NAMESPACE_CREATED COMPLETED", "VM_CREATION_COMPLETED COMPLETED"];
    assert_eq!(world.facts_of(&ticket).await, facts, "facts after {step}");
    told_once(&world, &ticket, step).await;
    drop(successor);
}

async fn deletion_killed_at(step: &str) {
    let world = World::with("api,controllers", &[]).await;
    let maker = world.start_replica("worker", &queue()).await;
    let vm = world.running_vm("dev").await;
    world.wait_for_queue().await;
    maker.kill().await;

    let ticket = world.request_deletion(&vm).await;
    world.approve(&ticket).await;
    die_at(&world, step).await;
    let successor = world.start_replica("worker", &queue()).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    world.wait_for_queue().await;

    let cluster = world.test.cluster();
    assert_eq!(cluster.list("VirtualMachine", "").len(), 0, "objects after {step}");
    assert_eq!(world.home.count("vms").await, 0, "rows after {step}");
    let audited = [
        "vm.delete_submitted",
        "approval.approve",
        "vm.delete_approved",
        "vm.execution_started",
        "vm.delete_executed",
    ];
    assert_eq!(world.audit_of(&ticket).await, audited, "audit rows after {step}");
    let facts = ["VM_DELETION_COMPLETED COMPLETED"];
    assert_eq!(world.facts_of(&ticket).await, facts, "facts after {step}");
    told_once(&world, &ticket, step).await;
    drop(successor);
}

/// A queue that notices dead workers soon.
fn queue() -> Vec<(&'static str, String)> {
    vec![
        ("QUEUE_HEARTBEAT", "1s".to_owned()),
        ("QUEUE_RECOVERY_THRESHOLD", "3s".to_owned()),
    ]
}

/// Starts a worker, lets it get to a step and kills it there.
async fn die_at(world: &World, step: &str) {
    let marker = world.home.path("halted");
    let halt = ("SHEPHERD_HALT_AT", format!("{step}:{}", marker.display()));
    let env: &Env<'_> = &[queue(), vec![halt]].concat();
    let victim = world.start_replica("worker", env).await;
    eventually(&format!("the worker halts at {step}"), HALT_PATIENCE, async || {
        marker.exists().then_some(())
    })
    .await;
    victim.kill().await;
}

/// What holds after every interrupted operation.
async fn told_once(world: &World, ticket: &str, step: &str) {
    assert_eq!(world.transitions_of(ticket).await, CARRIED_OUT, "history after {step}");
    assert_eq!(
        world.event_status_of(ticket).await,
        "COMPLETED",
        "work event after {step}"
    );
    let repeated = "(SELECT FROM notifications GROUP BY user_id, title, resource_id HAVING count(*) > 1) AS repeated";
    assert_eq!(world.home.count(repeated).await, 0, "notifications after {step}");
}
