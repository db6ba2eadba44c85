//! Limits of users as administrators see and set them, and what a replica takes of one client.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, Reply, send};
use crate::world::{BOTH, User, World, text};

const EXEMPTIONS: &str = "/admin/rate-limits/exemptions";
const STATUS: &str = "/admin/rate-limits/status";
/// An id that nobody has.
const NOBODY: &str = "01983f0e-0000-7000-8000-000000000000";

async fn put(caller: &Caller, user: &str, body: Value) -> Reply {
    let path = format!("/admin/rate-limits/users/{user}");
    send(caller.request(Method::PUT, &path).json(&body)).await
}

/// What the status says about a user.
async fn status_of(caller: &Caller, user: &str) -> Value {
    let status = caller.get(&format!("{STATUS}?user_id={user}")).await.ok(200);
    assert!(status["generated_at"].is_string(), "{status}");
    status["items"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_users_are_set_and_shown() {
    let world = World::start().await;
    exemptions_begin_and_end(&world).await;
    overrides_replace_single_numbers(&world).await;
    nobody_frees_the_own_account(&world).await;
    a_replica_takes_so_much_of_one_client(&world).await;
}

async fn exemptions_begin_and_end(world: &World) {
    let admin = world.as_(User::Admin);
    let alice = world.id(User::Alice);
    assert!(status_of(&admin, alice).await.is_null(), "nothing is agreed with her");
    let body = json!({"user_id": alice, "reason": "moves the shop", "expires_at": "2099-01-01T00:00:00Z"});
    let exemption = admin.post(EXEMPTIONS, &body).await.ok(200);
    assert_eq!(exemption["exempted_by"], world.id(User::Admin));
    let status = status_of(&admin, alice).await;
    assert_eq!(
        (&status["exempted"], &status["exemption_expires_at"]),
        (&json!(true), &json!("2099-01-01T00:00:00Z"))
    );
    // The end is taken away with the next one.
    let exemption = admin.post(EXEMPTIONS, &json!({"user_id": alice})).await.ok(200);
    assert!(exemption.get("expires_at").is_none(), "{exemption}");
    let past = json!({"user_id": alice, "expires_at": "2020-01-01T00:00:00Z"});
    let refused = admin.post(EXEMPTIONS, &past).await;
    assert_eq!(
        (refused.status, refused.body["field_errors"][0]["field"].as_str()),
        (400, Some("expires_at")),
        "{}",
        refused.text
    );
    let nobody = admin.post(EXEMPTIONS, &json!({"user_id": NOBODY})).await;
    nobody.refused(404, "USER_NOT_FOUND");
    let path = format!("{EXEMPTIONS}/{alice}");
    admin.delete(&path).await.ok(204);
    admin.delete(&path).await.refused(404, "RATE_LIMIT_EXEMPTION_NOT_FOUND");
    assert!(status_of(&admin, alice).await.is_null());
}

async fn overrides_replace_single_numbers(world: &World) {
    let admin = world.as_(User::Admin);
    let bob = world.id(User::Bob);
    put(&admin, bob, json!({})).await.refused(400, "VALIDATION_FAILED");
    let wrong = put(&admin, bob, json!({"max_pending_parents": 0, "cooldown_seconds": -1})).await;
    assert_eq!(
        wrong.body["field_errors"].as_array().map(Vec::len),
        Some(2),
        "{}",
        wrong.text
    );
    put(&admin, NOBODY, json!({"cooldown_seconds": 0}))
        .await
        .refused(404, "USER_NOT_FOUND");

    let body = json!({"max_pending_parents": 7, "cooldown_seconds": 0, "reason": "a move"});
    let stored = put(&admin, bob, body).await.ok(200);
    assert_eq!(stored["max_pending_parents"], 7);
    let status = status_of(&admin, bob).await;
    assert_eq!(
        (
            &status["effective_max_pending_parents"],
            &status["effective_cooldown_seconds"],
            &status["exempted"]
        ),
        (&json!(7), &json!(0), &json!(false))
    );
    let children = &status["effective_max_pending_children"];
    assert!(children.as_u64().is_some_and(|configured| configured > 0), "{status}");
    // Null gives the configured number back, and what is absent stays.
    let stored = put(&admin, bob, json!({"max_pending_parents": null})).await.ok(200);
    assert!(stored.get("max_pending_parents").is_none(), "{stored}");
    assert_eq!(
        (&stored["cooldown_seconds"], &stored["reason"]),
        (&json!(0), &json!("a move"))
    );
}

async fn nobody_frees_the_own_account(world: &World) {
    let admin = world.as_(User::Admin);
    let role = json!({"name": "limiter", "permissions": ["rate_limit:manage"]});
    let role = text(&admin.post("/admin/roles", &role).await.ok(201)["id"]);
    let limiter = world.enrol("lena", &role, BOTH).await;
    let lena = Caller::new(&world.home.client, &world.server, Some(limiter.token));
    let own = json!({"user_id": limiter.id});
    let required = lena.post(EXEMPTIONS, &own).await.refused(403, "FORBIDDEN");
    assert_eq!(required["required_permission"], "platform:admin");
    let numbers = json!({"cooldown_seconds": 0});
    put(&lena, &limiter.id, numbers.clone()).await.refused(403, "FORBIDDEN");
    put(&lena, world.id(User::Carol), numbers.clone()).await.ok(200);
    put(&admin, world.id(User::Admin), numbers).await.ok(200);
}

async fn a_replica_takes_so_much_of_one_client(world: &World) {
    let rate = [("SERVER_API_RATE_PER_USER", "1/s, burst 5".to_owned())];
    let narrow = world.start_replica("api", &rate).await;
    let carol = world.as_(User::Carol).at(&narrow);
    let mut refused = None;
    // More than the burst and what a slow test earns meanwhile.
    for _ in 0..30 {
        let reply = carol.get("/systems").await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
        reply.ok(200);
    }
    let refused = refused.unwrap();
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    let told = refused.refused(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(
        told,
        json!({"limit_type": "api_requests", "current_value": 5, "max_value": 5, "retry_after": wait, "contact_admin": false})
    );
    world.as_(User::Bob).at(&narrow).get("/systems").await.ok(200);
    for _ in 0..10 {
        world.anonymous().at(&narrow).get("/health/live").await.ok(200);
    }
    tokio::time::sleep(Duration::from_secs(wait)).await;
    carol.get("/systems").await.ok(200);
}
