//! Rights that end by themselves do not outlive their end in somebody else's hands, and what happens to sessions and
//! passwords on the side is recorded.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, Reply, send};
use crate::server::ALL_ROLES;
use crate::world::{BOTH, PASSWORD, User, World, log_in, text};

const EXCEEDED: &str = "GRANT_CEILING_EXCEEDED";
/// When what is given for a time ends; a moment before, and a moment after.
const END: &str = "2099-01-01T00:00:00Z";
const BEFORE: &str = "2098-12-31T00:00:00Z";
const AFTER: &str = "2099-01-02T00:00:00Z";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_temporary_right_does_not_make_itself_permanent() {
    let world = World::with(ALL_ROLES, &[("SESSION_MAX_PER_USER", "2".to_owned())]).await;
    let tina = world.enrol("tina", "role-viewer", BOTH).await;
    world
        .bind(&tina.id, json!({"role_id": "role-platform-admin", "expires_at": END}))
        .await;
    let tina = world.caller(&tina);
    roles_are_given_for_as_long_at_most(&world, &tina).await;
    roles_permit_no_more(&world, &tina).await;
    passwords_are_left_alone(&world, &tina).await;
    memberships_are_given_for_as_long_at_most(&world, &tina).await;
    an_emergency_gives_lasting_rights_back(&world).await;

    wrong_passwords_are_recorded(&world).await;
    sessions_that_give_way_are_recorded(&world).await;
}

async fn patch(caller: &Caller, path: &str, body: &Value) -> Reply {
    send(caller.request(Method::PATCH, path).json(body)).await
}

async fn roles_are_given_for_as_long_at_most(world: &World, tina: &Caller) {
    let path = format!("/admin/users/{}/role-bindings", world.id(User::Carol));
    let operator = |end: Value| json!({"role_id": "role-operator", "expires_at": end});
    for end in [Value::Null, json!(AFTER)] {
        let refusal = tina.post(&path, &operator(end)).await.refused(403, EXCEEDED);
        assert_eq!(refusal["latest_expires_at"], END);
        assert!(!refusal["missing_permissions"].as_array().unwrap().is_empty());
    }
    tina.post(&path, &operator(json!(BEFORE))).await.ok(201);
}

/// The bindings of a role may last for ever, the author's own among them.
async fn roles_permit_no_more(world: &World, tina: &Caller) {
    let body = json!({"name": "helpers", "permissions": ["system:write"], "enabled": false});
    let role = world.as_(User::Admin).post("/admin/roles", &body).await.ok(201);
    let path = format!("/admin/roles/{}", text(&role["id"]));
    for change in [
        json!({"permissions": ["system:write", "vm:delete"]}),
        json!({"enabled": true}),
    ] {
        patch(tina, &path, &change).await.refused(403, EXCEEDED);
    }
    patch(tina, &path, &json!({"description": "known"})).await.ok(200);
}

async fn passwords_are_left_alone(world: &World, tina: &Caller) {
    let path = format!("/admin/users/{}", world.id(User::Bob));
    patch(tina, &path, &json!({"password": "a fine new password"}))
        .await
        .refused(403, EXCEEDED);
    patch(tina, &path, &json!({"display_name": "Bob"})).await.ok(200);
    world.as_(User::Bob).get("/auth/me").await.ok(200);
}

async fn memberships_are_given_for_as_long_at_most(world: &World, tina: &Caller) {
    let path = format!("/systems/{}/members", world.system);
    let mallory = world.id(User::Mallory);
    let member = |user: &str, end: Value| json!({"user_id": user, "role": "viewer", "expires_at": end});
    for end in [Value::Null, json!(AFTER)] {
        let refusal = tina.post(&path, &member(mallory, end)).await.refused(403, EXCEEDED);
        assert_eq!(refusal["required_role"], "viewer");
    }
    tina.post(&path, &member(mallory, json!(BEFORE))).await.ok(201);
    let mallory = format!("{path}/{mallory}");
    patch(tina, &mallory, &json!({"role": "member"})).await.ok(200);
    patch(tina, &mallory, &json!({"role": "owner"}))
        .await
        .refused(403, EXCEEDED);

    // The same for who is an admin of the System alone.
    let carol = json!({"user_id": world.id(User::Carol), "role": "admin", "expires_at": END});
    world.as_(User::Alice).post(&path, &carol).await.ok(201);
    let carol = world.as_(User::Carol);
    let bob = world.id(User::Bob);
    carol
        .post(&path, &member(bob, Value::Null))
        .await
        .refused(403, EXCEEDED);
    carol.post(&path, &member(bob, json!(END))).await.ok(201);
}

async fn an_emergency_gives_lasting_rights_back(world: &World) {
    let rescue = world.enrol("rescue", "role-viewer", BOTH).await;
    let (succeeded, said) = world.home.run(&["break-glass", "--user", "rescue"], &[]).await;
    assert!(succeeded, "{said}");
    let path = format!("/admin/users/{}/role-bindings", world.id(User::Mallory));
    let lasting = json!({"role_id": "role-platform-admin"});
    world.caller(&rescue).post(&path, &lasting).await.ok(201);
}

async fn wrong_passwords_are_recorded(world: &World) {
    let sam = world.enrol("sam", "role-viewer", &["test"]).await;
    let change = json!({"old_password": "not it", "new_password": "a fine new password"});
    world
        .caller(&sam)
        .post("/auth/change-password", &change)
        .await
        .refused(400, "INVALID_CURRENT_PASSWORD");
    let recorded = format!(
        "audit_logs WHERE action = 'user.password_change' AND outcome = 'failure' AND performed_by = '{}'",
        sam.id
    );
    assert_eq!(world.home.count(&recorded).await, 1);
}

async fn sessions_that_give_way_are_recorded(world: &World) {
    let mia = world.enrol("mia", "role-viewer", &["test"]).await;
    for _ in 0..2 {
        log_in(&world.anonymous(), "mia", PASSWORD).await;
    }
    world.caller(&mia).get("/auth/me").await.refused(401, "UNAUTHORIZED");
    let recorded = "audit_logs a JOIN user_sessions s ON s.id::text = a.resource_id \
         WHERE a.action = 'auth.token_revoke' AND a.performed_by = 'system:sessions' \
             AND a.params ->> 'reason' = 'SESSION_LIMIT' AND s.revoke_reason = 'SESSION_LIMIT'";
    assert_eq!(world.home.count(recorded).await, 1);
}
