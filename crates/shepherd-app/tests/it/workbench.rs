//! What approvers and requesters start from: the workbench, own requests, and what a request may name.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::send;
use crate::world::{BOTH, Person, User, World, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvers_find_what_they_may_decide_with_everything_a_decision_needs() {
    let world = World::start().await;
    let (dev, prod) = (world.request_vm("dev").await, world.request_vm("prod-shop").await);
    the_context_is_complete(&world, &dev, &prod).await;
    filters_narrow_it(&world, &dev, &prod).await;
    prod_is_not_there_for_an_approver_of_test(&world, &dev, &prod).await;
    requesters_see_their_own_alone(&world, &dev, &prod).await;
    old_tickets_are_urgent(&world, &dev, &prod).await;
    what_has_become_true_since_is_told(&world, &dev).await;
    nobody_decides_the_own_request_in_prod(&world, &dev, &prod).await;
    a_decided_ticket_leaves(&world, &dev).await;
}

async fn workbench(world: &World, user: User, query: &str) -> Value {
    let path = format!("/admin/approvals{query}");
    world.as_(user).get(&path).await.ok(200)
}

fn ids(listed: &Value) -> Vec<String> {
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| text(&item["id"])).collect()
}

async fn the_context_is_complete(world: &World, dev: &str, prod: &str) {
    let listed = workbench(world, User::Bob, "").await;
    assert_eq!(ids(&listed), [dev, prod], "the older one comes first");
    assert_eq!(listed["counts"], json!({"normal": 2, "warning": 0, "urgent": 0}));
    assert_eq!(listed["pagination"]["total"], 2);
    let shown = &listed["items"][1];
    for (field, expected) in [
        ("status", json!("PENDING_APPROVAL")),
        ("operation_type", json!("CREATE")),
        ("is_batch", json!(false)),
        ("environment", json!("prod")),
        ("requester", json!(world.id(User::Alice))),
        ("reason", json!("a place to work")),
        ("days_pending", json!(0)),
        ("priority_tier", json!("normal")),
    ] {
        assert_eq!(shown[field], expected, "{field}");
    }
    let context = &shown["context"];
    for (pointer, expected) in [
        ("/requester/username", json!("alice")),
        ("/system/name", json!("shop")),
        ("/system/id", json!(world.system)),
        ("/service/name", json!("web")),
        ("/namespace", json!("prod-shop")),
        ("/environment", json!("prod")),
        ("/template/name", json!("ubuntu-24-04")),
        ("/template/version", json!(1)),
        ("/instance_size/id", json!(world.size("small"))),
        ("/eligible_cluster_count", json!(1)),
        ("/self_approval_blocked", json!(false)),
    ] {
        assert_eq!(context.pointer(pointer), Some(&expected), "{pointer} of {context}");
    }
    let numbers = [
        "cpu_cores",
        "memory_mb",
        "cpu_request",
        "memory_request_mb",
        "disk_gb",
        "min_disk_gb",
        "max_disk_gb",
    ];
    for number in numbers {
        assert!(context[number].is_i64(), "{number} of {context}");
    }
    assert!(context["instance_size"]["summary"].is_string());
    assert!(context["warnings"].is_array());
}

async fn filters_narrow_it(world: &World, dev: &str, prod: &str) {
    let alice = world.id(User::Alice);
    let of_alice = format!("?requester={alice}");
    let expectations: [(&str, Vec<&str>); 9] = [
        ("?environment=prod", vec![prod]),
        ("?namespace=dev", vec![dev]),
        ("?operation_type=CREATE", vec![dev, prod]),
        ("?operation_type=DELETE", vec![]),
        ("?requester=Alice", vec![dev, prod]),
        (&of_alice, vec![dev, prod]),
        ("?requester=bob", vec![]),
        ("?priority_tier=warning", vec![]),
        ("?page=2&per_page=1", vec![prod]),
    ];
    for (query, expected) in expectations {
        assert_eq!(ids(&workbench(world, User::Bob, query).await), expected, "{query}");
    }
    for query in [
        "?environment=moon",
        "?operation_type=FLY",
        "?priority_tier=late",
        "?per_page=101",
    ] {
        let reply = world.as_(User::Bob).get(&format!("/admin/approvals{query}")).await;
        assert_eq!((reply.status, reply.code()), (400, "VALIDATION_FAILED"), "{query}");
    }
}

async fn prod_is_not_there_for_an_approver_of_test(world: &World, dev: &str, prod: &str) {
    let tess: Person = world.enrol("tess", "role-approver", &["test"]).await;
    let tess = world.caller(&tess);
    let listed = tess.get("/admin/approvals").await.ok(200);
    assert_eq!(ids(&listed), [dev]);
    assert_eq!(listed["counts"]["normal"], 1);
    assert!(ids(&tess.get("/admin/approvals?environment=prod").await.ok(200)).is_empty());
    tess.get(&format!("/approvals/{dev}")).await.ok(200);
    tess.get(&format!("/approvals/{prod}"))
        .await
        .refused(404, "TICKET_NOT_FOUND");
}

