//! Modifications: asked for with what they would change, decided by an approver, and carried out on the machine as it
//! is: running or stopped, and with the disks it has.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Reply, send};
use crate::server::{PATIENCE, eventually};
use crate::world::{CARRIED_OUT, User, World, text};

const NAME: &str = "dev-shop-web-01";
const DATA: &str = "dev-shop-web-01-data";
const EVENT: &str = "kubevirt-shepherd.io/event-id";
const REVISION: &str = "kubevirt-shepherd.io/revision";

/// Asks for a modification.
pub async fn ask(world: &World, user: User, vm: &str, body: &Value) -> Reply {
    let request = world.as_(user).request(Method::PATCH, &format!("/vms/{vm}"));
    send(request.json(body)).await
}

/// Alice asks, Bob approves, and it is done; answers the ticket.
pub async fn modified(world: &World, vm: &str, body: &Value) -> String {
    let ticket = text(&ask(world, User::Alice, vm, body).await.ok(202)["ticket_id"]);
    world.approve(&ticket).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    ticket
}

fn object(world: &World, kind: &str, name: &str) -> Value {
    let found = world.test.cluster().get(kind, "dev", name);
    found.unwrap_or_else(|| panic!("{kind} {name} should be there"))
}

async fn shown(world: &World, vm: &str) -> Value {
    world.as_(User::Alice).get(&format!("/vms/{vm}")).await.ok(200)
}

