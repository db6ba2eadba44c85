//! Production: an approver decides, and the token that follows opens one console, whichever replica it comes to.

use serde_json::{Value, json};

use super::browser::{admitted, ask, enter, greet, knock, refusal, token};
use super::denials;
use crate::world::{CARRIED_OUT, User, World, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_in_prod_waits_for_an_approver() {
    let world = World::start().await;
    let vm = world.running_vm("prod-shop").await;
    world.wait_for_queue().await;
    assert_eq!(status(&world, &vm).await, json!({"status": "NOT_REQUESTED"}));
    one_request_waits_and_is_rejected(&world, &vm).await;
    an_approval_gives_access(&world, &vm).await;
    a_token_of_one_replica_opens_one_console_of_another(&world, &vm).await;
}

async fn status(world: &World, vm: &str) -> Value {
    let path = format!("/vms/{vm}/console/status");
    world.as_(User::Alice).get(&path).await.ok(200)
}

/// Asks, and is told to wait; answers the ticket.
async fn submitted(world: &World, vm: &str) -> String {
    let reply = ask(&world.as_(User::Alice), vm).await;
    assert!(reply.headers.get("set-cookie").is_none(), "nothing is given yet");
    let accepted = reply.ok(202);
    assert_eq!(accepted["status"], "PENDING_APPROVAL");
    text(&accepted["ticket_id"])
}

async fn one_request_waits_and_is_rejected(world: &World, vm: &str) {
    let ticket = submitted(world, vm).await;
    let again = ask(&world.as_(User::Alice), vm).await;
    again.refused(409, "DUPLICATE_PENDING_VNC_REQUEST");
    let pending = json!({"status": "PENDING_APPROVAL", "ticket_id": ticket});
    assert_eq!(status(world, vm).await, pending);
    let told = format!(
        "notifications WHERE type = 'APPROVAL_PENDING' AND resource_id = '{ticket}' AND user_id = '{}'",
        world.id(User::Bob)
    );
    assert_eq!(world.home.count(&told).await, 1);
    let path = format!("/approvals/{ticket}/reject");
    let reason = json!({"reason": "use the bastion"});
    world.as_(User::Bob).post(&path, &reason).await.ok(204);
    let rejected = json!({"status": "REJECTED", "ticket_id": ticket});
    assert_eq!(status(world, vm).await, rejected);
    assert_eq!(world.home.count("console_grants").await, 0);
    assert_eq!(
        world.facts_of(&ticket).await.len(),
        0,
        "a rejection is no denied access"
    );
}

async fn an_approval_gives_access(world: &World, vm: &str) {
    let ticket = submitted(world, vm).await;
    world.approve(&ticket).await;
    // All of it happens in the transaction that approves.
    assert_eq!(world.transitions_of(&ticket).await, CARRIED_OUT);
    assert_eq!(world.ticket_column(&ticket, "status").await, "COMPLETED");
    assert_eq!(world.event_status_of(&ticket).await, "COMPLETED");
    assert_eq!(world.facts_of(&ticket).await, ["VNC_ACCESS_GRANTED COMPLETED"]);
    let jobs = "graphile_worker.jobs WHERE task_identifier = 'event_job'";
    assert_eq!(world.home.count(jobs).await, 0, "no cluster is asked");
    let told = format!(
        "notifications WHERE resource_id = '{ticket}' AND user_id = '{}'",
        world.id(User::Alice)
    );
    assert!(world.home.count(&told).await >= 1, "the requester is told");
    let audited = world.audit_of(&ticket).await;
    assert_eq!(
        audited[..2],
        ["vnc.request_submitted", "approval.approve"],
        "{audited:?}"
    );
    let approved = status(world, vm).await;
    assert_eq!(
        (&approved["status"], &approved["ticket_id"]),
        (&json!("APPROVED"), &json!(ticket))
    );
    let issued = format!(
        "audit_logs WHERE action = 'vnc.access' AND ticket_id = '{ticket}' AND environment = 'prod' \
         AND params ->> 'source' = 'console_status' AND params ->> 'approver' LIKE '%{}'",
        world.id(User::Bob)
    );
    assert_eq!(world.home.count(&issued).await, 1);
}

async fn a_token_of_one_replica_opens_one_console_of_another(world: &World, vm: &str) {
    let (second, third) = tokio::join!(world.start_replica("api", &[]), world.start_replica("api", &[]));
    let alice = world.as_(User::Alice);
    let given = admitted(&alice, vm).await;
    let again = token(&alice.at(&second).get(&format!("/vms/{vm}/console/status")).await);
    assert_eq!(world.home.count("console_grants").await, 1);
    let mut socket = enter(world, &second, vm, &given).await;
    greet(&mut socket).await;
    for token in [given, again] {
        let refused = refusal(knock(world, &third, vm, &token)).await;
        refused.refused(409, "VNC_TOKEN_REPLAYED");
    }
    assert_eq!(denials(world).await, ["REPLAYED", "REPLAYED"]);
    let audited = "audit_logs WHERE action = 'vnc.access_denied' AND environment = 'prod'";
    assert_eq!(world.home.count(audited).await, 2);
    assert_eq!(world.home.count("console_sessions WHERE ended_at IS NULL").await, 1);
}
