//! Batches over HTTP: what is asked for together is decided together or piece by piece, carried out independently, and
//! never miscounted; and whoever asks for too much is told so.

mod creation;
mod decisions;
mod fleet;
mod floods;
mod policies;
mod refusals;

use serde_json::{Value, json};

use crate::client::Caller;
use crate::server::{PATIENCE, eventually};
use crate::world::{User, World, text};

const BATCHES: &str = "/vms/batch";
const POWER: &str = "/vms/batch/power";
/// An id that nothing has.
const NOTHING: &str = "01983f0e-0000-7000-8000-000000000000";

/// Limits that are in nobody's way.
fn generous() -> Vec<(&'static str, String)> {
    [
        ("BATCH_USER_COOLDOWN", "0s"),
        ("BATCH_MAX_USER_PENDING_PARENTS", "100"),
        ("BATCH_MAX_USER_PENDING_CHILDREN", "1000"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

/// The body of a request for so many equal machines for Alice's Service.
fn creation(world: &World, count: usize) -> Value {
    let items = vec![world.vm_body("dev"); count];
    json!({"operation": "CREATE", "reason": "room for the launch", "items": items})
}

/// The body of a request about existing machines.
fn about(operation: &str, machines: &[&str]) -> Value {
    let items: Vec<Value> = machines.iter().map(|vm| json!({"vm_id": vm})).collect();
    json!({"operation": operation, "items": items})
}

/// Submits a batch; answers its id.
async fn submit(caller: &Caller, path: &str, body: &Value) -> String {
    text(&caller.post(path, body).await.ok(202)["batch_id"])
}

/// A batch as Alice sees it.
async fn shown(world: &World, batch: &str) -> Value {
    let path = format!("{BATCHES}/{batch}");
    world.as_(User::Alice).get(&path).await.ok(200)
}

/// Waits until a batch has a status; answers what it shows.
async fn wait_for_batch(world: &World, batch: &str, status: &str) -> Value {
    eventually(&format!("batch {batch} is {status}"), PATIENCE, async || {
        let shown = shown(world, batch).await;
        (shown["status"] == status).then_some(shown)
    })
    .await
}

/// The children that a batch shows.
fn children(shown: &Value) -> Vec<Value> {
    shown["children"].as_array().cloned().unwrap_or_default()
}

/// One value of every child, in their order.
fn of_children(shown: &Value, field: &str) -> Vec<String> {
    children(shown).iter().map(|child| text(&child[field])).collect()
}

/// Success, failed, pending, rejected and cancelled ones, as a batch shows them.
fn counters(shown: &Value) -> Vec<i64> {
    ["success", "failed", "pending", "rejected", "cancelled"]
        .iter()
        .map(|name| shown[format!("{name}_count").as_str()].as_i64().unwrap_or(-1))
        .collect()
}

/// What the stored numbers and states of all batches say is what follows from their children.
async fn everything_adds_up(world: &World) {
    let counted = "count(*) FILTER (WHERE c.status = 'COMPLETED'), \
         count(*) FILTER (WHERE c.status IN ('FAILED', 'REJECTED')), \
         count(*) FILTER (WHERE c.status IN ('PENDING_APPROVAL', 'APPROVED', 'EXECUTING')), \
         count(*) FILTER (WHERE c.status = 'REJECTED'), count(*) FILTER (WHERE c.status = 'CANCELLED'), count(*)";
    let miscounted = format!(
        "batch_approval_tickets b WHERE NOT ((b.success_count, b.failed_count, b.pending_count, b.rejected_count, \
             b.cancelled_count, b.child_count) = \
         (SELECT {counted} FROM approval_tickets c WHERE c.parent_ticket_id = b.id))"
    );
    assert_eq!(world.home.count(&miscounted).await, 0, "batches with wrong numbers");
    let apart = "batch_approval_tickets b JOIN approval_tickets t ON t.id = b.id WHERE (b.status, t.status) NOT IN ( \
         ('PENDING_APPROVAL', 'PENDING_APPROVAL'), ('IN_PROGRESS', 'APPROVED'), ('IN_PROGRESS', 'EXECUTING'), \
         ('COMPLETED', 'COMPLETED'), ('PARTIAL_SUCCESS', 'COMPLETED'), ('FAILED', 'FAILED'), ('FAILED', 'REJECTED'), \
         ('CANCELLED', 'CANCELLED'))";
    assert_eq!(world.home.count(apart).await, 0, "batches that contradict their parent");
    let events = "approval_tickets t JOIN domain_events e ON e.id = t.event_id \
         WHERE t.parent_ticket_id IS NOT NULL AND e.status <> CASE t.status WHEN 'PENDING_APPROVAL' THEN 'PENDING' \
             WHEN 'COMPLETED' THEN 'COMPLETED' WHEN 'FAILED' THEN 'FAILED' WHEN 'REJECTED' THEN 'CANCELLED' \
             WHEN 'CANCELLED' THEN 'CANCELLED' ELSE 'PROCESSING' END";
    assert_eq!(
        world.home.count(events).await,
        0,
        "children that contradict their event"
    );
    let histories = "approval_tickets t WHERE t.status <> (SELECT s.to_status FROM ticket_transitions s \
         WHERE s.ticket_id = t.id ORDER BY s.seq DESC LIMIT 1)";
    assert_eq!(
        world.home.count(histories).await,
        0,
        "tickets that contradict their history"
    );
}
