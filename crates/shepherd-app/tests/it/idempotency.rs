//! A request that is sent again is carried out once.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, Reply, send};
use crate::world::{User, World, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_sent_again_is_carried_out_once() {
    let world = World::start().await;
    let alice = world.as_(User::Alice);
    let body = world.vm_body("dev");

    let first = keyed(&alice, "/vms", "first", &body).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let ticket = text(&first.ok(202)["ticket_id"]);

    let again = keyed(&alice, "/vms", "first", &body).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(
        again.ok(202)["ticket_id"],
        json!(ticket),
        "the same key is the same request"
    );

    let mut other = body.clone();
    other["reason"] = json!("something else");
    let reused = keyed(&alice, "/vms", "first", &other).await;
    assert_eq!(reused.refused(422, "IDEMPOTENCY_KEY_REUSED"), json!({"key": "first"}));

    let duplicate = keyed(&alice, "/vms", "second", &body).await;
    let duplicate = duplicate.refused(409, "DUPLICATE_PENDING_REQUEST");
    let number = world.ticket_column(&ticket, "number").await;
    let existing = [&duplicate["existing_ticket_id"], &duplicate["existing_ticket_number"]];
    assert_eq!(existing, [&json!(ticket), &json!(number)], "{duplicate}");
    let unkeyed = alice
        .post("/vms", &body)
        .await
        .refused(409, "DUPLICATE_PENDING_REQUEST");
    assert_eq!(unkeyed["existing_ticket_id"], json!(ticket));
    assert_eq!(world.home.count("approval_tickets").await, 1);

    keys_belong_to_their_user(&world).await;
    the_same_request_many_times_at_once_is_one_request(&world).await;
    the_same_new_request_many_times_at_once_is_one_request(&world).await;
}

async fn keys_belong_to_their_user(world: &World) {
    let body = json!({"name": "keys"});
    let created = keyed(&world.as_(User::Mallory), "/systems", "first", &body).await;
    assert_eq!(created.header("idempotency-replayed"), "");
    let created = created.ok(201);
    let again = keyed(&world.as_(User::Mallory), "/systems", "first", &body).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.ok(201)["id"], created["id"]);
}

async fn the_same_request_many_times_at_once_is_one_request(world: &World) {
    let mut body = world.vm_body("dev");
    body["instance_size_id"] = json!(world.size("medium"));
    let alice = world.as_(User::Alice);
    let replies = join_all((0..8).map(|_| keyed(&alice, "/vms", "at once", &body))).await;
    let mut tickets: Vec<String> = Vec::new();
    for reply in replies {
        if reply.status == 202 {
            tickets.push(text(&reply.ok(202)["ticket_id"]));
        } else {
            reply.refused(409, "IDEMPOTENCY_IN_PROGRESS");
        }
    }
    assert!(!tickets.is_empty(), "one of them is carried out");
    tickets.dedup();
    assert_eq!(tickets.len(), 1, "all of them got the same ticket");
    assert_eq!(world.home.count("approval_tickets").await, 2);
}

async fn the_same_new_request_many_times_at_once_is_one_request(world: &World) {
    let mut body = world.vm_body("dev");
    body["instance_size_id"] = json!(world.size("large"));
    let alice = world.as_(User::Alice);
    let replies = join_all((0..8).map(|_| alice.post("/vms", &body))).await;
    let accepted = replies.iter().filter(|reply| reply.status == 202).count();
    assert_eq!(accepted, 1, "{replies:?}");
    for reply in replies.into_iter().filter(|reply| reply.status != 202) {
        reply.refused(409, "DUPLICATE_PENDING_REQUEST");
    }
    assert_eq!(world.home.count("approval_tickets").await, 3);
}

async fn keyed(caller: &Caller, path: &str, key: &str, body: &Value) -> Reply {
    let request = caller.request(Method::POST, path).header("idempotency-key", key);
    send(request.json(body)).await
}
