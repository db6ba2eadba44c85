//! Live migrations: to another node, or called off on the way.

use serde_json::{Value, json};

use crate::power::APPROVED_BY_POLICY;
use crate::server::{PATIENCE, eventually};
use crate::world::{User, World, text};

const NAME: &str = "dev-shop-web-01";
const OBJECT: &str = "VirtualMachineInstanceMigration";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_moves_to_another_node_or_stays_when_it_is_called_off() {
    let world = World::start().await;
    let vm = world.running_vm("dev").await;
    let before = node(&world);
    let ticket = world.operated(&format!("/vms/{vm}/migrate"), &json!({})).await;
    assert_eq!(world.transitions_of(&ticket).await, APPROVED_BY_POLICY);
    assert_eq!(world.facts_of(&ticket).await, ["VM_MIGRATION_COMPLETED COMPLETED"]);
    let moved = the_only_migration(&world, &vm).await;
    assert_eq!(moved["phase"], "SUCCEEDED");
    assert_eq!((&moved["source_node"], &moved["target_node"]), (&before, &node(&world)));
    assert_ne!(before, node(&world));

    what_has_ended_cannot_be_called_off(&world, &text(&moved["id"])).await;
    others_see_nothing(&world, &vm, &text(&moved["id"])).await;
    world.wait_for_vm_status(&vm, "RUNNING").await;
    a_migration_is_called_off(&world, &vm).await;
    a_stopped_machine_does_not_move(&world, &vm).await;
}

fn node(world: &World) -> Value {
    let instance = world.test.cluster().get("VirtualMachineInstance", "dev", NAME);
    instance.map_or(Value::Null, |instance| instance["status"]["nodeName"].clone())
}

async fn the_only_migration(world: &World, vm: &str) -> Value {
    let alice = world.as_(User::Alice);
    let listed = alice.get(&format!("/vms/{vm}/migrations")).await.ok(200);
    assert_eq!(listed["pagination"]["total"], 1);
    let id = text(&listed["items"][0]["id"]);
    let shown = alice.get(&format!("/migrations/{id}")).await.ok(200);
    assert_eq!(shown, listed["items"][0]);
    shown
}

async fn what_has_ended_cannot_be_called_off(world: &World, id: &str) {
    let refused = world
        .as_(User::Alice)
        .post(&format!("/migrations/{id}/cancel"), &json!({}))
        .await
        .refused(409, "INVALID_STATE_TRANSITION");
    assert_eq!(
        (&refused["entity"], &refused["current_status"], &refused["allowed"]),
        (&json!("migration"), &json!("SUCCEEDED"), &json!(["PENDING", "RUNNING"]))
    );
}

async fn others_see_nothing(world: &World, vm: &str, id: &str) {
    let mallory = world.as_(User::Mallory);
    let hidden = mallory.get(&format!("/migrations/{id}")).await;
    assert_eq!(hidden.refused(404, "MIGRATION_NOT_FOUND"), json!({"id": id}));
    mallory
        .get(&format!("/vms/{vm}/migrations"))
        .await
        .refused(404, "VM_NOT_FOUND");
    world
        .as_(User::Carol)
        .post(&format!("/vms/{vm}/migrate"), &json!({}))
        .await
        .refused(403, "FORBIDDEN");
}

async fn a_migration_is_called_off(world: &World, vm: &str) {
    let stays = node(world);
    world.test.cluster().freeze("dev", NAME);
    let ticket = world.operate(&format!("/vms/{vm}/migrate"), &json!({})).await;
    eventually("the migration is on its cluster", PATIENCE, async || {
        let name = format!("migration-{ticket}");
        world.test.cluster().get(OBJECT, "dev", &name).map(drop)
    })
    .await;
    let query = format!("SELECT id::text FROM vm_migrations WHERE ticket_id = '{ticket}'");
    let id = world.home.texts(&query).await.pop().expect("a migration");
    let path = format!("/migrations/{id}/cancel");
    let alice = world.as_(User::Alice);
    let first = alice.post(&path, &json!({})).await;
    assert!(!first.header("location").is_empty());
    let first = first.ok(202);
    let event = text(&first["event_id"]);
    assert_eq!(
        (&first["status"], &first["ticket_id"]),
        (&json!("PROCESSING"), &json!(ticket))
    );

    world.wait_for_ticket(&ticket, "FAILED").await;
    world.test.cluster().thaw("dev", NAME);
    let shown = alice.get(&format!("/approvals/{ticket}")).await.ok(200);
    assert_eq!(shown["error_code"], "VM_MIGRATION_FAILED");
    assert_eq!(shown["error_params"]["reason"], "Cancelled");
    let shown = alice.get(&format!("/migrations/{id}")).await.ok(200);
    assert_eq!(
        (&shown["phase"], &shown["cancel_requested"]),
        (&json!("CANCELLED"), &json!(true))
    );
    let shown = alice.get(&format!("/tasks/{event}")).await.ok(200);
    assert_eq!(shown["status"], "COMPLETED", "{shown}");
    let facts = format!("SELECT event_type FROM domain_events WHERE causation_id = '{event}'");
    assert_eq!(world.home.texts(&facts).await, ["VM_MIGRATION_CANCEL_COMPLETED"]);
    let mut audited = world.audit_of(&ticket).await;
    audited.sort();
    assert_eq!(
        audited,
        [
            "approval.approve",
            "vm.execution_started",
            "vm.migrate_cancel",
            "vm.migrate_cancel_submitted",
            "vm.migrate_failed",
            "vm.migrate_submitted",
        ]
    );
    alice
        .post(&path, &json!({}))
        .await
        .refused(409, "INVALID_STATE_TRANSITION");
    assert_eq!(node(world), stays);
    world.wait_for_vm_status(vm, "RUNNING").await;
}

async fn a_stopped_machine_does_not_move(world: &World, vm: &str) {
    world.operated(&format!("/vms/{vm}/stop"), &json!({})).await;
    world.wait_for_vm_status(vm, "STOPPED").await;
    let refused = world
        .as_(User::Alice)
        .post(&format!("/vms/{vm}/migrate"), &json!({}))
        .await
        .refused(409, "INVALID_STATE_TRANSITION");
    assert_eq!(
        (&refused["current_status"], &refused["operation"]),
        (&json!("STOPPED"), &json!("MIGRATE"))
    );
}
