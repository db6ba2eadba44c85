//! A worker that dies at any step of an operation: another one finishes, and nothing happens twice.
//!
//! Here processes die and are replaced by the queue; [`every_step`] compares every operation, step by step, with a run
//! that nothing disturbs.

mod every_step;

use std::time::Duration;

use serde_json::{Value, json};

use crate::power::APPROVED_BY_POLICY;
use crate::server::{Env, eventually};
use crate::world::{CARRIED_OUT, World, creations};

/// The steps of a creation between which a process can die.
const CREATION: [&str; 6] = [
    "claimed",
    "password_kept",
    "namespace_ensured",
    "applied",
    "carried_out",
    "recorded",
];
/// The steps of a deletion.
const DELETION: [&str; 5] = ["claimed", "deletion_asked", "gone", "carried_out", "recorded"];
/// An operation on an existing machine: its name in the path, the steps of its own between which a process can die,
/// the audit row of its success, and what the cluster is asked for once: an action, or an object of a kind.
type Interrupted = (&'static str, &'static [&'static str], &'static str, &'static str);

const POWER: [Interrupted; 3] = [
    ("stop", &["stop_asked"], "vm.stop", "stop"),
    ("start", &["start_asked"], "vm.start", "start"),
    ("restart", &["restart_guarded", "restart_asked"], "vm.restart", ""),
];
const BESIDE: [Interrupted; 2] = [
    (
        "snapshots",
        &["snapshot_asked", "snapshot_noted", "carried_out"],
        "vm.snapshot",
        "VirtualMachineSnapshot",
    ),
    (
        "migrate",
        &["migration_asked", "migration_noted"],
        "vm.migrate",
        "VirtualMachineInstanceMigration",
    ),
];
const CLONE: [Interrupted; 1] = [(
    "clone",
    &["clone_asked", "clone_noted", "clone_marked", "clone_started"],
    "vm.clone",
    "VirtualMachineClone",
)];
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_action_whose_worker_is_killed_at_any_step_happens_exactly_once() {
    killed_at_every_step(&POWER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_or_migration_whose_worker_is_killed_at_any_step_happens_exactly_once() {
    killed_at_every_step(&BESIDE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_whose_worker_is_killed_at_any_step_happens_exactly_once() {
    killed_at_every_step(&CLONE).await;
}

/// One machine for all: a worker dies at a step, and its successor finishes.
async fn killed_at_every_step(operations: &[Interrupted]) {
    let world = World::with("api,controllers", &[]).await;
    let maker = world.start_replica("worker", &queue()).await;
    let vm = world.running_vm("dev").await;
    world.wait_for_queue().await;
    maker.kill().await;
    for (operation, steps, audited, asked) in operations {
        for step in *steps {
            bring_to(&world, &vm, if *operation == "start" { "STOPPED" } else { "RUNNING" }).await;
            operation_killed_at(&world, &vm, operation, step, audited, asked).await;
        }
    }
}

async fn operation_killed_at(world: &World, vm: &str, operation: &str, step: &str, audited: &str, asked: &str) {
    world.test.cluster().clear_requests();
    let objects = world.test.cluster().list(asked, "dev").len();
    let body = match operation {
        "snapshots" => json!({"name": step.replace('_', "-")}),
        "clone" => json!({"reason": "a copy", "start_after_clone": true}),
        _ => json!({}),
    };
    let ticket = world.operate(&format!("/vms/{vm}/{operation}"), &body).await;
    if operation == "clone" {
        world.approve(&ticket).await;
    }
    die_at(world, step).await;
    std::fs::remove_file(world.home.path("halted")).expect("the marker was there");
    let successor = world.start_replica("worker", &queue()).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    world.wait_for_queue().await;

    let history: &[&str] = if operation == "clone" {
        &CARRIED_OUT
    } else {
        &APPROVED_BY_POLICY
    };
    assert_eq!(world.transitions_of(&ticket).await, history, "history after {step}");
    let log = world.audit_of(&ticket).await;
    let done: Vec<_> = log.iter().filter(|action| *action == audited).collect();
    assert_eq!(done.len(), 1, "audit rows of {operation} after {step}: {log:?}");
    assert_eq!(
        world.facts_of(&ticket).await.len(),
        1,
        "facts of {operation} after {step}"
    );
    assert_eq!(world.event_status_of(&ticket).await, "COMPLETED");
    if asked.starts_with("Virtual") {
        let made = world.test.cluster().list(asked, "dev").len();
        assert_eq!(made, objects + 1, "{asked} after {step}");
    } else if !asked.is_empty() {
        assert_eq!(told(world, asked), 1, "{asked} after {step}");
    }
    successor.kill().await;
    let finished = world.vm_of(&ticket).await;
    let wanted = if operation == "stop" { "STOPPED" } else { "RUNNING" };
    world.wait_for_vm_status(&finished, wanted).await;
}

/// How often the cluster was told to do something to a machine.
fn told(world: &World, action: &str) -> u64 {
    let told = world.test.cluster().mutations();
    told.iter()
        .filter(|((verb, _), _)| verb == action)
        .map(|(_, times)| times)
        .sum()
}

/// Switches the machine by the cluster's own means.
async fn bring_to(world: &World, vm: &str, status: &str) {
    let cluster = world.test.cluster();
    let mut object = cluster
        .get("VirtualMachine", "dev", MACHINE)
        .expect("the machine should be there");
    let strategy = if status == "STOPPED" { "Halted" } else { "Always" };
    if object["spec"]["runStrategy"] != strategy {
        object["spec"]["runStrategy"] = Value::from(strategy);
        assert!(cluster.put("VirtualMachine", object));
    }
    world.wait_for_vm_status(vm, status).await;
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
pub fn queue() -> Vec<(&'static str, String)> {
    vec![
        ("QUEUE_HEARTBEAT", "1s".to_owned()),
        ("QUEUE_RECOVERY_THRESHOLD", "3s".to_owned()),
    ]
}

/// Starts a worker, lets it get to a step and kills it there.
pub async fn die_at(world: &World, step: &str) {
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
