//! Clusters that refuse, are in the way, or fail.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use shepherd_simulator::{FaultEffect, FaultRule};

use crate::client::send;
use crate::server::eventually;
use crate::world::{CARRIED_OUT, User, World, creations, text};

/// The first retry comes after 15 s and up to a tenth more.
const FIRST_RETRY: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cluster_would_refuse_is_refused_before_anybody_has_to_decide() {
    let world = World::start().await;
    // A cluster cannot judge an object of a namespace that it does not have.
    let namespace = json!({"metadata": {"name": "dev"}});
    assert!(world.test.cluster().put("Namespace", namespace));
    let template = json!({
        "name": "refused",
        "spec": {"image_source": {"container_disk": {"image": "registry.example/reject-me:1"}}},
    });
    // It would be refused already when it is saved, if a cluster could be asked then.
    let admin = world.as_(User::Admin);
    let clusters = admin.get("/admin/clusters?environment=test").await.ok(200);
    let cluster = format!("/admin/clusters/{}", text(&clusters["items"][0]["id"]));
    let enable = async |enabled: bool| {
        let change = admin
            .request(Method::PATCH, &cluster)
            .json(&json!({"enabled": enabled}));
        send(change).await.ok(200)
    };
    enable(false).await;
    let template = admin.post("/admin/templates", &template).await.ok(201);
    assert_eq!(template.get("validated_at"), None);
    enable(true).await;
    let mut body = world.vm_body("dev");
    body["template_id"] = template["id"].clone();

    let refused = world
        .as_(User::Alice)
        .post("/vms", &body)
        .await
        .refused(422, "DRY_RUN_REJECTED");
    assert_eq!(refused["cluster"], "test-1");
    assert!(
        refused["causes"].as_array().is_some_and(|causes| !causes.is_empty()),
        "{refused}"
    );
    assert_eq!(world.home.count("approval_tickets").await, 0);
    assert_eq!(world.home.count("domain_events WHERE event_type LIKE 'VM%'").await, 0);
    assert_eq!(world.test.cluster().list("VirtualMachine", ""), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_somebody_else_made_stops_the_creation_and_is_left_alone() {
    let world = World::with("api,controllers", &[]).await;
    let ticket = world.request_vm("dev").await;
    world.approve(&ticket).await;
    let name = "dev-shop-web-01";
    let foreign = json!({
        "metadata": {"name": name, "namespace": "dev", "labels": {"app": "somebody-elses"}},
        "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}},
    });
    let cluster = world.test.cluster();
    assert!(cluster.put("Namespace", json!({"metadata": {"name": "dev"}})));
    assert!(cluster.put("VirtualMachine", foreign));
    let before = essence(&world, name);

    let worker = world.start_replica("worker", &[]).await;
    world.wait_for_ticket(&ticket, "FAILED").await;
    let shown = world
        .as_(User::Alice)
        .get(&format!("/approvals/{ticket}"))
        .await
        .ok(200);
    assert_eq!(shown["error_code"], "CLUSTER_OBJECT_CONFLICT");
    let params = json!({"cluster": "test-1", "namespace": "dev", "name": name});
    assert_eq!(shown["error_params"], params);
    let vm = world.vm_of(&ticket).await;
    let shown = world.as_(User::Alice).get(&format!("/vms/{vm}")).await.ok(200);
    let state = [&shown["status"], &shown["status_reason"]];
    assert_eq!(state, ["FAILED", "CLUSTER_OBJECT_CONFLICT"]);
    let failed = ["SUBMITTED", "PENDING_APPROVAL", "APPROVED", "EXECUTING", "FAILED"];
    assert_eq!(world.transitions_of(&ticket).await, failed);
    let audited = [
        "vm.request",
        "approval.approve",
        "vm.execution_started",
        "vm.create_failed",
    ];
    assert_eq!(world.audit_of(&ticket).await, audited);
    assert_eq!(world.event_status_of(&ticket).await, "FAILED");
    assert_eq!(world.facts_of(&ticket).await, ["VM_CREATION_FAILED COMPLETED"]);
    assert_eq!(world.ticket_column(&ticket, "attempt_count").await, "1");
    assert_eq!(essence(&world, name), before, "the failed creation touched it");

    let deletion = world.request_deletion(&vm).await;
    world.approve(&deletion).await;
    world.wait_for_ticket(&deletion, "COMPLETED").await;
    assert_eq!(world.home.count("vms").await, 0);
    assert_eq!(essence(&world, name), before, "the deletion touched it");
    drop(worker);
}

/// What a person put into an object, and which object it is.
fn essence(world: &World, name: &str) -> Option<[Value; 4]> {
    let object = world.test.cluster().get("VirtualMachine", "dev", name)?;
    let metadata = &object["metadata"];
    Some([
        metadata["uid"].clone(),
        metadata["labels"].clone(),
        metadata["deletionTimestamp"].clone(),
        object["spec"].clone(),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_fails_or_falls_silent_once_only_delays_the_work() {
    let world = World::with("api,controllers", &[]).await;
    let mut tickets = Vec::new();
    for _ in 0..2 {
        let ticket = world.request_vm("dev").await;
        world.approve(&ticket).await;
        tickets.push(ticket);
    }
    let faults = world.test.faults();
    let failing = FaultEffect::status(500, "InternalError");
    faults.inject(FaultRule::next(1, "PATCH", "/virtualmachines/dev-shop-web-01", failing));
    let silent = FaultEffect::Hang;
    faults.inject(FaultRule::next(1, "PATCH", "/virtualmachines/dev-shop-web-02", silent));

    let patience = ("K8S_CALL_TIMEOUT", "10s".to_owned());
    let worker = world.start_replica("worker", &[patience]).await;
    for (ticket, reason) in tickets.iter().zip(["Unreachable", "Timeout"]) {
        eventually("the work is postponed", FIRST_RETRY, async || {
            let next = world.ticket_column(ticket, "next_attempt_at").await;
            (!next.is_empty()).then_some(())
        })
        .await;
        assert_eq!(world.ticket_column(ticket, "status").await, "EXECUTING");
        let shown = world
            .as_(User::Alice)
            .get(&format!("/approvals/{ticket}"))
            .await
            .ok(200);
        assert_eq!(text(&shown["error_code"]), "VM_CREATION_FAILED");
        assert_eq!(text(&shown["error_params"]["reason"]), reason);
    }

    for ticket in &tickets {
        world.wait_for_ticket(ticket, "COMPLETED").await;
        let vm = world.vm_of(ticket).await;
        world.wait_for_vm_status(&vm, "RUNNING").await;
        assert_eq!(world.transitions_of(ticket).await, CARRIED_OUT);
        assert_eq!(world.ticket_column(ticket, "attempt_count").await, "2");
        let audited = ["vm.request", "approval.approve", "vm.execution_started", "vm.create"];
        assert_eq!(world.audit_of(ticket).await, audited);
    }
    let made = creations(&world.test, "dev");
    assert!(made.len() == 2 && made.values().all(|times| *times == 1), "{made:?}");
    drop(worker);
}
