//! Snapshots: taken, restored from and deleted, and refused where they cannot be.

use serde_json::{Value, json};

use crate::power::APPROVED_BY_POLICY;
use crate::server::{ALL_ROLES, PATIENCE, eventually};
use crate::world::{CARRIED_OUT, User, World, text};

const SNAPSHOT: &str = "VirtualMachineSnapshot";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_saved_restored_and_its_snapshot_deleted() {
    let world = World::start().await;
    let vm = world.running_vm("dev").await;
    let ticket = world
        .operated(&format!("/vms/{vm}/snapshots"), &json!({"name": "before"}))
        .await;
    assert_eq!(world.transitions_of(&ticket).await, APPROVED_BY_POLICY);
    assert_eq!(world.facts_of(&ticket).await, ["VM_SNAPSHOT_COMPLETED COMPLETED"]);
    let id = the_snapshot_is_there(&world, &vm, &ticket).await;
    names_are_taken_once(&world, &vm).await;
    others_see_nothing(&world, &vm, &id).await;
    a_restore_needs_a_stopped_machine_and_an_approver(&world, &vm, &id).await;
    a_deletion_is_confirmed(&world, &vm, &id).await;
    snapshots_go_before_their_machine(&world, &vm).await;
}

async fn the_snapshot_is_there(world: &World, vm: &str, ticket: &str) -> String {
    let listed = world
        .as_(User::Alice)
        .get(&format!("/vms/{vm}/snapshots"))
        .await
        .ok(200);
    let snapshot = &listed["items"][0];
    assert_eq!(
        (&snapshot["name"], &snapshot["ready"]),
        (&json!("before"), &json!(true))
    );
    let objects = world.test.cluster().list(SNAPSHOT, "dev");
    assert_eq!(objects.len(), 1);
    let metadata = &objects[0]["metadata"];
    assert_eq!(metadata["name"], format!("snapshot-{ticket}"));
    assert_eq!(
        metadata["labels"]["kubevirt-shepherd.io/managed-by"],
        "kubevirt-shepherd"
    );
    assert_eq!(
        metadata["annotations"]["kubevirt-shepherd.io/event-id"],
        json!(world.event_of(ticket).await)
    );
    text(&snapshot["id"])
}

async fn names_are_taken_once(world: &World, vm: &str) {
    let path = format!("/vms/{vm}/snapshots");
    let alice = world.as_(User::Alice);
    let taken = alice.post(&path, &json!({"name": "before"})).await;
    assert_eq!(taken.refused(409, "SNAPSHOT_NAME_EXISTS"), json!({"name": "before"}));
    for name in ["", "Before", "-x"] {
        let reply = alice.post(&path, &json!({"name": name})).await;
        assert_eq!((reply.status, reply.code()), (400, "VALIDATION_FAILED"), "{name}");
    }
}

async fn others_see_nothing(world: &World, vm: &str, id: &str) {
    let mallory = world.as_(User::Mallory);
    mallory
        .get(&format!("/vms/{vm}/snapshots"))
        .await
        .refused(404, "VM_NOT_FOUND");
    let viewer = world.as_(User::Carol);
    viewer
        .post(&format!("/snapshots/{id}/restore"), &json!({}))
        .await
        .refused(403, "FORBIDDEN");
}

