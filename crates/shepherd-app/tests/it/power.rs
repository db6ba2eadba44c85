//! Starting, stopping and restarting: at once in test, by an approver in prod, never twice and never from a wrong
//! state.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::send;
use crate::world::{CARRIED_OUT, User, World, text};

/// The history of a ticket that the policy approved.
pub const APPROVED_BY_POLICY: [&str; 4] = ["SUBMITTED", "APPROVED", "EXECUTING", "COMPLETED"];
const NAME: &str = "dev-shop-web-01";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_in_test_is_stopped_started_and_restarted_at_once() {
    let world = World::start().await;
    let vm = world.running_vm("dev").await;
    wrong_states_are_refused(&world, &vm, "start", "RUNNING").await;
    the_policy_approves(&world, &vm).await;
    world.wait_for_vm_status(&vm, "STOPPED").await;
    wrong_states_are_refused(&world, &vm, "stop", "STOPPED").await;
    wrong_states_are_refused(&world, &vm, "restart", "STOPPED").await;
    world.operated(&format!("/vms/{vm}/start"), &json!({})).await;
    world.wait_for_vm_status(&vm, "RUNNING").await;
    a_restart_replaces_the_instance(&world, &vm).await;
    a_paused_machine_goes_on(&world, &vm).await;
    one_key_is_one_request(&world, &vm).await;
    others_may_not(&world, &vm).await;
    a_reason_has_its_limits(&world, &vm).await;
}

async fn the_policy_approves(world: &World, vm: &str) {
    let path = format!("/vms/{vm}/stop");
    let reply = world.as_(User::Alice).post(&path, &json!({"reason": "night"})).await;
    let location = reply.header("location").to_owned();
    let accepted = reply.ok(202);
    assert_eq!(location, format!("/api/v1/events/{}", text(&accepted["event_id"])));
    assert_eq!(accepted["message_code"], "AUTO_APPROVED");
    assert_eq!(accepted["status"], "PROCESSING");
    let ticket = text(&accepted["ticket_id"]);
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    assert_eq!(world.transitions_of(&ticket).await, APPROVED_BY_POLICY);
    let audited = [
        "vm.stop_submitted",
        "approval.approve",
        "vm.execution_started",
        "vm.stop",
    ];
    assert_eq!(world.audit_of(&ticket).await, audited);
    assert_eq!(world.facts_of(&ticket).await, ["VM_STOP_COMPLETED COMPLETED"]);
    assert_eq!(world.event_status_of(&ticket).await, "COMPLETED");
    let shown = world
        .as_(User::Alice)
        .get(&format!("/approvals/{ticket}"))
        .await
        .ok(200);
    let decided = [&shown["approver"], &shown["decided_by_kind"], &shown["operation_type"]];
    assert_eq!(decided, ["system:policy", "POLICY", "STOP"]);
    assert_eq!(shown["reason"], "night");
    let pending = format!("notifications WHERE type = 'APPROVAL_PENDING' AND resource_id = '{ticket}'");
    assert_eq!(world.home.count(&pending).await, 0, "nobody has to decide");
}

async fn wrong_states_are_refused(world: &World, vm: &str, operation: &str, status: &str) {
    let before = world.home.count("approval_tickets").await;
    let refused = world
        .as_(User::Alice)
        .post(&format!("/vms/{vm}/{operation}"), &json!({}))
        .await
        .refused(409, "INVALID_STATE_TRANSITION");
    assert_eq!(refused["current_status"], status);
    assert_eq!(refused["operation"], operation.to_uppercase());
    assert_eq!(world.home.count("approval_tickets").await, before);
}

async fn a_restart_replaces_the_instance(world: &World, vm: &str) {
    let instance = || {
        let found = world.test.cluster().get("VirtualMachineInstance", "dev", NAME);
        found.map(|found| found["metadata"]["uid"].clone())
    };
    let before = instance();
    world.operated(&format!("/vms/{vm}/restart"), &json!({})).await;
    world.wait_for_vm_status(vm, "RUNNING").await;
    assert!(instance().is_some() && instance() != before);
    assert_eq!(told(world, "restart"), 1);
}

async fn a_paused_machine_goes_on(world: &World, vm: &str) {
    let mut instance = world
        .test
        .cluster()
        .get("VirtualMachineInstance", "dev", NAME)
        .expect("the machine should run");
    let paused = json!({"type": "Paused", "status": "True", "reason": "PausedByUser"});
    if let Some(conditions) = instance["status"]["conditions"].as_array_mut() {
        conditions.push(paused);
    }
    let status = instance["status"].clone();
    world
        .test
        .cluster()
        .put_status("VirtualMachineInstance", "dev", NAME, status);
    world.wait_for_vm_status(vm, "PAUSED").await;
    world.operated(&format!("/vms/{vm}/start"), &json!({})).await;
    world.wait_for_vm_status(vm, "RUNNING").await;
    assert_eq!(told(world, "unpause"), 1);
}