fn set_expansion(world: &World, allowed: bool) {
    for mut class in world.test.cluster().list("StorageClass", "") {
        class["allowVolumeExpansion"] = json!(allowed);
        assert!(world.test.cluster().put("StorageClass", class));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_gets_another_size_while_it_runs_and_a_larger_disk_while_it_is_off() {
    let world = World::start().await;
    let vm = world.running_vm("dev").await;
    what_cannot_be_asked_for(&world, &vm).await;
    others_may_not(&world, &vm).await;
    let ticket = another_size_is_asked_for_once(&world, &vm).await;
    it_is_carried_out(&world, &vm, &ticket).await;
    numbers_change_with_the_restart(&world, &vm).await;
    world.operated(&format!("/vms/{vm}/stop"), &json!({})).await;
    world.wait_for_vm_status(&vm, "STOPPED").await;
    the_disk_grows(&world, &vm).await;
    disks_do_not_shrink(&world, &vm).await;
    a_class_that_cannot_expand_is_found_out_beforehand(&world, &vm).await;
    a_silent_cluster_stops_no_request(&world, &vm).await;
}

async fn what_cannot_be_asked_for(world: &World, vm: &str) {
    let (small, medium) = (world.size("small"), world.size("medium"));
    let nothing = "01983f0e-0000-7000-8000-000000000000";
    for (body, status, code) in [
        (json!({"reason": "nothing"}), 400, "VALIDATION_FAILED"),
        (json!({"disk_gb": 30}), 400, "VALIDATION_FAILED"),
        (json!({"disk_gb": 30, "reason": "  "}), 400, "VALIDATION_FAILED"),
        (json!({"disk_gb": 0, "reason": "x"}), 400, "VALIDATION_FAILED"),
        (
            json!({"disk_gb": 30, "reason": "x", "template_id": nothing}),
            400,
            "INVALID_REQUEST_FIELD",
        ),
        (json!({"disk_gb": 20, "reason": "the same"}), 400, "VALIDATION_FAILED"),
        (
            json!({"instance_size_id": small, "reason": "the same"}),
            400,
            "VALIDATION_FAILED",
        ),
        (
            json!({"instance_size_id": nothing, "reason": "x"}),
            404,
            "INSTANCE_SIZE_NOT_FOUND",
        ),
        (json!({"disk_gb": 19, "reason": "less"}), 400, "DISK_SHRINK_NOT_ALLOWED"),
        (
            json!({"disk_gb": 51, "reason": "too much for small"}),
            400,
            "DISK_SIZE_OUT_OF_RANGE",
        ),
        (
            json!({"instance_size_id": medium, "disk_gb": 201, "reason": "x"}),
            400,
            "DISK_SIZE_OUT_OF_RANGE",
        ),
        (
            json!({"instance_size_id": world.size("gpu-a10"), "reason": "x", "disk_gb": 100}),
            400,
            "CAPABILITY_MISSING",
        ),
    ] {
        let reply = ask(world, User::Alice, vm, &body).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{body}: {}", reply.text);
    }
    let nothing_given = ask(world, User::Alice, vm, &json!({"reason": "nothing"})).await;
    let fields = nothing_given.body["field_errors"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let named: Vec<&Value> = fields.iter().map(|field| &field["field"]).collect();
    assert_eq!(named, ["instance_size_id", "disk_gb"]);
    assert_eq!(
        world
            .home
            .count("approval_tickets WHERE request_type = 'MODIFY_VM'")
            .await,
        0
    );
}

async fn others_may_not(world: &World, vm: &str) {
    let body = json!({"disk_gb": 30, "reason": "mine"});
    ask(world, User::Carol, vm, &body).await.refused(403, "FORBIDDEN");
    let foreign = ask(world, User::Mallory, vm, &body).await;
    assert_eq!(foreign.refused(404, "VM_NOT_FOUND"), json!({"id": vm}));
}

async fn another_size_is_asked_for_once(world: &World, vm: &str) -> String {
    let body = json!({"instance_size_id": world.size("medium"), "reason": "it is slow"});
    let accepted = ask(world, User::Alice, vm, &body).await.ok(202);
    assert_eq!(accepted["message_code"], "APPROVAL_REQUIRED", "also in test");
    assert!(accepted.get("warnings").is_none(), "{accepted}");
    let ticket = text(&accepted["ticket_id"]);
    let duplicate = ask(world, User::Alice, vm, &json!({"disk_gb": 30, "reason": "and room"})).await;
    let duplicate = duplicate.refused(409, "DUPLICATE_PENDING_REQUEST");
    assert_eq!(
        (&duplicate["existing_ticket_id"], &duplicate["operation"]),
        (&json!(ticket), &json!("MODIFY"))
    );

    let detail = world.as_(User::Bob).get(&format!("/approvals/{ticket}")).await.ok(200);
    let context = &detail["context"];
    assert_eq!(
        [&context["cpu_cores"], &context["memory_mb"], &context["disk_gb"]],
        [2, 4096, 20]
    );
    let current = &context["current"];
    assert_eq!(
        [&current["cpu_cores"], &current["memory_mb"], &current["disk_gb"]],
        [1, 1024, 20]
    );
    assert_eq!(detail["effective_spec"]["cpu_request"], 2);
    ticket
}

async fn it_is_carried_out(world: &World, vm: &str, ticket: &str) {
    let secret = object(world, "Secret", &format!("{NAME}-cloudinit"));
    let made = object(world, "VirtualMachine", NAME);
    let approve = format!("/approvals/{ticket}/approve");
    for choice in [
        json!({"selected_cluster_id": vm}),
        json!({"selected_template_version": 7}),
    ] {
        let refused = world.as_(User::Bob).post(&approve, &choice).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "VALIDATION_FAILED"),
            "{}",
            refused.text
        );
    }
    world.approve(ticket).await;
    world.wait_for_ticket(ticket, "COMPLETED").await;
    assert_eq!(world.transitions_of(ticket).await, CARRIED_OUT);
    let audited = [
        "vm.modify_submitted",
        "approval.approve",
        "vm.execution_started",
        "vm.modify",
    ];
    assert_eq!(world.audit_of(ticket).await, audited);
    assert_eq!(world.facts_of(ticket).await, ["VM_MODIFY_COMPLETED COMPLETED"]);

    let machine = shown(world, vm).await;
    assert_eq!(
        [&machine["cpu_cores"], &machine["memory_mb"], &machine["disk_gb"]],
        [2, 4096, 20]
    );
    assert_eq!(machine["instance_size_id"], world.size("medium"));
    let changed = object(world, "VirtualMachine", NAME);
    assert_eq!(changed["spec"]["template"]["spec"]["domain"]["cpu"]["cores"], 2);
    assert_eq!(changed["spec"]["runStrategy"], "Always");
    let (before, after) = (&made["metadata"], &changed["metadata"]);
    assert_eq!(before["uid"], after["uid"]);
    assert_eq!(before["labels"], after["labels"]);
    assert_eq!(before["annotations"][EVENT], after["annotations"][EVENT]);
    assert_eq!(
        [&before["annotations"][REVISION], &after["annotations"][REVISION]],
        ["1", "2"]
    );
    assert_eq!(
        object(world, "Secret", &format!("{NAME}-cloudinit")),
        secret,
        "the guest is initialised"
    );
}

async fn numbers_change_with_the_restart(world: &World, vm: &str) {
    let wanted = async |required: bool| {
        eventually(&format!("restart_required is {required}"), PATIENCE, async || {
            (shown(world, vm).await["restart_required"] == required).then_some(())
        })
        .await;
    };
    let cores = || object(world, "VirtualMachineInstance", NAME)["spec"]["domain"]["cpu"]["cores"].clone();
    wanted(true).await;
    assert_eq!(cores(), 1);
    world.operated(&format!("/vms/{vm}/restart"), &json!({})).await;
    world.wait_for_vm_status(vm, "RUNNING").await;
    wanted(false).await;
    assert_eq!(cores(), 2);
}

async fn the_disk_grows(world: &World, vm: &str) {
    modified(world, vm, &json!({"disk_gb": 40, "reason": "the logs need room"})).await;
    let machine = object(world, "VirtualMachine", NAME);
    assert_eq!(machine["spec"]["runStrategy"], "Halted", "it stays off");
    let claim = object(world, "PersistentVolumeClaim", DATA);
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "40Gi");
    eventually("the storage is there", PATIENCE, async || {
        let claim = object(world, "PersistentVolumeClaim", DATA);
        (claim["status"]["capacity"]["storage"] == "40Gi").then_some(())
    })
    .await;
    let machine = shown(world, vm).await;
    assert_eq!(
        [&machine["cpu_cores"], &machine["memory_mb"], &machine["disk_gb"]],
        [2, 4096, 40]
    );
    assert_eq!(machine["status"], "STOPPED");
}

