//! Clones: new machines with a number, a row and marks of their own.

use serde_json::json;

use crate::server::ALL_ROLES;
use crate::world::{CARRIED_OUT, User, World, text};

const SOURCE: &str = "dev-shop-web-01";
const COPY: &str = "dev-shop-web-02";
const PREFIX: &str = "kubevirt-shepherd.io";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_a_machine_of_its_own() {
    let world = World::start().await;
    let source = world.running_vm("dev").await;
    let body = json!({"reason": "a place to try it", "start_after_clone": true});
    let accepted = world
        .as_(User::Alice)
        .post(&format!("/vms/{source}/clone"), &body)
        .await
        .ok(202);
    assert_eq!(accepted["message_code"], "APPROVAL_REQUIRED", "also in test");
    let (ticket, event) = (text(&accepted["ticket_id"]), text(&accepted["event_id"]));
    assert_eq!(world.home.count("vms").await, 1, "nothing is made before the decision");
    world.approve(&ticket).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    assert_eq!(world.transitions_of(&ticket).await, CARRIED_OUT);
    assert_eq!(world.facts_of(&ticket).await, ["VM_CLONE_COMPLETED COMPLETED"]);

    let copy = world.vm_of(&ticket).await;
    assert_ne!(copy, source);
    world.wait_for_vm_status(&copy, "RUNNING").await;
    the_copy_has_its_own_row_and_marks(&world, &copy, &ticket, &event).await;
    the_clone_is_shown(&world, &source, &copy, &event).await;
    what_cannot_be_copied_is_refused(&world, &source).await;

    let deletion = world.request_deletion(&copy).await;
    world.approve(&deletion).await;
    world.wait_for_ticket(&deletion, "COMPLETED").await;
    let names: Vec<_> = world
        .test
        .cluster()
        .list("VirtualMachine", "dev")
        .iter()
        .map(|found| text(&found["metadata"]["name"]))
        .collect();
    assert_eq!(names, [SOURCE], "the copy goes and its source stays");
}

async fn the_copy_has_its_own_row_and_marks(world: &World, copy: &str, ticket: &str, event: &str) {
    let shown = world.as_(User::Alice).get(&format!("/vms/{copy}")).await.ok(200);
    for (field, expected) in [
        ("name", json!(COPY)),
        ("instance", json!("02")),
        ("service_name", json!("web")),
        ("cluster_name", json!("test-1")),
        ("ticket_id", json!(ticket)),
        ("cpu_cores", json!(1)),
        ("created_by", json!(world.id(User::Alice))),
    ] {
        assert_eq!(shown[field], expected, "{field}");
    }
    let revisions = format!("vm_revisions WHERE vm_id = '{copy}' AND revision = 1");
    assert_eq!(world.home.count(&revisions).await, 1);
    let object = world
        .test
        .cluster()
        .get("VirtualMachine", "dev", COPY)
        .expect("the copy should be on its cluster");
    let labels = &object["metadata"]["labels"];
    assert_eq!(labels[format!("{PREFIX}/instance")], "02");
    assert_eq!(labels[format!("{PREFIX}/hostname")], COPY);
    let annotations = &object["metadata"]["annotations"];
    assert_eq!(annotations[format!("{PREFIX}/vm-id")], json!(copy));
    assert_eq!(annotations[format!("{PREFIX}/event-id")], json!(event));
}

async fn the_clone_is_shown(world: &World, source: &str, copy: &str, event: &str) {
    let shown = world.as_(User::Alice).get(&format!("/events/{event}")).await.ok(200);
    let clone = text(&shown["payload"]["clone"]["id"]);
    let path = format!("/clones/{clone}");
    let shown = world.as_(User::Alice).get(&path).await.ok(200);
    assert_eq!(
        (&shown["source_vm_id"], &shown["target_vm_id"], &shown["phase"]),
        (&json!(source), &json!(copy), &json!("SUCCEEDED"))
    );
    let hidden = world.as_(User::Mallory).get(&path).await;
    assert_eq!(hidden.refused(404, "CLONE_NOT_FOUND"), json!({"id": clone}));
}

async fn what_cannot_be_copied_is_refused(world: &World, source: &str) {
    let path = format!("/vms/{source}/clone");
    let alice = world.as_(User::Alice);
    let foreign = json!({"reason": "for others", "service_id": source});
    alice.post(&path, &foreign).await.refused(404, "SERVICE_NOT_FOUND");
    let silent = alice.post(&path, &json!({"reason": "  "})).await;
    assert_eq!((silent.status, silent.code()), (400, "VALIDATION_FAILED"));
    world
        .as_(User::Mallory)
        .post(&path, &json!({"reason": "mine"}))
        .await
        .refused(404, "VM_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_somebody_else_has_taken_stops_the_copy_and_is_left_alone() {
    let world = World::with(ALL_ROLES, &[]).await;
    let source = world.running_vm("dev").await;
    let foreign = json!({
        "metadata": {"name": COPY, "namespace": "dev", "labels": {"app": "somebody-elses"}},
        "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}},
    });
    assert!(world.test.cluster().put("VirtualMachine", foreign));
    let ticket = world
        .operate(&format!("/vms/{source}/clone"), &json!({"reason": "a copy"}))
        .await;
    world.approve(&ticket).await;
    world.wait_for_ticket(&ticket, "FAILED").await;
    assert_eq!(
        world.ticket_column(&ticket, "error_code").await,
        "CLUSTER_OBJECT_CONFLICT"
    );
    let copy = world.vm_of(&ticket).await;
    let shown = world.as_(User::Alice).get(&format!("/vms/{copy}")).await.ok(200);
    assert_eq!(shown["status"], "FAILED");
    let phases = format!("SELECT phase FROM vm_clones WHERE target_vm_id = '{copy}'");
    assert_eq!(world.home.texts(&phases).await, ["FAILED"]);
    let deletion = world.request_deletion(&copy).await;
    world.approve(&deletion).await;
    world.wait_for_ticket(&deletion, "COMPLETED").await;
    assert!(world.test.cluster().get("VirtualMachine", "dev", COPY).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_and_migrations_that_are_switched_off_are_refused() {
    let off = [
        ("FEATURES_CLONES", "false".to_owned()),
        ("FEATURES_MIGRATIONS", "false".to_owned()),
    ];
    let world = World::with(ALL_ROLES, &off).await;
    let vm = world.running_vm("dev").await;
    let alice = world.as_(User::Alice);
    for (operation, capability) in [("clone", "clones"), ("migrate", "migrations")] {
        let body = if operation == "clone" {
            json!({"reason": "a copy"})
        } else {
            json!({})
        };
        let refused = alice.post(&format!("/vms/{vm}/{operation}"), &body).await;
        let params = json!({"capability": capability, "cluster": "test-1"});
        assert_eq!(refused.refused(409, "CAPABILITY_NOT_SUPPORTED"), params);
    }
}