async fn one_key_is_one_request(world: &World, vm: &str) {
    let alice = world.as_(User::Alice);
    let path = format!("/vms/{vm}/restart");
    let keyed = async || {
        let request = alice.request(Method::POST, &path).header("idempotency-key", "again");
        send(request.json(&json!({}))).await
    };
    let first = text(&keyed().await.ok(202)["ticket_id"]);
    let again = keyed().await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.ok(202)["ticket_id"], json!(first));
    world.wait_for_ticket(&first, "COMPLETED").await;
    world.wait_for_vm_status(vm, "RUNNING").await;
}

async fn others_may_not(world: &World, vm: &str) {
    let path = format!("/vms/{vm}/stop");
    world
        .as_(User::Carol)
        .post(&path, &json!({}))
        .await
        .refused(403, "FORBIDDEN");
    let foreign = world.as_(User::Mallory).post(&path, &json!({})).await;
    assert_eq!(foreign.refused(404, "VM_NOT_FOUND"), json!({"id": vm}));
}

async fn a_reason_has_its_limits(world: &World, vm: &str) {
    let body = json!({"reason": "x".repeat(1025)});
    let reply = world.as_(User::Alice).post(&format!("/vms/{vm}/stop"), &body).await;
    assert_eq!(
        (reply.status, reply.code()),
        (400, "VALIDATION_FAILED"),
        "{}",
        reply.text
    );
}

fn told(world: &World, action: &str) -> u64 {
    let told = world.test.cluster().mutations();
    told.iter()
        .filter(|((verb, _), _)| verb == action)
        .map(|(_, times)| times)
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_in_prod_waits_for_an_approver_and_for_one_request_at_a_time() {
    let world = World::start().await;
    let vm = world.running_vm("prod-shop").await;
    let accepted = world
        .as_(User::Alice)
        .post(&format!("/vms/{vm}/stop"), &json!({}))
        .await
        .ok(202);
    assert_eq!(accepted["message_code"], "APPROVAL_REQUIRED");
    let ticket = text(&accepted["ticket_id"]);
    let duplicate = world
        .as_(User::Alice)
        .post(&format!("/vms/{vm}/restart"), &json!({}))
        .await
        .refused(409, "DUPLICATE_PENDING_REQUEST");
    assert_eq!(duplicate["existing_ticket_id"], json!(ticket));
    assert_eq!(duplicate["operation"], "RESTART");
    nothing_runs_before_the_decision(&world, &ticket).await;

    let elsewhere = json!({"selected_cluster_id": vm});
    let path = format!("/approvals/{ticket}/approve");
    let refused = world.as_(User::Bob).post(&path, &elsewhere).await;
    assert_eq!(
        (refused.status, refused.code()),
        (400, "VALIDATION_FAILED"),
        "{}",
        refused.text
    );
    world.approve(&ticket).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    world.wait_for_vm_status(&vm, "STOPPED").await;
    assert_eq!(world.transitions_of(&ticket).await, CARRIED_OUT);
    let audited = [
        "vm.stop_submitted",
        "approval.approve",
        "vm.execution_started",
        "vm.stop",
    ];
    assert_eq!(world.audit_of(&ticket).await, audited);

    let rejected = world.operate(&format!("/vms/{vm}/start"), &json!({})).await;
    let path = format!("/approvals/{rejected}/reject");
    world
        .as_(User::Bob)
        .post(&path, &json!({"reason": "not now"}))
        .await
        .ok(204);
    assert_eq!(world.event_status_of(&rejected).await, "CANCELLED");
    let shown = world.as_(User::Alice).get(&format!("/vms/{vm}")).await.ok(200);
    assert_eq!(shown["status"], "STOPPED");
}

async fn nothing_runs_before_the_decision(world: &World, ticket: &str) {
    assert_eq!(world.transitions_of(ticket).await, ["SUBMITTED", "PENDING_APPROVAL"]);
    assert_eq!(world.event_status_of(ticket).await, "PENDING");
    let stops = world.prod.cluster().mutations();
    let stopped = stops.keys().any(|(verb, _)| verb == "stop");
    assert!(!stopped, "{stops:?}");
    let told: Vec<Value> = world
        .home
        .sql(&format!(
            "SELECT params ->> 'operation' AS operation FROM notifications \
             WHERE type = 'APPROVAL_PENDING' AND resource_id = '{ticket}' LIMIT 1"
        ))
        .await;
    assert_eq!(told, [json!({"operation": "STOP"})]);
}
