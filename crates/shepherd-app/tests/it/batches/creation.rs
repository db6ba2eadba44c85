//! One request for several machines, and the same submission once more.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    BATCHES, POWER, about, children, counters, creation, everything_adds_up, generous, of_children, submit,
    wait_for_batch,
};
use crate::client::{Caller, Reply, send};
use crate::power::APPROVED_BY_POLICY;
use crate::server::{ALL_ROLES, Replica};
use crate::world::{CARRIED_OUT, User, World, creations, text};

/// Names a submission.
const FIRST: &str = "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a10";
const SECOND: &str = "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a11";
/// Equal submissions at once.
const AT_ONCE: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_machines_are_one_request_however_often_it_is_sent() {
    let world = World::with(ALL_ROLES, &generous()).await;
    let body = named(creation(&world, 3), FIRST);
    let batch = three_machines_wait_as_one_request(&world, &body).await;
    let machines = one_decision_makes_them_all(&world, &batch).await;
    let patient = world
        .start_replica("api", &[("BATCH_USER_COOLDOWN", "1h".to_owned())])
        .await;
    a_repeated_submission_is_the_first_one(&world, &patient, &batch, &body).await;
    names_belong_to_their_user_and_kind(&world, &machines[0]).await;
    the_same_submission_many_times_at_once_is_one(&world, &patient).await;
    one_key_is_one_batch(&world).await;
    everything_adds_up(&world).await;
}

fn named(mut body: Value, request: &str) -> Value {
    body["request_id"] = json!(request);
    body
}

/// Two of them are equal, which single requests may not be. Answers the batch.
async fn three_machines_wait_as_one_request(world: &World, body: &Value) -> String {
    let reply = world.as_(User::Alice).post(BATCHES, body).await;
    let location = reply.header("location").to_owned();
    let accepted = reply.ok(202);
    let batch = text(&accepted["batch_id"]);
    assert_eq!(location, format!("/api/v1/vms/batch/{batch}"));
    assert_eq!(accepted["status_url"], json!(location));
    assert_eq!(accepted["status"], "PENDING_APPROVAL");
    assert_eq!(accepted["retry_after_seconds"], 2);
    let number = text(&accepted["batch_number"]);
    assert!(number.starts_with("BAT-") && number.ends_with("-001"), "{number}");

    let bob = world.as_(User::Bob);
    let listed = bob.get("/admin/approvals").await.ok(200);
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    assert_eq!(items.len(), 1, "children have no line of their own: {listed}");
    let parent = &items[0];
    for (field, expected) in [
        ("id", json!(batch)),
        ("is_batch", json!(true)),
        ("request_type", json!("BATCH_CREATE")),
        ("status", json!("PENDING_APPROVAL")),
        ("reason", json!("room for the launch")),
    ] {
        assert_eq!(parent[field], expected, "{field} of {parent}");
    }
    assert_eq!(parent["context"]["child_count"], 3, "{parent}");
    let path = format!("/approvals?parent_ticket_id={batch}");
    assert_eq!(bob.get(&path).await.ok(200)["pagination"]["total"], 3);
    assert_eq!(bob.get("/approvals").await.ok(200)["pagination"]["total"], 1);

    let told = "SELECT user_id::text || ' ' || resource_id FROM notifications WHERE type = 'APPROVAL_PENDING'";
    let mut expected = [User::Admin, User::Bob].map(|user| format!("{} {batch}", world.id(user)));
    expected.sort();
    let mut told = world.home.texts(told).await;
    told.sort();
    assert_eq!(told, expected, "each approver hears of it once");
    let shown = super::shown(world, &batch).await;
    assert_eq!(counters(&shown), [0, 0, 3, 0, 0]);
    assert_eq!(shown["operation"], "CREATE");
    everything_adds_up(world).await;
    batch
}

/// Answers the machines.
async fn one_decision_makes_them_all(world: &World, batch: &str) -> Vec<String> {
    world.approve(batch).await;
    let shown = wait_for_batch(world, batch, "COMPLETED").await;
    assert_eq!(counters(&shown), [3, 0, 0, 0, 0]);
    assert!(shown["completed_at"].is_string(), "{shown}");
    let names = of_children(&shown, "resource_name");
    assert_eq!(names, ["dev-shop-web-01", "dev-shop-web-02", "dev-shop-web-03"]);
    assert_eq!(world.transitions_of(batch).await, CARRIED_OUT);
    assert_eq!(world.event_status_of(batch).await, "COMPLETED");
    let child = "VM_CREATION_REQUESTED COMPLETED";
    let facts = ["BATCH_CREATE_COMPLETED COMPLETED", child, child, child];
    assert_eq!(world.facts_of(batch).await, facts);
    assert_eq!(world.audit_of(batch).await, ["vm.batch.submit", "approval.approve"]);
    for child in children(&shown) {
        assert_eq!(world.transitions_of(&text(&child["ticket_id"])).await, CARRIED_OUT);
    }
    let settled =
        format!("SELECT user_id::text FROM notifications WHERE resource_type = 'batch' AND resource_id = '{batch}'");
    assert_eq!(world.home.texts(&settled).await, [world.id(User::Alice)]);
    let approved = "SELECT resource_id FROM notifications WHERE type = 'APPROVAL_COMPLETED'";
    assert_eq!(world.home.texts(approved).await, [batch]);

    let machines = of_children(&shown, "resource_id");
    for vm in &machines {
        world.wait_for_vm_status(vm, "RUNNING").await;
    }
    let made = creations(&world.test, "dev");
    assert!(made.len() == 3 && made.values().all(|times| *times == 1), "{made:?}");
    machines
}

