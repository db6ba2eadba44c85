//! Approval policies: what they approve by themselves, whom they let decide, and what no policy can do.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::send;
use crate::power::APPROVED_BY_POLICY;
use crate::world::{User, World, text};

const POLICIES: &str = "/admin/approval-policies";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_decides_about_requests_from_then_on() {
    let world = World::start().await;
    what_no_policy_can_do_is_refused(&world).await;
    what_leads_nowhere_is_refused(&world).await;
    let policy = create(&world, small_machines()).await;
    names_are_unique(&world).await;
    let vm = a_machine_is_made_without_an_approver(&world, &policy).await;
    other_requests_still_wait(&world, &policy).await;
    only_those_who_are_named_decide(&world, &vm).await;
    a_policy_that_changed_is_for_later_requests(&world, &policy).await;
    without_a_cluster_a_request_waits(&world, &policy).await;
}

fn small_machines() -> Value {
    json!({
        "name": "small machines in dev", "operation": "CREATE_VM", "environment": "test",
        "matchers": {"namespaces": ["prod-*", "d?v"], "max_cpu_cores": 64}, "requires_approval": false,
        "priority": 10,
    })
}

async fn create(world: &World, body: Value) -> String {
    text(&world.as_(User::Admin).post(POLICIES, &body).await.ok(201)["id"])
}

async fn patch(world: &World, policy: &str, body: Value) -> Value {
    let request = world
        .as_(User::Admin)
        .request(Method::PATCH, &format!("{POLICIES}/{policy}"));
    send(request.json(&body)).await.ok(200)
}

async fn what_no_policy_can_do_is_refused(world: &World) {
    let admin = world.as_(User::Admin);
    let refusals = [
        ("CREATE_VM", "prod", "AUTO_APPROVES_PROD"),
        ("CREATE_VM", "all", "AUTO_APPROVES_PROD"),
        ("ANY", "test", "AUTO_APPROVES_ANY"),
        ("BATCH_DELETE", "test", "AUTO_APPROVES_BATCH_DELETE"),
    ];
    for (operation, environment, reason) in refusals {
        let body = json!({
            "name": "everything", "operation": operation, "environment": environment, "requires_approval": false,
        });
        let params = admin.post(POLICIES, &body).await.refused(400, "POLICY_NOT_ALLOWED");
        assert_eq!(params["reason"], reason);
    }
    let waits = create(
        world,
        json!({"name": "w", "operation": "ANY", "environment": "all", "enabled": false}),
    )
    .await;
    let request = admin.request(Method::PATCH, &format!("{POLICIES}/{waits}"));
    let reply = send(request.json(&json!({"requires_approval": false}))).await;
    assert_eq!(
        reply.refused(400, "POLICY_NOT_ALLOWED")["reason"],
        "AUTO_APPROVES_ANY",
        "nor by a change"
    );
    assert_eq!(world.home.count("approval_policies").await, 1);
}

