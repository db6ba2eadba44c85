//! What an approver does before the decision: finds a place, looks at what would come of it, and puts another spec in
//! the place of what was asked for.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Reply, send};
use crate::world::{Person, User, World, text};

async fn put(world: &World, user: User, ticket: &str, spec: &Value, version: Option<&str>) -> Reply {
    let path = format!("/admin/approvals/{ticket}/modified-spec");
    let body = json!({"modified_spec": spec, "modification_reason": "it needs more"});
    let request = world.as_(user).request(Method::PUT, &path).json(&body);
    send(match version {
        Some(version) => request.header("if-match", version),
        None => request,
    })
    .await
}

async fn detail(world: &World, ticket: &str) -> Reply {
    let reply = world.as_(User::Bob).get(&format!("/approvals/{ticket}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

async fn original(world: &World, ticket: &str) -> Value {
    detail(world, ticket).await.body["original_spec"].clone()
}

/// The spec with these fields set.
fn with(spec: &Value, fields: &Value) -> Value {
    let mut changed = spec.clone();
    for (key, value) in fields.as_object().into_iter().flatten() {
        changed[key] = value.clone();
    }
    changed
}

/// Two cores and 2 GiB, of which all are guaranteed, and a larger disk.
fn larger(spec: &Value) -> Value {
    let numbers = json!({
        "cpu_cores": 2, "cpu_request": 2, "memory_mb": 2048, "memory_request_mb": 2048, "disk_gb": 30,
    });
    with(spec, &numbers)
}

fn codes(listed: &Value) -> Vec<String> {
    let items = listed.as_array().cloned().unwrap_or_default();
    items.iter().map(|item| text(&item["code"])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approver_changes_what_was_asked_for_and_that_is_carried_out() {
    let world = World::start().await;
    let ticket = world.request_vm("dev").await;
    let spec = original(&world, &ticket).await;
    what_may_not_be_put(&world, &ticket, &spec).await;
    one_of_two_wins(&world, &ticket, &spec).await;
    it_can_be_taken_back(&world, &ticket, &spec).await;
    let vm = it_is_carried_out(&world, &ticket, &spec).await;
    nothing_is_changed_afterwards(&world, &ticket, &spec, &vm).await;
    a_spec_can_come_with_the_decision(&world).await;
    nobody_changes_what_they_asked_for_themselves(&world).await;
}

async fn what_may_not_be_put(world: &World, ticket: &str, spec: &Value) {
    let nothing = "01983f0e-0000-7000-8000-000000000000";
    put(world, User::Alice, ticket, spec, None)
        .await
        .refused(403, "FORBIDDEN");
    let mut without_size = spec.clone();
    without_size["instance_size_id"] = Value::Null;
    for (proposed, status, code) in [
        (
            with(spec, &json!({"cluster_id": nothing})),
            400,
            "INVALID_REQUEST_FIELD",
        ),
        (with(spec, &json!({"disk_gb": 0})), 400, "VALIDATION_FAILED"),
        (with(spec, &json!({"namespace": "prod-shop"})), 400, "IMMUTABLE_FIELD"),
        (with(spec, &json!({"service_id": nothing})), 400, "IMMUTABLE_FIELD"),
        (without_size, 400, "REQUIRED_FIELD_REMOVED"),
        (with(spec, &json!({"template_id": nothing})), 404, "TEMPLATE_NOT_FOUND"),
        (
            with(spec, &json!({"instance_size_id": nothing})),
            404,
            "INSTANCE_SIZE_NOT_FOUND",
        ),
    ] {
        put(world, User::Bob, ticket, &proposed, None)
            .await
            .refused(status, code);
    }
    assert_eq!(
        world
            .home
            .count("approval_tickets WHERE modified_spec IS NOT NULL")
            .await,
        0
    );
}

async fn one_of_two_wins(world: &World, ticket: &str, spec: &Value) {
    let seen = detail(world, ticket).await;
    let version = seen.header("etag");
    let (more, most) = (with(spec, &json!({"disk_gb": 30})), with(spec, &json!({"disk_gb": 40})));
    let (one, other) = tokio::join!(
        put(world, User::Bob, ticket, &more, Some(version)),
        put(world, User::Admin, ticket, &most, Some(version)),
    );
    let (won, lost) = if one.status == 200 { (one, other) } else { (other, one) };
    let current = won.header("etag").trim_matches('"').to_owned();
    let shown = won.ok(200);
    assert_eq!(
        lost.refused(412, "PRECONDITION_FAILED")["current_version"].to_string(),
        current
    );
    assert_eq!(
        shown["effective_spec"],
        detail(world, ticket).await.body["effective_spec"]
    );
    let modified = world.audit_of(ticket).await;
    assert_eq!(modified.iter().filter(|action| *action == "approval.modify").count(), 1);
}

async fn it_can_be_taken_back(world: &World, ticket: &str, spec: &Value) {
    let path = format!("/admin/approvals/{ticket}/modified-spec");
    let bob = world.as_(User::Bob);
    let outdated = bob.request(Method::DELETE, &path).header("if-match", "\"1\"");
    send(outdated).await.refused(412, "PRECONDITION_FAILED");
    bob.delete(&path).await.ok(204);
    bob.delete(&path).await.ok(204);
    assert_eq!(detail(world, ticket).await.body["effective_spec"], *spec);
    let modified = world.audit_of(ticket).await;
    let times = modified.iter().filter(|action| *action == "approval.modify").count();
    assert_eq!(times, 2, "taking back what is not there is nothing");
}

async fn it_is_carried_out(world: &World, ticket: &str, spec: &Value) -> String {
    put(world, User::Bob, ticket, &larger(spec), None).await.ok(200);
    world.approve(ticket).await;
    world.wait_for_ticket(ticket, "COMPLETED").await;
    let vm = world.vm_of(ticket).await;
    let shown = world.as_(User::Alice).get(&format!("/vms/{vm}")).await.ok(200);
    assert_eq!(
        [&shown["cpu_cores"], &shown["memory_mb"], &shown["disk_gb"]],
        [2, 2048, 30]
    );
    let made = world
        .test
        .cluster()
        .get("VirtualMachine", "dev", "dev-shop-web-01")
        .unwrap_or_default();
    assert_eq!(made["spec"]["template"]["spec"]["domain"]["cpu"]["cores"], 2);
    let story = detail(world, ticket).await.body;
    assert_eq!(story["original_spec"], *spec, "what was asked for stays as it was");
    assert_eq!(story["effective_spec"], larger(spec));
    vm
}

async fn nothing_is_changed_afterwards(world: &World, ticket: &str, spec: &Value, vm: &str) {
    put(world, User::Bob, ticket, spec, None)
        .await
        .refused(409, "TICKET_NOT_PENDING");
    let path = format!("/admin/approvals/{ticket}/modified-spec");
    world
        .as_(User::Bob)
        .delete(&path)
        .await
        .refused(409, "TICKET_NOT_PENDING");
    let deletion = world.request_deletion(vm).await;
    let refused = put(world, User::Bob, &deletion, spec, None).await;
    let params = json!({"request_type": "DELETE_VM"});
    assert_eq!(refused.refused(400, "MODIFIED_SPEC_NOT_SUPPORTED"), params);
}

async fn a_spec_can_come_with_the_decision(world: &World) {
    let ticket = world.request_vm("dev").await;
    let spec = original(world, &ticket).await;
    let path = format!("/approvals/{ticket}/approve");
    let bob = world.as_(User::Bob);
    let unexplained = bob.post(&path, &json!({"modified_spec": larger(&spec)})).await;
    assert_eq!(
        (unexplained.status, &unexplained.body["field_errors"][0]["field"]),
        (400, &json!("modification_reason"))
    );
    let too_large = with(&spec, &json!({"disk_gb": 51}));
    let body = json!({"modified_spec": too_large, "modification_reason": "room"});
    bob.post(&path, &body).await.refused(400, "DISK_SIZE_OUT_OF_RANGE");
    assert_eq!(
        world.ticket_column(&ticket, "modified_spec").await,
        "",
        "a refused decision leaves nothing"
    );

    let body = json!({"modified_spec": larger(&spec), "modification_reason": "room"});
    bob.post(&path, &body).await.ok(204);
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    let vm = world.vm_of(&ticket).await;
    let shown = world.as_(User::Alice).get(&format!("/vms/{vm}")).await.ok(200);
    assert_eq!([&shown["cpu_cores"], &shown["disk_gb"]], [2, 30]);
    assert_eq!(world.ticket_column(&ticket, "modification_reason").await, "room");
    let audited = world.audit_of(&ticket).await;
    let told = |action: &str| audited.iter().any(|told| told == action);
    assert!(told("approval.modify") && told("approval.approve"), "{audited:?}");
}

async fn nobody_changes_what_they_asked_for_themselves(world: &World) {
    let admin = world.as_(User::Admin);
    let accepted = admin.post("/vms", &world.vm_body("prod-shop")).await.ok(202);
    let ticket = text(&accepted["ticket_id"]);
    let spec = original(world, &ticket).await;
    put(world, User::Admin, &ticket, &larger(&spec), None)
        .await
        .refused(403, "SELF_APPROVAL_FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approver_sees_where_a_request_can_go_and_what_would_come_of_it() {
    let world = World::start().await;
    let ticket = world.request_vm("dev").await;
    let spec = original(&world, &ticket).await;
    a_preview_shows_everything_and_stores_nothing(&world, &ticket, &spec).await;
    a_proposal_that_cannot_be_carried_out_is_told_as_one(&world, &ticket, &spec).await;
    clusters_are_suggested_with_reasons(&world, &ticket, &spec).await;
}

async fn preview(world: &World, ticket: &str, body: &Value) -> Reply {
    let path = format!("/admin/approvals/{ticket}/preview");
    world.as_(User::Bob).post(&path, body).await
}

async fn a_preview_shows_everything_and_stores_nothing(world: &World, ticket: &str, spec: &Value) {
    let as_asked = preview(world, ticket, &json!({})).await.ok(200);
    assert_eq!(
        [&as_asked["diff"], &as_asked["blocking"]],
        [&json!([]), &json!([])],
        "{as_asked}"
    );
    assert_eq!(as_asked["effective_spec"], *spec);
    assert_eq!(as_asked["dry_run"], json!({"performed": true, "result": "ACCEPTED"}));
    assert_eq!(
        codes(&as_asked["warnings"]),
        ["NAMESPACE_WILL_BE_CREATED"],
        "{as_asked}"
    );

    let body = json!({"modified_spec": larger(spec)});
    let shown = preview(world, ticket, &body).await.ok(200);
    assert_eq!(shown["blocking"], json!([]), "{shown}");
    let disk = json!({"path": "disk_gb", "op": "replace", "old": 20, "new": 30});
    let diff = shown["diff"].as_array().cloned().unwrap_or_default();
    assert!(diff.contains(&disk), "{shown}");
    let yaml = text(&shown["rendered_yaml"]);
    assert!(yaml.contains("VirtualMachine") && yaml.contains("cores: 2"), "{yaml}");
    assert!(
        !shown.to_string().contains("cloud-config"),
        "guest data is shown: {yaml}"
    );
    assert_eq!(world.ticket_column(ticket, "modified_spec").await, "");
    assert_eq!(world.audit_of(ticket).await, ["vm.request"]);
}

async fn a_proposal_that_cannot_be_carried_out_is_told_as_one(world: &World, ticket: &str, spec: &Value) {
    let proposed = with(
        spec,
        &json!({"disk_gb": 51, "cpu_request": 3, "memory_request_mb": 9999}),
    );
    let shown = preview(world, ticket, &json!({"modified_spec": proposed}))
        .await
        .ok(200);
    let expected = ["DISK_SIZE_OUT_OF_RANGE", "OVERCOMMIT_INVALID", "OVERCOMMIT_INVALID"];
    assert_eq!(codes(&shown["blocking"])[..3], expected, "{shown}");

    let moved = with(spec, &json!({"namespace": "prod-shop"}));
    let shown = preview(world, ticket, &json!({"modified_spec": moved})).await.ok(200);
    assert_eq!(codes(&shown["blocking"]), ["IMMUTABLE_FIELD"]);
    assert_eq!(shown["dry_run"], json!({"performed": false}));
    assert!(shown.get("rendered_yaml").is_none(), "{shown}");

    let gpu = with(spec, &json!({"instance_size_id": world.size("gpu-a10")}));
    let elsewhere = json!({"modified_spec": gpu, "selected_cluster_id": cluster(world, "prod-1").await});
    let shown = preview(world, ticket, &elsewhere).await.ok(200);
    let found = codes(&shown["blocking"]);
    assert_eq!(found[0], "NAMESPACE_CLUSTER_ENV_MISMATCH", "{shown}");
    assert!(!found.contains(&"CAPABILITY_MISSING".to_owned()), "{shown}");
    assert_eq!(shown["dry_run"], json!({"performed": false}));
    assert!(!shown.to_string().contains("prod-1"), "nothing is told of it: {shown}");

    let unknown = with(spec, &json!({"name": "mine"}));
    preview(world, ticket, &json!({"modified_spec": unknown}))
        .await
        .refused(400, "INVALID_REQUEST_FIELD");
}

async fn cluster(world: &World, name: &str) -> String {
    let listed = world.as_(User::Admin).get("/admin/clusters").await.ok(200);
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    let found = items.iter().find(|item| item["name"] == name);
    text(&found.cloned().unwrap_or_default()["id"])
}

/// Names, eligibility and reasons, in the order of the list.
async fn suggested(world: &World, ticket: &str, query: &str) -> Vec<(String, bool, Vec<String>)> {
    let path = format!("/approvals/{ticket}/suggested-clusters{query}");
    let listed = world.as_(User::Bob).get(&path).await.ok(200);
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .map(|item| {
            assert_eq!(item["score"], 100, "{item}");
            (text(&item["name"]), item["eligible"] == true, codes(&item["reasons"]))
        })
        .collect()
}

async fn clusters_are_suggested_with_reasons(world: &World, ticket: &str, spec: &Value) {
    let here = || ("test-1".to_owned(), true, Vec::new());
    assert_eq!(suggested(world, ticket, "").await, [here()]);
    let elsewhere = vec!["NAMESPACE_CLUSTER_ENV_MISMATCH".to_owned()];
    assert_eq!(
        suggested(world, ticket, "?include_ineligible=true").await,
        [("prod-1".to_owned(), false, elsewhere), here()]
    );

    let gpu = with(
        spec,
        &json!({"instance_size_id": world.size("gpu-a10"), "disk_gb": 100}),
    );
    put(world, User::Bob, ticket, &gpu, None).await.ok(200);
    let fit = suggested(world, ticket, "").await;
    assert!(fit.is_empty(), "the spec that counts decides: {fit:?}");
    let path = format!("/admin/clusters/{}", cluster(world, "test-1").await);
    let disable = world.as_(User::Admin).request(Method::PATCH, &path);
    send(disable.json(&json!({"enabled": false}))).await.ok(200);
    let all = suggested(world, ticket, "?include_ineligible=true").await;
    let (_, eligible, reasons) = &all[1];
    assert!(!eligible);
    assert!(reasons.contains(&"CLUSTER_DISABLED".to_owned()), "{reasons:?}");
    assert!(reasons.contains(&"CAPABILITY_MISSING".to_owned()), "{reasons:?}");
    let carol = world.as_(User::Carol);
    let path = format!("/approvals/{ticket}/suggested-clusters");
    carol.get(&path).await.refused(403, "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_is_no_way_around_the_policies_or_the_offer() {
    let world = World::start().await;
    let erin = world.enrol("erin", "role-approver", &["test"]).await;
    let ticket = world.request_vm("dev").await;
    let hidden = world.request_vm("prod-shop").await;
    let spec = original(&world, &ticket).await;
    what_the_policies_leave_to_others_is_theirs(&world, &ticket, &spec, &erin).await;
    what_is_not_offered_is_not_given(&world, &ticket, &spec).await;

    // Who may not see a ticket does not hear what is wrong with a body either.
    let without_spec = json!({"modification_reason": "room"});
    let erin = world.caller(&erin);
    let path = format!("/approvals/{hidden}/approve");
    erin.post(&path, &without_spec).await.refused(404, "TICKET_NOT_FOUND");
    let path = format!("/approvals/{ticket}/approve");
    let reply = erin.post(&path, &without_spec).await;
    assert_eq!(
        (reply.status, &reply.body["field_errors"]),
        (400, &json!([{"field": "modified_spec", "code": "REQUIRED"}]))
    );
}

async fn what_the_policies_leave_to_others_is_theirs(world: &World, ticket: &str, spec: &Value, erin: &Person) {
    let policy = json!({
        "name": "large machines", "operation": "CREATE_VM", "environment": "test", "approvers": [erin.id],
        "matchers": {"instance_size_ids": [world.size("large")]},
    });
    let policies = "/admin/approval-policies";
    let policy = text(&world.as_(User::Admin).post(policies, &policy).await.ok(201)["id"]);
    let large = with(spec, &json!({"instance_size_id": world.size("large")}));
    let bob = world.as_(User::Bob);
    let approve = format!("/approvals/{ticket}/approve");
    let body = json!({"modified_spec": large, "modification_reason": "room"});

    let refused = put(world, User::Bob, ticket, &large, None).await;
    assert_eq!(
        refused.refused(403, "APPROVER_NOT_ELIGIBLE")["policy_id"],
        json!(policy)
    );
    bob.post(&approve, &body).await.refused(403, "APPROVER_NOT_ELIGIBLE");
    let shown = preview(world, ticket, &json!({"modified_spec": large})).await.ok(200);
    assert_eq!(codes(&shown["blocking"])[0], "APPROVER_NOT_ELIGIBLE", "{shown}");

    let path = format!("/admin/approvals/{ticket}/modified-spec");
    let stored = world.caller(erin).request(Method::PUT, &path).json(&body);
    send(stored).await.ok(200);
    bob.post(&approve, &json!({}))
        .await
        .refused(403, "APPROVER_NOT_ELIGIBLE");
    bob.delete(&path).await.ok(204);
}

async fn what_is_not_offered_is_not_given(world: &World, ticket: &str, spec: &Value) {
    let admin = world.as_(User::Admin);
    for size in ["small", "medium"] {
        let path = format!("/admin/instance-sizes/{}", world.size(size));
        let disable = admin.request(Method::PATCH, &path).json(&json!({"enabled": false}));
        send(disable).await.ok(200);
    }
    let as_asked = preview(world, ticket, &json!({})).await.ok(200);
    assert_eq!(as_asked["blocking"], json!([]), "it was asked for while it was offered");
    let warned = codes(&as_asked["warnings"]);
    assert!(warned.contains(&"INSTANCE_SIZE_DISABLED_SINCE_REQUEST".to_owned()));
    let medium = with(spec, &json!({"instance_size_id": world.size("medium")}));
    let shown = preview(world, ticket, &json!({"modified_spec": medium})).await.ok(200);
    assert!(
        codes(&shown["blocking"]).contains(&"INSTANCE_SIZE_DISABLED".to_owned()),
        "{shown}"
    );
}