async fn requesters_see_their_own_alone(world: &World, dev: &str, prod: &str) {
    let alice = world.as_(User::Alice);
    alice.get("/admin/approvals").await.refused(403, "FORBIDDEN");
    for (query, expected) in [
        ("", vec![prod, dev]),
        ("?status=PENDING", vec![prod, dev]),
        ("?status=SUCCESS", vec![]),
        ("?operation_type=CREATE&include_archived=true", vec![prod, dev]),
        ("?operation_type=STOP", vec![]),
    ] {
        let listed = alice.get(&format!("/approvals/mine{query}")).await.ok(200);
        assert_eq!(ids(&listed), expected, "{query}");
    }
    let path = format!("/approvals/{dev}");
    let own = alice.get(&path).await.ok(200);
    assert_eq!(own["transitions"].as_array().map(Vec::len), Some(2));
    assert_eq!(own["original_spec"], own["effective_spec"]);
    assert!(own["warnings"].is_array());
    let for_approvers = [&own["eligible_approvers"], &own["context"]["eligible_cluster_count"]];
    assert_eq!(for_approvers, [&Value::Null, &Value::Null]);
    world
        .as_(User::Mallory)
        .get(&path)
        .await
        .refused(404, "TICKET_NOT_FOUND");
    let shown = world.as_(User::Bob).get(&path).await.ok(200);
    assert_eq!(shown["eligible_approvers"], json!([]));
    assert_eq!(shown["context"]["eligible_cluster_count"], 1);
}

/// Makes a ticket older.
async fn age(world: &World, ticket: &str, ago: &str) {
    let older = format!(
        "UPDATE approval_tickets SET created_at = now() - interval '{ago}' WHERE id = '{ticket}' RETURNING id::text"
    );
    assert_eq!(world.home.texts(&older).await, [ticket]);
}

async fn old_tickets_are_urgent(world: &World, dev: &str, prod: &str) {
    age(world, prod, "7 days 1 minute").await;
    age(world, dev, "6 days 23 hours").await;
    let listed = workbench(world, User::Bob, "").await;
    assert_eq!(ids(&listed), [prod, dev]);
    assert_eq!(listed["counts"], json!({"normal": 0, "warning": 1, "urgent": 1}));
    let tiers: Vec<(&Value, &Value)> = (0..2_usize)
        .map(|index| &listed["items"][index])
        .map(|item| (&item["priority_tier"], &item["days_pending"]))
        .collect();
    assert_eq!(tiers, [(&json!("urgent"), &json!(7)), (&json!("warning"), &json!(6))]);
    assert_eq!(ids(&workbench(world, User::Bob, "?priority_tier=urgent").await), [prod]);
}

async fn what_has_become_true_since_is_told(world: &World, dev: &str) {
    let path = format!("/admin/instance-sizes/{}", world.size("small"));
    let admin = world.as_(User::Admin);
    let switch = async |enabled: bool| {
        let request = admin.request(Method::PATCH, &path).json(&json!({"enabled": enabled}));
        send(request).await.ok(200)
    };
    let codes = async || {
        let listed = workbench(world, User::Bob, "?namespace=dev").await;
        let warnings = listed["items"][0]["context"]["warnings"].clone();
        let shown = world.as_(User::Bob).get(&format!("/approvals/{dev}")).await.ok(200);
        assert_eq!(shown["warnings"], warnings);
        let warnings = warnings.as_array().cloned().unwrap_or_default();
        warnings
            .iter()
            .map(|warning| text(&warning["code"]))
            .collect::<Vec<_>>()
    };
    let disabled = "INSTANCE_SIZE_DISABLED_SINCE_REQUEST".to_owned();
    assert!(!codes().await.contains(&disabled));
    switch(false).await;
    assert!(codes().await.contains(&disabled));
    switch(true).await;
    assert!(!codes().await.contains(&disabled));
}

async fn nobody_decides_the_own_request_in_prod(world: &World, dev: &str, prod: &str) {
    let role = json!({"role_id": "role-approver", "allowed_environments": BOTH});
    world.bind(world.id(User::Alice), role).await;
    let listed = workbench(world, User::Alice, "").await;
    assert_eq!(ids(&listed), [prod, dev]);
    let blocked = [0_usize, 1].map(|index| listed["items"][index]["context"]["self_approval_blocked"].clone());
    assert_eq!(blocked, [json!(true), json!(false)]);
}