async fn what_leads_nowhere_is_refused(world: &World) {
    let admin = world.as_(User::Admin);
    let nobody = "01983f0e-0000-7000-8000-0000000000ff";
    let body = json!({
        "name": "nowhere", "operation": "STOP_VM", "environment": "test", "approvers": ["role-approver", nobody],
        "matchers": {"service_ids": [nobody], "requester_ids": [world.id(User::Alice), nobody]},
    });
    let reply = admin.post(POLICIES, &body).await;
    assert_eq!(
        (reply.status, reply.code()),
        (400, "VALIDATION_FAILED"),
        "{}",
        reply.text
    );
    let fields: Vec<&str> = reply.body["field_errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|error| error["field"].as_str())
        .collect();
    assert_eq!(
        fields,
        ["matchers.service_ids[0]", "matchers.requester_ids[1]", "approvers[1]"]
    );
    let unknown = json!({"name": "u", "operation": "ANY", "environment": "all", "matchers": {"color": "red"}});
    let params = admin
        .post(POLICIES, &unknown)
        .await
        .refused(400, "INVALID_REQUEST_FIELD");
    assert_eq!(params["field"], "matchers.color");
    let system = json!({"name": "s", "operation": "ANY", "environment": "all", "external_system_id": nobody});
    admin
        .post(POLICIES, &system)
        .await
        .refused(404, "EXTERNAL_SYSTEM_NOT_FOUND");
}

async fn names_are_unique(world: &World) {
    let again = world.as_(User::Admin).post(POLICIES, &small_machines()).await;
    assert_eq!(
        again.refused(409, "POLICY_NAME_EXISTS")["name"],
        "small machines in dev"
    );
}

async fn a_machine_is_made_without_an_approver(world: &World, policy: &str) -> String {
    let accepted = world.as_(User::Alice).post("/vms", &world.vm_body("dev")).await.ok(202);
    assert_eq!(
        (&accepted["status"], &accepted["message_code"]),
        (&json!("PROCESSING"), &json!("AUTO_APPROVED"))
    );
    let ticket = text(&accepted["ticket_id"]);
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    assert_eq!(world.transitions_of(&ticket).await, APPROVED_BY_POLICY);
    let audited = ["vm.request", "approval.approve", "vm.execution_started", "vm.create"];
    assert_eq!(world.audit_of(&ticket).await, audited);
    assert_eq!(world.ticket_column(&ticket, "policy_id").await, policy);
    assert_eq!(world.ticket_column(&ticket, "approver_id").await, "system:policy");
    assert_eq!(world.ticket_column(&ticket, "decided_by_kind").await, "POLICY");
    let pending = format!("notifications WHERE type = 'APPROVAL_PENDING' AND resource_id = '{ticket}'");
    assert_eq!(world.home.count(&pending).await, 0, "nobody has to decide");
    let vm = world.vm_of(&ticket).await;
    world.wait_for_vm_status(&vm, "RUNNING").await;
    vm
}

async fn other_requests_still_wait(world: &World, policy: &str) {
    let asked = json!({"operation": "CREATE_VM", "environment": "test", "namespace": "dev", "cpu_cores": 65});
    let explained = world
        .as_(User::Admin)
        .post(&format!("{POLICIES}/explain"), &asked)
        .await
        .ok(200);
    assert_eq!(explained["decision"], "REQUIRES_APPROVAL");
    assert_eq!(
        explained["candidates"],
        json!([{"policy_id": policy, "matched": false, "priority": 10, "specificity": 4, "failed_matcher": "max_cpu_cores"}]),
    );
    // The pattern fits the name, and the environment does not.
    let ticket = world.request_vm("prod-shop").await;
    assert_eq!(world.ticket_column(&ticket, "status").await, "PENDING_APPROVAL");
    assert_eq!(world.ticket_column(&ticket, "policy_id").await, "");
}

async fn only_those_who_are_named_decide(world: &World, vm: &str) {
    let erin = world.enrol("erin", "role-approver", &["test"]).await;
    let watched = json!({
        "name": "watched", "operation": "STOP_VM", "environment": "test", "approvers": [erin.id],
    });
    let policy = create(world, watched).await;
    let accepted = world
        .as_(User::Alice)
        .post(&format!("/vms/{vm}/stop"), &json!({}))
        .await
        .ok(202);
    assert_eq!(accepted["status"], "PENDING_APPROVAL");
    let ticket = text(&accepted["ticket_id"]);
    let told =
        format!("SELECT user_id::text FROM notifications WHERE type = 'APPROVAL_PENDING' AND resource_id = '{ticket}'");
    assert_eq!(world.home.texts(&told).await, std::slice::from_ref(&erin.id));
    let approve = format!("/approvals/{ticket}/approve");
    // Administrators may reject whatever waits, and approve no more than anybody else.
    let decisions = [
        (User::Bob, approve.clone(), json!({})),
        (User::Admin, approve.clone(), json!({})),
        (
            User::Bob,
            format!("/approvals/{ticket}/reject"),
            json!({"reason": "no"}),
        ),
    ];
    for (other, path, body) in decisions {
        let params = world
            .as_(other)
            .post(&path, &body)
            .await
            .refused(403, "APPROVER_NOT_ELIGIBLE");
        assert_eq!(params["policy_id"], json!(policy));
    }
    // What the ticket says counts, not what the policy says by now; and then it counts for the next one.
    patch(world, &policy, json!({"approvers": ["role-approver"]})).await;
    world
        .as_(User::Bob)
        .post(&approve, &json!({}))
        .await
        .refused(403, "APPROVER_NOT_ELIGIBLE");
    world.caller(&erin).post(&approve, &json!({})).await.ok(204);
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    world.wait_for_vm_status(vm, "STOPPED").await;
    world.operated(&format!("/vms/{vm}/start"), &json!({})).await;
    world.wait_for_vm_status(vm, "RUNNING").await;
    let ticket = world.operate(&format!("/vms/{vm}/stop"), &json!({})).await;
    let approve = format!("/approvals/{ticket}/approve");
    world
        .as_(User::Admin)
        .post(&approve, &json!({}))
        .await
        .refused(403, "APPROVER_NOT_ELIGIBLE");
    world.approve(&ticket).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
}

async fn a_policy_that_changed_is_for_later_requests(world: &World, policy: &str) {
    let stale = world
        .as_(User::Admin)
        .request(Method::PATCH, &format!("{POLICIES}/{policy}"))
        .header("if-match", "\"99\"");
    send(stale.json(&json!({"enabled": false})))
        .await
        .refused(412, "PRECONDITION_FAILED");
    let shown = patch(world, policy, json!({"enabled": false})).await;
    assert_eq!(shown["enabled"], false);
    let ticket = world.request_vm("dev").await;
    assert_eq!(world.ticket_column(&ticket, "status").await, "PENDING_APPROVAL");
    let cancel = format!("/approvals/{ticket}/cancel");
    world.as_(User::Alice).post(&cancel, &json!({})).await.ok(204);
    patch(world, policy, json!({"enabled": true})).await;
}

async fn without_a_cluster_a_request_waits(world: &World, policy: &str) {
    let admin = world.as_(User::Admin);
    let found = world
        .home
        .texts("SELECT id::text FROM clusters WHERE name = 'test-1'")
        .await;
    let path = format!("/admin/clusters/{}", found.first().expect("a cluster"));
    send(admin.request(Method::PATCH, &path).json(&json!({"enabled": false})))
        .await
        .ok(200);
    let accepted = world.as_(User::Alice).post("/vms", &world.vm_body("dev")).await.ok(202);
    assert_eq!(accepted["status"], "PENDING_APPROVAL");
    let ticket = text(&accepted["ticket_id"]);
    assert_eq!(world.ticket_column(&ticket, "policy_id").await, policy);
    let pending = format!("notifications WHERE type = 'APPROVAL_PENDING' AND resource_id = '{ticket}'");
    assert!(world.home.count(&pending).await > 0, "somebody has to decide");
    let removed = admin.delete(&format!("{POLICIES}/{policy}")).await;
    assert_eq!(removed.status, 204, "{}", removed.text);
    admin
        .get(&format!("{POLICIES}/{policy}"))
        .await
        .refused(404, "POLICY_NOT_FOUND");
}