async fn disks_do_not_shrink(world: &World, vm: &str) {
    let refused = ask(world, User::Alice, vm, &json!({"disk_gb": 30, "reason": "too much"})).await;
    let params = json!({"current_disk_gb": 40, "requested_disk_gb": 30});
    assert_eq!(refused.refused(400, "DISK_SHRINK_NOT_ALLOWED"), params);
}

async fn a_class_that_cannot_expand_is_found_out_beforehand(world: &World, vm: &str) {
    set_expansion(world, false);
    let body = json!({"disk_gb": 50, "reason": "more"});
    let refused = ask(world, User::Alice, vm, &body)
        .await
        .refused(422, "DRY_RUN_REJECTED");
    assert_eq!(refused["k8s_reason"], "DiskNotExpandable");
    set_expansion(world, true);
}

async fn a_silent_cluster_stops_no_request(world: &World, vm: &str) {
    use shepherd_simulator::{FaultEffect, FaultRule};
    let path = format!("/virtualmachines/{NAME}");
    let broken = FaultRule::always("PATCH", &path, FaultEffect::status(500, "InternalError"));
    let rule = world.test.faults().inject(broken);
    let body = json!({"disk_gb": 50, "reason": "more"});
    let accepted = ask(world, User::Alice, vm, &body).await.ok(202);
    assert_eq!(accepted["warnings"][0]["code"], "PREVIEW_UNAVAILABLE");
    let path = format!("/approvals/{}/approve", text(&accepted["ticket_id"]));
    let bob = world.as_(User::Bob);
    bob.post(&path, &json!({})).await.refused(503, "CLUSTER_UNREACHABLE");
    world.test.faults().revoke(rule);
    bob.post(&path, &json!({})).await.ok(204);
    world.wait_for_ticket(&text(&accepted["ticket_id"]), "COMPLETED").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_modification_that_fails_leaves_the_machine_and_its_row_as_they_were() {
    let world = World::with("api,controllers", &[]).await;
    let worker = world.start_replica("worker", &[]).await;
    let vm = world.running_vm("dev").await;
    drop(worker);
    let body = json!({"disk_gb": 40, "reason": "room"});
    let ticket = text(&ask(&world, User::Alice, &vm, &body).await.ok(202)["ticket_id"]);
    world.approve(&ticket).await;
    set_expansion(&world, false);
    let before = (
        shown(&world, &vm).await,
        object(&world, "VirtualMachine", NAME)["spec"].clone(),
    );

    let _worker = world.start_replica("worker", &[]).await;
    world.wait_for_ticket(&ticket, "FAILED").await;
    let failed = world
        .as_(User::Alice)
        .get(&format!("/approvals/{ticket}"))
        .await
        .ok(200);
    assert_eq!(failed["error_code"], "VM_MODIFY_FAILED");
    assert_eq!(failed["error_params"]["k8s_reason"], "DiskNotExpandable");
    assert_eq!(world.facts_of(&ticket).await, ["VM_MODIFY_FAILED COMPLETED"]);
    assert_eq!(world.audit_of(&ticket).await.pop().as_deref(), Some("vm.modify_failed"));
    let after = (
        shown(&world, &vm).await,
        object(&world, "VirtualMachine", NAME)["spec"].clone(),
    );
    for field in ["status", "disk_gb", "cpu_cores", "restart_required", "instance_size_id"] {
        assert_eq!(before.0[field], after.0[field], "{field}");
    }
    assert_eq!(before.1, after.1);
    assert_eq!(world.home.count(&format!("vm_revisions WHERE vm_id = '{vm}'")).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_machine_keeps_its_restored_disk() {
    let world = World::start().await;
    let vm = world.running_vm("dev").await;
    world
        .operated(&format!("/vms/{vm}/snapshots"), &json!({"name": "before"}))
        .await;
    world.operated(&format!("/vms/{vm}/stop"), &json!({})).await;
    world.wait_for_vm_status(&vm, "STOPPED").await;
    let listed = world
        .as_(User::Alice)
        .get(&format!("/vms/{vm}/snapshots"))
        .await
        .ok(200);
    let path = format!("/snapshots/{}/restore", text(&listed["items"][0]["id"]));
    let restore = world.operate(&path, &json!({})).await;
    world.approve(&restore).await;
    world.wait_for_ticket(&restore, "COMPLETED").await;
    let claim = disk(&world);
    assert_ne!(claim, DATA, "a restore makes new claims");
    eventually("the restored claim is there", PATIENCE, async || {
        let found = world.test.cluster().get("PersistentVolumeClaim", "dev", &claim);
        found.filter(|found| found["status"]["phase"] == "Bound").map(drop)
    })
    .await;

    modified(&world, &vm, &json!({"disk_gb": 30, "reason": "room"})).await;
    assert_eq!(disk(&world), claim);
    let grown = object(&world, "PersistentVolumeClaim", &claim);
    assert_eq!(grown["spec"]["resources"]["requests"]["storage"], "30Gi");
    world.operated(&format!("/vms/{vm}/start"), &json!({})).await;
    world.wait_for_vm_status(&vm, "RUNNING").await;
    assert_eq!(world.home.count(&format!("vm_revisions WHERE vm_id = '{vm}'")).await, 3);
}

/// What the disk `data` of the machine is on.
fn disk(world: &World) -> String {
    let machine = object(world, "VirtualMachine", NAME);
    let volumes = machine["spec"]["template"]["spec"]["volumes"].as_array().cloned();
    let volumes = volumes.unwrap_or_default();
    let data = volumes.iter().find(|volume| volume["name"] == "data");
    text(&data.expect("there should be a data disk")["dataVolume"]["name"])
}