async fn a_decided_ticket_leaves(world: &World, dev: &str) {
    let reason = json!({"reason": "not this week"});
    let path = format!("/approvals/{dev}/reject");
    world.as_(User::Bob).post(&path, &reason).await.ok(204);
    let listed = workbench(world, User::Bob, "").await;
    assert!(!ids(&listed).contains(&dev.to_owned()));
    assert_eq!(listed["counts"], json!({"normal": 0, "warning": 0, "urgent": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_to_nobody_can_still_be_ended() {
    let world = World::start().await;
    let admin = world.as_(User::Admin);
    let role = json!({"name": "Board", "permissions": ["approval:view", "approval:approve"]});
    let role = text(&admin.post("/admin/roles", &role).await.ok(201)["id"]);
    let policy = json!({
        "name": "the board decides", "operation": "CREATE_VM", "environment": "all", "approvers": [role],
    });
    let written = || {
        let request = admin.request(Method::POST, "/admin/approval-policies");
        request.header("idempotency-key", "the-board").json(&policy)
    };
    let first = send(written()).await.ok(201);
    let ticket = world.request_vm("dev").await;
    let own = admin.post("/vms", &world.vm_body("prod-shop")).await.ok(202);
    let own = text(&own["ticket_id"]);

    let role = format!("/admin/roles/{role}");
    let in_use = async || admin.delete(&role).await.refused(409, "ROLE_IN_USE")["reference_count"].clone();
    assert_eq!(in_use().await, 3, "a policy and two tickets name it");
    let policy = format!("/admin/approval-policies/{}", text(&first["id"]));
    admin.delete(&policy).await.ok(204);
    let again = send(written()).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.ok(201), first, "as it was answered, though it is gone");
    assert_eq!(in_use().await, 2);

    let reason = json!({"reason": "the board is gone"});
    let (approve, reject) = (
        format!("/approvals/{ticket}/approve"),
        format!("/approvals/{ticket}/reject"),
    );
    let bob = world.as_(User::Bob);
    bob.post(&reject, &reason).await.refused(403, "APPROVER_NOT_ELIGIBLE");
    admin
        .post(&approve, &json!({}))
        .await
        .refused(403, "APPROVER_NOT_ELIGIBLE");
    admin
        .post(&format!("/approvals/{own}/reject"), &reason)
        .await
        .refused(403, "SELF_APPROVAL_FORBIDDEN");
    admin.post(&reject, &reason).await.ok(204);
    assert_eq!(world.ticket_column(&ticket, "status").await, "REJECTED");
    admin
        .post(&format!("/approvals/{own}/cancel"), &json!({}))
        .await
        .ok(204);
    admin.delete(&role).await.ok(204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requesters_are_offered_what_they_can_really_ask_for() {
    let world = World::start().await;
    let context = async |user| world.as_(user).get("/vms/request-context").await;
    let offered = context(User::Alice).await.ok(200);
    assert_eq!(offered["namespaces"], json!(["dev", "prod-shop"]));
    let details = json!([{"name": "dev", "environment": "test"}, {"name": "prod-shop", "environment": "prod"}]);
    assert_eq!(offered["namespace_details"], details);
    let service = json!({"id": world.service, "name": "web", "system_id": world.system, "system_name": "shop"});
    assert_eq!(offered["services"], json!([service]));
    only_what_requesters_may_know(&offered, "templates", &["spec", "content_sha256"]);
    let hidden = ["cpu_request", "memory_request_mb", "spec_overrides"];
    only_what_requesters_may_know(&offered, "instance_sizes", &hidden);

    let without_system = context(User::Mallory).await.ok(200);
    assert_eq!(without_system["services"], json!([]));
    assert_eq!(without_system["namespaces"], offered["namespaces"]);
    let everything = context(User::Admin).await.ok(200);
    assert_eq!(everything["services"], offered["services"]);
    context(User::Carol).await.refused(403, "FORBIDDEN");

    let olaf = world.enrol("olaf", "role-operator", &["test"]).await;
    let olaf = world.caller(&olaf).get("/vms/request-context").await.ok(200);
    assert_eq!(olaf["namespaces"], json!(["dev"]));
    switched_off_things_are_not_offered(&world).await;
}

fn only_what_requesters_may_know(offered: &Value, list: &str, hidden: &[&str]) {
    let items = offered[list].as_array().cloned().unwrap_or_default();
    assert!(!items.is_empty(), "{list}");
    for item in items {
        assert_eq!(item["enabled"], true, "{item}");
        for field in hidden {
            assert!(item.get(field).is_none(), "{field} of {item}");
        }
    }
}

async fn switched_off_things_are_not_offered(world: &World) {
    let admin = world.as_(User::Admin);
    let small = world.size("small");
    let path = format!("/admin/instance-sizes/{small}");
    let request = admin.request(Method::PATCH, &path).json(&json!({"enabled": false}));
    send(request).await.ok(200);
    let disabled = "UPDATE namespace_registry SET enabled = false WHERE name = 'dev' RETURNING name";
    assert_eq!(world.home.texts(disabled).await, ["dev"]);
    let offered = world.as_(User::Alice).get("/vms/request-context").await.ok(200);
    assert_eq!(offered["namespaces"], json!(["prod-shop"]));
    let sizes = offered["instance_sizes"].as_array().cloned().unwrap_or_default();
    assert!(sizes.iter().all(|size| size["id"] != small));
}
