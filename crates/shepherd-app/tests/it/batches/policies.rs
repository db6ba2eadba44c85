//! Policies and batches: a batch is no way around what a policy says of one of its items, nor of a request like it.

use serde_json::{Value, json};

use super::{
    BATCHES, POWER, about, creation, everything_adds_up, generous, of_children, shown, submit, wait_for_batch,
};
use crate::client::send;
use crate::external_approvals::{
    Board, Manner, SECRET, callback, hand_over, reaches, replace_spec, set_up, submission,
};
use crate::server::ALL_ROLES;
use crate::world::{Person, User, World, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_no_way_around_a_policy() {
    let world = World::with(ALL_ROLES, &generous()).await;
    let qa = json!({"name": "qa", "environment": "test"});
    world.as_(User::Admin).post("/admin/namespaces", &qa).await.ok(201);
    let erin = world.enrol("erin", "role-approver", &["test"]).await;
    let approvers = [("dev", "role-approver"), ("qa", erin.id.as_str())];
    for (namespace, approver) in approvers {
        let policy = json!({
            "name": format!("batches in {namespace}"), "operation": "BATCH_CREATE", "environment": "test",
            "matchers": {"namespaces": [namespace]}, "approvers": [approver],
        });
        create(&world, &policy).await;
    }
    who_decides_the_whole_is_named_for_every_item(&world, &erin).await;
    each_item_is_decided_by_those_its_policy_names(&world, &erin).await;
    a_batch_of_one_waits_as_the_request_alone_would(&world, &erin).await;
    a_consent_to_the_whole_is_none_to_what_is_left_to_others(&world).await;
    everything_adds_up(&world).await;
}

async fn create(world: &World, policy: &Value) -> String {
    let policies = "/admin/approval-policies";
    text(&world.as_(User::Admin).post(policies, policy).await.ok(201)["id"])
}

/// A batch of one machine in each of two namespaces, whose policies name different approvers.
async fn in_two_namespaces(world: &World) -> (String, Vec<String>) {
    let mut body = creation(world, 2);
    body["items"][1]["namespace"] = json!("qa");
    let batch = submit(&world.as_(User::Alice), BATCHES, &body).await;
    let tickets = of_children(&shown(world, &batch).await, "ticket_id");
    (batch, tickets)
}

async fn who_decides_the_whole_is_named_for_every_item(world: &World, erin: &Person) {
    let (batch, _) = in_two_namespaces(world).await;
    let approve = format!("/approvals/{batch}/approve");
    let bob = world.as_(User::Bob).post(&approve, &json!({})).await;
    assert_eq!((bob.status, bob.code()), (400, "INVALID_BATCH_ITEMS"), "{}", bob.text);
    let errors = &bob.body["field_errors"];
    assert_eq!(errors.as_array().map(Vec::len), Some(1), "{errors}");
    assert_eq!(
        (&errors[0]["field"], &errors[0]["code"]),
        (&json!("children[2]"), &json!("APPROVER_NOT_ELIGIBLE"))
    );
    assert_eq!(
        of_children(&shown(world, &batch).await, "status"),
        ["PENDING_APPROVAL"; 2]
    );
    world.caller(erin).post(&approve, &json!({})).await.ok(204);
    wait_for_batch(world, &batch, "COMPLETED").await;
}

async fn each_item_is_decided_by_those_its_policy_names(world: &World, erin: &Person) {
    let (batch, tickets) = in_two_namespaces(world).await;
    let approve = |ticket: &str| format!("/approvals/{ticket}/approve");
    let bob = world.as_(User::Bob);
    let refused = bob.post(&approve(&tickets[1]), &json!({})).await;
    refused.refused(403, "APPROVER_NOT_ELIGIBLE");
    bob.post(&approve(&tickets[0]), &json!({})).await.ok(204);
    world.caller(erin).post(&approve(&tickets[1]), &json!({})).await.ok(204);
    wait_for_batch(world, &batch, "COMPLETED").await;
}

/// Power in test is approved by itself, unless a policy about the request as it would be alone makes it wait.
async fn a_batch_of_one_waits_as_the_request_alone_would(world: &World, erin: &Person) {
    let vm = world.running_vm("dev").await;
    let watched = json!({
        "name": "watched", "operation": "STOP_VM", "environment": "test", "approvers": [erin.id],
    });
    create(world, &watched).await;
    let alice = world.as_(User::Alice);
    let batch = submit(&alice, POWER, &about("STOP", &[&vm])).await;
    assert_eq!(shown(world, &batch).await["status"], "PENDING_APPROVAL");
    let approve = format!("/approvals/{batch}/approve");
    let bob = world.as_(User::Bob).post(&approve, &json!({})).await;
    bob.refused(403, "APPROVER_NOT_ELIGIBLE");
    world.caller(erin).post(&approve, &json!({})).await.ok(204);
    wait_for_batch(world, &batch, "COMPLETED").await;
    world.wait_for_vm_status(&vm, "STOPPED").await;
    let batch = submit(&alice, POWER, &about("START", &[&vm])).await;
    wait_for_batch(world, &batch, "COMPLETED").await;
}

/// What a system outside says to a batch is put on record, and approvers are told, where it cannot be carried out as it
/// is: an item that is left to others, an item with another spec than the system saw.
async fn a_consent_to_the_whole_is_none_to_what_is_left_to_others(world: &World) {
    let board = Board::start(Manner::Takes).await;
    let system = set_up(world, "board", &board, json!({})).await;
    let (mixed, _) = in_two_namespaces(world).await;
    let replaced = submit(&world.as_(User::Alice), BATCHES, &creation(world, 2)).await;
    for (batch, why) in [(&mixed, "left to others"), (&replaced, "another spec")] {
        hand_over(&world.home, batch, &system).await;
        reaches(world, batch, "SUBMITTED").await;
        if why == "another spec" {
            let tickets = of_children(&shown(world, batch).await, "ticket_id");
            replace_spec(world, &tickets[1]).await;
        }
        let consent = json!({
            "shepherd_ticket_id": batch, "external_ticket_id": submission(world, batch, "external_id").await,
            "status": "approved", "approver": "dora",
        });
        let said = send(callback(&world.anonymous(), SECRET, &consent)).await;
        assert_eq!(said.ok(200)["accepted"], true);
        assert_eq!(submission(world, batch, "state").await, "APPROVED");
        let seen = shown(world, batch).await;
        assert_eq!(seen["status"], "PENDING_APPROVAL", "{why}");
        assert_eq!(of_children(&seen, "status"), ["PENDING_APPROVAL"; 2]);
        let told =
            format!("notifications WHERE resource_id = '{batch}' AND severity = 'warning' AND message LIKE '%{why}%'");
        assert!(world.home.count(&told).await > 0, "approvers are told why: {why}");
    }
}
