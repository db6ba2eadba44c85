//! Revisions: what each change left, what lies between two of them, and what nobody sees in them.

use serde_json::{Value, json};

use crate::modify::modified;
use crate::world::{User, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_a_machine_leaves_a_revision_that_can_be_compared() {
    let world = World::start().await;
    let vm = world.running_vm("dev").await;
    let body = json!({"instance_size_id": world.size("medium"), "disk_gb": 60, "reason": "it is slow"});
    let ticket = modified(&world, &vm, &body).await;
    they_are_listed(&world, &vm, &ticket).await;
    a_document_can_be_read(&world, &vm).await;
    two_of_them_are_compared(&world, &vm).await;
    what_is_not_there_is_not_found(&world, &vm).await;
    a_request_can_be_validated_beforehand(&world).await;
}

async fn they_are_listed(world: &World, vm: &str, ticket: &str) {
    let listed = world
        .as_(User::Alice)
        .get(&format!("/vms/{vm}/revisions"))
        .await
        .ok(200);
    assert_eq!(listed["pagination"]["total"], 2);
    let newest = &listed["items"][0];
    assert_eq!(newest["revision"], 2);
    assert_eq!(newest["change_reason"], "it is slow");
    assert_eq!(newest["ticket_id"], ticket);
    assert_eq!(newest["changed_by"], world.id(User::Alice));
    assert_eq!(listed["items"][1]["change_reason"], "a place to work");
    let second = world
        .as_(User::Alice)
        .get(&format!("/vms/{vm}/revisions?page=2&per_page=1"))
        .await
        .ok(200);
    assert_eq!(second["items"][0]["revision"], 1);
}

async fn a_document_can_be_read(world: &World, vm: &str) {
    let path = format!("/vms/{vm}/revisions/1");
    let shown = world.as_(User::Alice).get(&path).await.ok(200);
    let document: Value = serde_saphyr::from_str(shown["spec_yaml"].as_str().unwrap_or_default()).unwrap();
    assert_eq!(document["kind"], "VirtualMachine");
    assert_eq!(document["spec"]["template"]["spec"]["domain"]["cpu"]["cores"], 1);
    let cloud_init = document["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|volume| volume["name"] == "cloudinit");
    let secret = json!({"secretRef": {"name": "dev-shop-web-01-cloudinit"}});
    assert_eq!(cloud_init.map(|volume| &volume["cloudInitNoCloud"]), Some(&secret));
}

async fn two_of_them_are_compared(world: &World, vm: &str) {
    let alice = world.as_(User::Alice);
    let path = |from: u32, to: u32| format!("/vms/{vm}/revisions/diff?from={from}&to={to}");
    let diff = alice.get(&path(1, 2)).await.ok(200);
    assert_eq!([&diff["from"], &diff["to"]], [1, 2]);
    let changes = diff["changes"].as_array().cloned().unwrap_or_default();
    let find = |wanted: &str| {
        let found = changes.iter().find(|change| change["path"] == wanted);
        found
            .cloned()
            .unwrap_or_else(|| panic!("{wanted} is not in {changes:?}"))
    };
    let cores = find("spec.template.spec.domain.cpu.cores");
    assert_eq!(
        cores,
        json!({"path": "spec.template.spec.domain.cpu.cores", "op": "replace", "old": 1, "new": 2})
    );
    find("metadata.annotations[\"kubevirt-shepherd.io/revision\"]");
    let paths: Vec<&str> = changes.iter().filter_map(|change| change["path"].as_str()).collect();
    let mut sorted = paths.clone();
    sorted.sort_unstable();
    assert_eq!(paths, sorted);
    let back = alice.get(&path(2, 1)).await.ok(200);
    assert_eq!(back["changes"].as_array().map(Vec::len), Some(changes.len()));
    assert_eq!(alice.get(&path(2, 2)).await.ok(200)["changes"], json!([]));
}

async fn what_is_not_there_is_not_found(world: &World, vm: &str) {
    let alice = world.as_(User::Alice);
    let base = format!("/vms/{vm}/revisions");
    let missing = alice.get(&format!("{base}/9")).await;
    assert_eq!(missing.refused(404, "REVISION_NOT_FOUND"), json!({"id": "9"}));
    alice
        .get(&format!("{base}/diff?from=1&to=9"))
        .await
        .refused(404, "REVISION_NOT_FOUND");
    alice
        .get(&format!("{base}/latest"))
        .await
        .refused(400, "INVALID_REQUEST");
    let incomplete = alice.get(&format!("{base}/diff?from=1")).await;
    assert_eq!((incomplete.status, incomplete.code()), (400, "VALIDATION_FAILED"));
    let foreign = world.as_(User::Mallory).get(&base).await;
    assert_eq!(foreign.refused(404, "VM_NOT_FOUND"), json!({"id": vm}));
}

async fn a_request_can_be_validated_beforehand(world: &World) {
    let alice = world.as_(User::Alice);
    let before = world.home.count("approval_tickets").await;
    let mut body = world.vm_body("dev");
    let valid = alice.post("/vms/validate", &body).await.ok(200);
    assert_eq!((&valid["valid"], &valid["warnings"]), (&json!(true), &json!([])));
    let resources = json!({"cpu_cores": 1, "memory_mb": 1024, "disk_gb": 20});
    assert_eq!(valid["estimated_resources"], resources);
    let cluster = valid["checked_cluster_id"].clone();

    body["cluster_id"] = cluster.clone();
    assert_eq!(
        alice.post("/vms/validate", &body).await.ok(200)["checked_cluster_id"],
        cluster
    );
    body["cluster_id"] = json!("01983f0e-0000-7000-8000-000000000000");
    alice
        .post("/vms/validate", &body)
        .await
        .refused(404, "CLUSTER_NOT_FOUND");
    let prod = world
        .as_(User::Admin)
        .get("/admin/clusters?environment=prod")
        .await
        .ok(200);
    body["cluster_id"] = prod["items"][0]["id"].clone();
    alice
        .post("/vms/validate", &body)
        .await
        .refused(400, "NAMESPACE_CLUSTER_ENV_MISMATCH");
    let mut large = world.vm_body("dev");
    large["disk_gb"] = json!(51);
    alice
        .post("/vms/validate", &large)
        .await
        .refused(400, "DISK_SIZE_OUT_OF_RANGE");
    assert_eq!(world.home.count("approval_tickets").await, before, "nothing is stored");
}