/// Also where Alice would have to wait for an hour, and whatever has become of it.
async fn a_repeated_submission_is_the_first_one(world: &World, patient: &Replica, batch: &str, body: &Value) {
    let alice = world.as_(User::Alice).at(patient);
    for path in [BATCHES, "/approvals/batch"] {
        let reply = alice.post(path, body).await;
        assert_eq!(reply.header("idempotency-replayed"), "true");
        let answer = reply.ok(202);
        assert_eq!([&answer["batch_id"], &answer["status"]], [batch, "COMPLETED"]);
    }
    let mut other = body.clone();
    other["items"][2]["disk_gb"] = json!(30);
    let reused = alice.post(BATCHES, &other).await.refused(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(reused, json!({"key": FIRST}));
    let fresh = alice.post(BATCHES, &named(body.clone(), SECOND)).await;
    let told = fresh.refused(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(
        (&told["limit_type"], &told["max_value"]),
        (&json!("user_cooldown"), &json!(3600))
    );
    let stored = "batch_approval_tickets";
    assert_eq!(world.home.count(stored).await, 1);
}

/// The same name for another kind of batch is another one. What stops machines in test waits for nobody.
async fn names_belong_to_their_user_and_kind(world: &World, vm: &str) {
    let body = named(about("STOP", &[vm]), FIRST);
    let batch = submit(&world.as_(User::Alice), POWER, &body).await;
    let shown = wait_for_batch(world, &batch, "COMPLETED").await;
    assert_eq!(
        (&shown["operation"], &shown["power_action"]),
        (&json!("POWER"), &json!("STOP"))
    );
    assert_eq!(world.transitions_of(&batch).await, APPROVED_BY_POLICY);
    let child = of_children(&shown, "ticket_id");
    assert_eq!(world.transitions_of(&child[0]).await, APPROVED_BY_POLICY);
    assert_eq!(
        world.facts_of(&batch).await,
        ["BATCH_POWER_COMPLETED COMPLETED", "VM_STOP_REQUESTED COMPLETED"]
    );
    let audited = world.audit_of(&batch).await;
    assert_eq!(audited, ["vm.batch.power.submit", "approval.approve"]);
    let pending = format!("notifications WHERE type = 'APPROVAL_PENDING' AND resource_id = '{batch}'");
    assert_eq!(world.home.count(&pending).await, 0, "nobody has to decide");
    world.wait_for_vm_status(vm, "STOPPED").await;
}

/// At two replicas, at one of which the first of them makes the others too early.
async fn the_same_submission_many_times_at_once_is_one(world: &World, patient: &Replica) {
    let mallory = world.as_(User::Mallory);
    let service = service_of(&mallory).await;
    let mut body = named(creation(world, 2), FIRST);
    for item in 0..2 {
        body["items"][item]["service_id"] = json!(service);
    }
    let callers = [mallory.clone(), mallory.at(patient)];
    let replies = join_all((0..AT_ONCE).map(|call| callers[call % 2].post(BATCHES, &body))).await;
    let mut batches: Vec<String> = replies
        .into_iter()
        .map(|reply| text(&reply.ok(202)["batch_id"]))
        .collect();
    batches.dedup();
    assert_eq!(batches.len(), 1, "all of them got the same batch");
    let stored = format!(
        "SELECT id::text FROM batch_approval_tickets WHERE created_by = '{}'",
        world.id(User::Mallory)
    );
    assert_eq!(world.home.texts(&stored).await, batches);
    let tickets = format!("approval_tickets WHERE requester_id = '{}'", world.id(User::Mallory));
    assert_eq!(world.home.count(&tickets).await, 3);
    let told = format!(
        "notifications WHERE type = 'APPROVAL_PENDING' AND resource_id = '{}'",
        batches[0]
    );
    assert_eq!(world.home.count(&told).await, 2);
}

/// A Service of somebody else than Alice.
async fn service_of(caller: &Caller) -> String {
    let system = caller.post("/systems", &json!({"name": "ours"})).await.ok(201);
    let path = format!("/systems/{}/services", text(&system["id"]));
    text(&caller.post(&path, &json!({"name": "api"})).await.ok(201)["id"])
}

async fn one_key_is_one_batch(world: &World) {
    let alice = world.as_(User::Alice);
    let body = creation(world, 2);
    let before = world.home.count("batch_approval_tickets").await;
    let first = text(&keyed(&alice, &body).await.ok(202)["batch_id"]);
    let again = keyed(&alice, &body).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.ok(202)["batch_id"], json!(first));
    let reused = keyed(&alice, &creation(world, 3)).await;
    assert_eq!(reused.refused(422, "IDEMPOTENCY_KEY_REUSED"), json!({"key": "again"}));
    assert_eq!(world.home.count("batch_approval_tickets").await, before + 1);
}

async fn keyed(caller: &Caller, body: &Value) -> Reply {
    let request = caller.request(Method::POST, BATCHES).header("idempotency-key", "again");
    send(request.json(body)).await
}