async fn a_restore_needs_a_stopped_machine_and_an_approver(world: &World, vm: &str, id: &str) {
    let path = format!("/snapshots/{id}/restore");
    let refused = world
        .as_(User::Alice)
        .post(&path, &json!({}))
        .await
        .refused(409, "INVALID_STATE_TRANSITION");
    assert_eq!(
        (&refused["operation"], &refused["allowed"]),
        (&json!("RESTORE"), &json!(["STOPPED"]))
    );
    world.operated(&format!("/vms/{vm}/stop"), &json!({})).await;
    world.wait_for_vm_status(vm, "STOPPED").await;

    let accepted = world
        .as_(User::Alice)
        .post(&path, &json!({"reason": "undo"}))
        .await
        .ok(202);
    assert_eq!(accepted["message_code"], "APPROVAL_REQUIRED", "also in test");
    let ticket = text(&accepted["ticket_id"]);
    // Snapshots of a machine are dealt with one after another.
    world
        .as_(User::Alice)
        .delete(&format!("/snapshots/{id}?confirm=true"))
        .await
        .refused(409, "DUPLICATE_PENDING_REQUEST");
    world.approve(&ticket).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    assert_eq!(world.transitions_of(&ticket).await, CARRIED_OUT);
    let restores = world.test.cluster().list("VirtualMachineRestore", "dev");
    assert_eq!(restores.len(), 1);
    assert_eq!(restores[0]["status"]["complete"], true);
    let revisions = format!("vm_revisions WHERE vm_id = '{vm}'");
    assert_eq!(world.home.count(&revisions).await, 2);
    let object = world
        .test
        .cluster()
        .get("VirtualMachine", "dev", "dev-shop-web-01")
        .expect("the machine should be there");
    assert_eq!(
        object["metadata"]["annotations"]["kubevirt-shepherd.io/vm-id"],
        json!(vm)
    );
    world.operated(&format!("/vms/{vm}/start"), &json!({})).await;
    world.wait_for_vm_status(vm, "RUNNING").await;
}

async fn a_deletion_is_confirmed(world: &World, vm: &str, id: &str) {
    let alice = world.as_(User::Alice);
    let path = format!("/snapshots/{id}");
    let refused = alice.delete(&path).await.refused(400, "CONFIRMATION_REQUIRED");
    assert_eq!(
        (&refused["entity"], &refused["parameter"]),
        (&json!("snapshot"), &json!("confirm"))
    );
    let accepted = alice.delete(&format!("{path}?confirm=true")).await.ok(202);
    world.wait_for_ticket(&text(&accepted["ticket_id"]), "COMPLETED").await;
    assert_eq!(world.test.cluster().list(SNAPSHOT, "dev"), Vec::<Value>::new());
    let listed = alice.get(&format!("/vms/{vm}/snapshots")).await.ok(200);
    assert_eq!(listed["pagination"]["total"], 0);
    alice
        .delete(&format!("{path}?confirm=true"))
        .await
        .refused(404, "SNAPSHOT_NOT_FOUND");
}

async fn snapshots_go_before_their_machine(world: &World, vm: &str) {
    world
        .operated(&format!("/vms/{vm}/snapshots"), &json!({"name": "last"}))
        .await;
    let deletion = world.request_deletion(vm).await;
    world.approve(&deletion).await;
    world.wait_for_ticket(&deletion, "COMPLETED").await;
    eventually("no snapshot is left", PATIENCE, async || {
        world.test.cluster().list(SNAPSHOT, "dev").is_empty().then_some(())
    })
    .await;
    assert_eq!(world.home.count("vm_snapshots").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_that_are_switched_off_or_not_served_are_refused() {
    let off = ("FEATURES_SNAPSHOTS", "false".to_owned());
    let world = World::with(ALL_ROLES, &[off]).await;
    let vm = world.running_vm("dev").await;
    let path = format!("/vms/{vm}/snapshots");
    let refused = world.as_(User::Alice).post(&path, &json!({"name": "a"})).await;
    let params = json!({"capability": "snapshots", "cluster": "test-1"});
    assert_eq!(refused.refused(409, "CAPABILITY_NOT_SUPPORTED"), params);

    let on = ("FEATURES_SNAPSHOTS", "true".to_owned());
    let other = world.start_replica("api", &[on]).await;
    let without = "UPDATE clusters SET detected_capabilities = detected_capabilities || '{\"snapshot\": false}' \
                   WHERE name = 'test-1' RETURNING name";
    world.home.texts(without).await;
    let refused = world
        .as_(User::Alice)
        .at(&other)
        .post(&path, &json!({"name": "a"}))
        .await;
    assert_eq!(refused.refused(409, "CAPABILITY_NOT_SUPPORTED"), params);
    assert_eq!(world.home.count("vm_snapshots").await, 0);
}
