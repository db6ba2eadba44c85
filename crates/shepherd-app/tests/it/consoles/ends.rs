//! What ends an open console, and what the browser, the row and the audit log say then.

use reqwest::Method;
use serde_json::json;

use super::browser::{Socket, admitted, ask, goodbye, knock, look, opened, refusal};
use super::{denials, grant_of, last_end, process};
use crate::client::send;
use crate::server::{PATIENCE, Replica, eventually};
use crate::world::{BOTH, Person, User, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_console_ends_with_what_it_was_given_for() {
    let world = World::start().await;
    let vm = world.running_vm("dev").await;
    let env = [("CONSOLE_CHECK_INTERVAL", "500ms".to_owned())];
    let quick = world.start_replica("api", &env).await;
    a_revoked_grant(&world, &quick, &vm).await;
    a_session_that_was_left(&world, &quick, &vm).await;
    a_disabled_account(&world, &quick, &vm).await;
    a_lost_membership(&world, &quick, &vm).await;
    a_broken_stream(&world, &quick, &vm).await;
    a_replica_that_stops(&world, &quick, &vm).await;
    everything_was_written_down(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_ends_with_its_time_and_with_its_machine() {
    let world = World::start().await;
    let vm = world.running_vm("dev").await;
    let env = [
        ("CONSOLE_GRANT_TTL", "20s".to_owned()),
        ("CONSOLE_TOKEN_TTL", "12s".to_owned()),
    ];
    let brief = world.start_replica("api", &env).await;
    an_expired_token(&world, &brief, &vm).await;
    an_expired_grant(&world, &brief, &vm).await;
    a_stopped_machine(&world, &vm).await;
    everything_was_written_down(&world).await;
}

/// Somebody new who may open the consoles of Alice's machines.
async fn member(world: &World, name: &str) -> Person {
    let person = world.enrol(name, "role-operator", BOTH).await;
    let path = format!("/systems/{}/members", world.system);
    let body = json!({"user_id": person.id, "role": "member"});
    world.as_(User::Alice).post(&path, &body).await.ok(201);
    person
}

/// The console closes with this code, and its row says why.
async fn closes(world: &World, mut socket: Socket, code: u16, reason: &str) {
    assert_eq!(goodbye(&mut socket).await, code, "{reason}");
    assert_eq!(last_end(world).await, format!("{reason} true true"));
}

async fn a_revoked_grant(world: &World, at: &Replica, vm: &str) {
    let socket = opened(world, &world.as_(User::Alice), at, vm).await;
    let spare = admitted(&world.as_(User::Alice), vm).await;
    let path = format!("/admin/console-grants/{}", grant_of(world, world.id(User::Alice)).await);
    let forbidden = world.as_(User::Bob).delete(&path).await;
    forbidden.refused(403, "FORBIDDEN");
    for _ in 0..2 {
        world.as_(User::Admin).delete(&path).await.ok(204);
    }
    closes(world, socket, 4403, "ACCESS_LOST").await;
    let revoked = "audit_logs WHERE action = 'vnc.revoke'";
    assert_eq!(
        world.home.count(revoked).await,
        1,
        "the second time nothing is left to do"
    );
    assert_eq!(
        world
            .home
            .count("domain_events WHERE event_type = 'VNC_TOKEN_REVOKED'")
            .await,
        1
    );
    let refused = refusal(knock(world, at, vm, &spare)).await;
    refused.refused(401, "INVALID_VNC_TOKEN");
    assert_eq!(denials(world).await, ["GRANT_ENDED"]);
    let status = world.as_(User::Alice).get(&format!("/vms/{vm}/console/status")).await;
    assert_eq!(status.ok(200), json!({"status": "NOT_REQUESTED"}));
    let nothing = format!("/admin/console-grants/{}", world.service);
    let unknown = world.as_(User::Admin).delete(&nothing).await;
    unknown.refused(404, "CONSOLE_GRANT_NOT_FOUND");
}

async fn a_session_that_was_left(world: &World, at: &Replica, vm: &str) {
    let erin = world.caller(&member(world, "erin").await);
    let socket = opened(world, &erin, at, vm).await;
    let spare = admitted(&erin, vm).await;
    send(erin.request(Method::POST, "/auth/logout")).await.ok(204);
    closes(world, socket, 4403, "ACCESS_LOST").await;
    let refused = refusal(knock(world, at, vm, &spare)).await;
    refused.refused(401, "INVALID_VNC_TOKEN");
    assert_eq!(denials(world).await, ["GRANT_ENDED", "SESSION_ENDED"]);
}

async fn a_disabled_account(world: &World, at: &Replica, vm: &str) {
    let frank = member(world, "frank").await;
    let socket = opened(world, &world.caller(&frank), at, vm).await;
    let change = world
        .as_(User::Admin)
        .request(Method::PATCH, &format!("/admin/users/{}", frank.id));
    send(change.json(&json!({"enabled": false}))).await.ok(200);
    closes(world, socket, 4403, "ACCESS_LOST").await;
}

async fn a_lost_membership(world: &World, at: &Replica, vm: &str) {
    let grace = member(world, "grace").await;
    let socket = opened(world, &world.caller(&grace), at, vm).await;
    let path = format!("/systems/{}/members/{}", world.system, grace.id);
    world.as_(User::Alice).delete(&path).await.ok(204);
    closes(world, socket, 4403, "ACCESS_LOST").await;
}

async fn a_broken_stream(world: &World, at: &Replica, vm: &str) {
    let socket = opened(world, &world.as_(User::Alice), at, vm).await;
    world.test.faults().drop_streams();
    closes(world, socket, 4502, "CLUSTER_FAILED").await;
}

async fn a_replica_that_stops(world: &World, at: &Replica, vm: &str) {
    let socket = opened(world, &world.as_(User::Alice), at, vm).await;
    process::terminate(at);
    closes(world, socket, 1001, "SHUTDOWN").await;
}

async fn an_expired_token(world: &World, at: &Replica, vm: &str) {
    let token = admitted(&world.as_(User::Alice).at(at), vm).await;
    look(world, at, vm, &token).await.ok(200);
    let refused = eventually("the token expires", PATIENCE, async || {
        let reply = look(world, at, vm, &token).await;
        (reply.status != 200).then_some(reply)
    })
    .await;
    refused.refused(401, "INVALID_VNC_TOKEN");
    let refused = refusal(knock(world, at, vm, &token)).await;
    refused.refused(401, "INVALID_VNC_TOKEN");
    assert_eq!(denials(world).await, ["EXPIRED", "EXPIRED"]);
}

async fn an_expired_grant(world: &World, at: &Replica, vm: &str) {
    let heidi = world.caller(&member(world, "heidi").await);
    let socket = opened(world, &heidi, at, vm).await;
    closes(world, socket, 4408, "GRANT_ENDED").await;
    let status = heidi.get(&format!("/vms/{vm}/console/status")).await;
    assert_eq!(status.ok(200), json!({"status": "NOT_REQUESTED"}));
}

async fn a_stopped_machine(world: &World, vm: &str) {
    let alice = world.as_(User::Alice);
    let socket = opened(world, &alice, &world.server, vm).await;
    let spare = admitted(&alice, vm).await;
    world.operated(&format!("/vms/{vm}/stop"), &json!({})).await;
    closes(world, socket, 4410, "VM_STOPPED").await;
    world.wait_for_vm_status(vm, "STOPPED").await;
    refusal(knock(world, &world.server, vm, &spare))
        .await
        .refused(409, "VM_NOT_RUNNING");
    let asked = ask(&alice, vm).await;
    asked.refused(409, "VM_NOT_RUNNING");
}

/// Each console has two audit rows, by the person, and the second one has the reason and the bytes.
async fn everything_was_written_down(world: &World) {
    let consoles = world.home.count("console_sessions WHERE ended_at IS NOT NULL").await;
    assert!(consoles > 0);
    assert_eq!(world.home.count("console_sessions").await, consoles);
    let started = "audit_logs WHERE action = 'vnc.session_started'";
    assert_eq!(world.home.count(started).await, consoles);
    let ended = "audit_logs a JOIN console_sessions c ON c.id::text = a.params ->> 'console' \
         WHERE a.action = 'vnc.session_ended' AND a.params ->> 'reason' = c.end_reason \
             AND (a.params ->> 'bytes_in')::bigint = c.bytes_in AND (a.params ->> 'bytes_out')::bigint = c.bytes_out \
             AND a.params ->> 'jti' = c.token_id::text AND a.params ->> 'ip' = '127.0.0.1' \
             AND a.performed_by LIKE '%' || c.user_id::text";
    assert_eq!(world.home.count(ended).await, consoles);
}
