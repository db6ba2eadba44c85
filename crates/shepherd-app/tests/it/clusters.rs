//! What administrators do with clusters after registration, and what the platform finds out about them by itself.

mod health;
mod races;
mod rotation;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use shepherd_simulator::{FaultEffect, FaultRule, Simulator};

use crate::client::{Caller, Reply, send};
use crate::server::{PATIENCE, eventually};
use crate::world::{User, World, text};

/// An id that nothing has.
const NOTHING: &str = "01983f0e-0000-7000-8000-000000000000";

/// The path of a registered cluster.
async fn path_of(world: &World, name: &str) -> String {
    let query = format!("SELECT id::text FROM clusters WHERE name = '{name}'");
    let id = world.home.texts(&query).await.pop().expect("the cluster is registered");
    format!("/admin/clusters/{id}")
}

async fn patch(caller: &Caller, path: &str, body: &Value) -> Reply {
    send(caller.request(Method::PATCH, path).json(body)).await
}

async fn put(caller: &Caller, path: &str, body: &Value) -> Reply {
    send(caller.request(Method::PUT, path).json(body)).await
}

/// When the newest stored look at a cluster began.
async fn last_look(world: &World, name: &str) -> String {
    let query = format!("SELECT coalesce(last_checked_at::text, '') FROM clusters WHERE name = '{name}'");
    world.home.texts(&query).await.pop().expect("the cluster is registered")
}

/// Waits until a cluster was looked at this many times more.
async fn wait_for_looks(world: &World, name: &str, looks: u32, limit: Duration) {
    for _ in 0..looks {
        let before = last_look(world, name).await;
        eventually(&format!("{name} is looked at"), limit, async || {
            (last_look(world, name).await != before).then_some(())
        })
        .await;
    }
}

async fn wait_for_status(world: &World, path: &str, status: &str) -> Value {
    let admin = world.as_(User::Admin);
    eventually(&format!("{path} is {status}"), PATIENCE, async || {
        let shown = admin.get(path).await.ok(200);
        (shown["status"] == status).then_some(shown)
    })
    .await
}

/// Nobody gets through to the cluster.
fn cut_off(cluster: &Simulator) {
    let faults = cluster.faults();
    faults.inject(FaultRule::always("", "", FaultEffect::DropConnection));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_changes_a_cluster_and_sees_what_it_has() {
    let world = World::start().await;
    let path = path_of(&world, "test-1").await;
    the_use_of_a_cluster_is_changed(&world, &path).await;
    wrong_changes_are_refused(&world, &path).await;
    versions_are_those_of_people(&world, &path).await;
    storage_classes_are_listed(&world, &path).await;
    instance_types_and_preferences_are_listed(&world, &path).await;
    namespaces_are_made_before_they_are_needed(&world, &path).await;
    what_a_cluster_refuses_is_told(&world, &path).await;
    a_cluster_that_does_not_answer_is_told_and_noted(&world, &path).await;
    nobody_else_may(&world).await;
}

async fn the_use_of_a_cluster_is_changed(world: &World, path: &str) {
    let admin = world.as_(User::Admin);
    let body = json!({
        "display_name": "Test, hall 1", "default_storage_class": "standard", "scheduling_weight": 0,
        "concurrency_limit": 200,
    });
    let changed = patch(&admin, path, &body).await.ok(200);
    for (field, value) in body.as_object().expect("an object") {
        assert_eq!(&changed[field], value, "{field}");
    }
    assert_eq!(
        admin.get(path).await.ok(200)["display_name"],
        "Test, hall 1",
        "it is stored"
    );
    let cleared = json!({"display_name": null, "default_storage_class": null, "concurrency_limit": null});
    let changed = patch(&admin, path, &cleared).await.ok(200);
    for field in ["display_name", "default_storage_class", "concurrency_limit"] {
        assert_eq!(changed.get(field), None, "{field}");
    }
    assert_eq!(changed["scheduling_weight"], 0, "what is absent stays");
    let details = world
        .home
        .texts(
            "SELECT params::text FROM audit_logs WHERE action = 'cluster.update' ORDER BY performed_at DESC, id DESC \
             LIMIT 1",
        )
        .await;
    let details: Value = serde_json::from_str(&details[0]).expect("details");
    assert_eq!(details["display_name"], json!({"old": "Test, hall 1", "new": null}));
    assert_eq!(details["concurrency_limit"], json!({"old": 200, "new": null}));
    assert_eq!(details.get("scheduling_weight"), None);
}

async fn wrong_changes_are_refused(world: &World, path: &str) {
    let admin = world.as_(User::Admin);
    let wrong = json!({"display_name": "x".repeat(256), "scheduling_weight": 1001, "concurrency_limit": 0});
    let reply = patch(&admin, path, &wrong).await;
    let fields: Vec<String> = reply.body["field_errors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|error| format!("{} {}", text(&error["field"]), text(&error["code"])))
        .collect();
    reply.refused(400, "VALIDATION_FAILED");
    for expected in [
        "concurrency_limit OUT_OF_RANGE",
        "display_name TOO_LONG",
        "scheduling_weight OUT_OF_RANGE",
    ] {
        assert!(fields.iter().any(|found| found == expected), "{fields:?}");
    }
    for wrong in [
        json!({"scheduling_weight": -1}),
        json!({"concurrency_limit": 201}),
        json!({"concurrency_limit": "many"}),
        json!({"enabled": "yes"}),
    ] {
        patch(&admin, path, &wrong).await.refused(400, "VALIDATION_FAILED");
    }
    for unknown in [
        json!({"name": "other"}),
        json!({"environment": "prod"}),
        json!({"status": "HEALTHY"}),
    ] {
        patch(&admin, path, &unknown)
            .await
            .refused(400, "INVALID_REQUEST_FIELD");
    }
    let params = patch(&admin, path, &json!({"default_storage_class": "none-such"}))
        .await
        .refused(400, "STORAGE_CLASS_NOT_FOUND");
    assert_eq!(params, json!({"storage_class": "none-such", "available": ["standard"]}));
    let nothing = format!("/admin/clusters/{NOTHING}");
    patch(&admin, &nothing, &json!({}))
        .await
        .refused(404, "CLUSTER_NOT_FOUND");
}

/// What is found by itself does not count as a change.
async fn versions_are_those_of_people(world: &World, path: &str) {
    let admin = world.as_(User::Admin);
    let tag = admin.get(path).await.header("etag").to_owned();
    wait_for_looks(world, "test-1", 2, PATIENCE).await;
    let reply = admin.get(path).await;
    assert_eq!(reply.header("etag"), tag, "a health pass is no change");

    let change = |tag: String, weight: i32| {
        let request = admin.request(Method::PATCH, path).header("if-match", tag);
        send(request.json(&json!({"scheduling_weight": weight})))
    };
    let changed = change(tag.clone(), 50).await;
    let newer = changed.header("etag").to_owned();
    assert_eq!(changed.ok(200)["scheduling_weight"], 50);
    assert_ne!(newer, tag);
    let params = change(tag, 60).await.refused(412, "PRECONDITION_FAILED");
    assert_eq!(format!("\"{}\"", params["current_version"]), newer);
    let moved = admin.request(Method::PUT, &format!("{path}/environment"));
    let moved = moved.header("if-match", "\"1\"").json(&json!({"environment": "prod"}));
    send(moved).await.refused(412, "PRECONDITION_FAILED");
    assert_eq!(admin.get(path).await.ok(200)["scheduling_weight"], 50);
}

async fn storage_classes_are_listed(world: &World, path: &str) {
    let listed = world
        .as_(User::Admin)
        .get(&format!("{path}/storage-classes"))
        .await
        .ok(200);
    assert_eq!(listed["items"], json!([{"name": "standard", "default": true}]));
    assert_eq!(listed["stale"], false);
    assert!(listed["updated_at"].is_string(), "{listed}");
    let id = path.trim_start_matches("/admin/clusters/");
    let age = format!(
        "WITH aged AS (UPDATE clusters SET storage_classes_updated_at = now() - interval '25 hours' \
         WHERE id = '{id}' RETURNING name) SELECT name FROM aged"
    );
    world.home.texts(&age).await;
    let listed = world
        .as_(User::Admin)
        .get(&format!("{path}/storage-classes"))
        .await
        .ok(200);
    assert_eq!(listed["stale"], true);
    assert_eq!(listed["items"][0]["name"], "standard");
}

async fn instance_types_and_preferences_are_listed(world: &World, path: &str) {
    let admin = world.as_(User::Admin);
    let cluster = world.test.cluster();
    let spec = json!({"cpu": {"guest": 2}, "memory": {"guest": "4Gi"}});
    let objects = [
        (
            "VirtualMachineClusterInstancetype",
            json!({"metadata": {"name": "u1.small"}, "spec": spec}),
        ),
        (
            "VirtualMachineInstancetype",
            json!({"metadata": {"name": "own", "namespace": "default"}, "spec": spec}),
        ),
        (
            "VirtualMachineClusterPreference",
            json!({"metadata": {"name": "fedora"}, "spec": {}}),
        ),
        (
            "VirtualMachinePreference",
            json!({"metadata": {"name": "house", "namespace": "default"}, "spec": {}}),
        ),
    ];
    for (kind, object) in objects {
        assert!(cluster.put(kind, object), "{kind}");
    }
    let types = admin.get(&format!("{path}/instancetypes")).await.ok(200);
    let small = json!({"name": "u1.small", "cluster_wide": true, "cpu": 2, "memory": "4Gi"});
    assert_eq!(types, json!({"items": [small]}));
    let types = admin.get(&format!("{path}/instancetypes?namespace=default")).await;
    let own = json!({"name": "own", "cluster_wide": false, "cpu": 2, "memory": "4Gi"});
    assert_eq!(types.ok(200), json!({"items": [small, own]}));
    let preferences = admin
        .get(&format!("{path}/preferences?namespace=default"))
        .await
        .ok(200);
    let expected = json!({"items": [
        {"name": "fedora", "cluster_wide": true}, {"name": "house", "cluster_wide": false},
    ]});
    assert_eq!(preferences, expected);
    for wrong in ["..%2Fkube-system", "", "Default", "a.b"] {
        for list in ["instancetypes", "preferences"] {
            let path = format!("{path}/{list}?namespace={wrong}");
            admin.get(&path).await.refused(400, "VALIDATION_FAILED");
        }
    }
}

async fn namespaces_are_made_before_they_are_needed(world: &World, path: &str) {
    let admin = world.as_(User::Admin);
    let exists = async |name: &str| admin.get(&format!("{path}/namespaces/{name}/exists")).await;
    assert_eq!(exists("default").await.ok(200), json!({"exists": true}));
    assert_eq!(exists("early").await.ok(200), json!({"exists": false}));
    exists("..%2Fdefault").await.refused(400, "VALIDATION_FAILED");

    let make = async |name: &str| admin.post(&format!("{path}/namespaces"), &json!({"name": name})).await;
    let params = make("early").await.refused(400, "NAMESPACE_NOT_REGISTERED");
    assert_eq!(params, json!({"namespace": "early"}));
    let params = make("prod-shop").await.refused(400, "NAMESPACE_CLUSTER_ENV_MISMATCH");
    let expected = json!({
        "namespace": "prod-shop", "namespace_env": "prod", "cluster": "test-1", "cluster_env": "test",
    });
    assert_eq!(params, expected);

    let body = json!({"name": "early", "environment": "test"});
    let id = text(&admin.post("/admin/namespaces", &body).await.ok(201)["id"]);
    let entry = format!("/admin/namespaces/{id}");
    put(&admin, &entry, &json!({"enabled": false})).await.ok(200);
    make("early").await.refused(400, "NAMESPACE_DISABLED");
    put(&admin, &entry, &json!({"enabled": true})).await.ok(200);

    let made = make("early").await.ok(200);
    assert_eq!(made, json!({"created": true, "code": "NAMESPACE_CREATED"}));
    let again = make("early").await.ok(200);
    assert_eq!(again, json!({"created": false, "code": "NAMESPACE_ALREADY_EXISTS"}));
    assert_eq!(exists("early").await.ok(200), json!({"exists": true}));
    let object = world.test.cluster().get("Namespace", "", "early").expect("it is made");
    assert_eq!(object["metadata"]["labels"]["kubevirt-shepherd.io/environment"], "test");
    let facts = "domain_events WHERE event_type = 'NAMESPACE_CREATED' AND aggregate_id = 'early'";
    assert_eq!(world.home.count(facts).await, 1, "only the first time");
    let audited = format!("audit_logs WHERE resource_id = '{id}' AND params ->> 'cluster' = 'test-1'");
    assert_eq!(world.home.count(&audited).await, 1);
}

async fn what_a_cluster_refuses_is_told(world: &World, path: &str) {
    let admin = world.as_(User::Admin);
    let body = json!({"name": "later", "environment": "test"});
    admin.post("/admin/namespaces", &body).await.ok(201);
    let path = format!("{path}/namespaces");
    let make = || async { admin.post(&path, &json!({"name": "later"})).await };
    let faults = world.test.faults();
    faults.refuse("create", "namespaces");
    let params = make().await.refused(403, "NAMESPACE_PERMISSION_DENIED");
    assert_eq!(params["hint"], "kubectl create namespace later");
    assert_eq!(params["options"].as_array().map(Vec::len), Some(2), "{params}");
    faults.allow("create", "namespaces");
    let quota = FaultEffect::Status {
        code: 403,
        reason: "Forbidden".to_owned(),
        message: "namespaces \"later\" is forbidden: exceeded quota: all, requested: 1".to_owned(),
        retry_after_seconds: None,
    };
    faults.inject(FaultRule::next(1, "POST", "/namespaces", quota));
    let params = make().await.refused(403, "NAMESPACE_QUOTA_EXCEEDED");
    assert_eq!(params, json!({"namespace": "later", "cluster": "test-1"}));
    assert_eq!(make().await.ok(200)["created"], true);
}

async fn a_cluster_that_does_not_answer_is_told_and_noted(world: &World, path: &str) {
    let admin = world.as_(User::Admin);
    let check = format!("{path}/check");
    let checked = admin.post(&check, &Value::Null).await.ok(200);
    assert_eq!(checked["status"], "HEALTHY");
    cut_off(&world.test);
    let params = admin
        .post(&check, &Value::Null)
        .await
        .refused(503, "CLUSTER_UNREACHABLE");
    assert_eq!(params, json!({"cluster": "test-1"}));
    let shown = admin.get(path).await.ok(200);
    assert_eq!(shown["status"], "UNREACHABLE", "it is stored all the same");
    assert_eq!(shown["status_reason"], "API_UNREACHABLE");
    let asked = admin.get(&format!("{path}/namespaces/default/exists")).await;
    assert!(
        ["CLUSTER_UNREACHABLE", "CLUSTER_DEGRADED"].contains(&asked.code()) && asked.status == 503,
        "{}",
        asked.text
    );
    assert_ne!(asked.header("retry-after"), "");
    let asked = admin.get(&format!("{path}/instancetypes")).await;
    assert_eq!(asked.status, 503, "{}", asked.text);
    let stored = admin.get(&format!("{path}/storage-classes")).await.ok(200);
    assert_eq!(stored["items"][0]["name"], "standard", "what was found stays");
    world.test.faults().clear();
    let checked = admin.post(&check, &Value::Null).await.ok(200);
    assert_eq!(checked["status"], "HEALTHY");
    let alerts = world
        .home
        .texts(
            "SELECT DISTINCT params ->> 'from' || ' ' || (params ->> 'to') AS step FROM notifications \
             WHERE type = 'SYSTEM_ALERT' AND params ->> 'code' = 'CLUSTER_STATUS_CHANGED' ORDER BY step",
        )
        .await;
    assert_eq!(alerts, ["HEALTHY UNREACHABLE", "UNREACHABLE HEALTHY"]);
}

/// Rights end at the environment; rotation and deletion ask for more than writing.
async fn nobody_else_may(world: &World) {
    let prod = path_of(world, "prod-1").await;
    let test = path_of(world, "test-1").await;
    let role = json!({"name": "cluster-writer", "permissions": ["cluster:write"]});
    let role = text(&world.as_(User::Admin).post("/admin/roles", &role).await.ok(201)["id"]);
    let wanda = world.caller(&world.enrol("wanda", &role, &["test"]).await);
    patch(&wanda, &prod, &json!({})).await.refused(404, "CLUSTER_NOT_FOUND");
    patch(&wanda, &test, &json!({})).await.ok(200);
    let params = put(&wanda, &format!("{test}/environment"), &json!({"environment": "prod"}))
        .await
        .refused(403, "FORBIDDEN");
    assert_eq!(params["environment"], "prod");
    let params = wanda
        .delete(&format!("{test}?confirm_name=test-1"))
        .await
        .refused(403, "FORBIDDEN");
    assert_eq!(params["required_permission"], "cluster:manage");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_machines_stays_where_it_is_and_can_be_put_to_rest() {
    let world = World::start().await;
    let path = path_of(&world, "test-1").await;
    let vm = world.running_vm("dev").await;
    a_used_cluster_is_kept(&world, &path).await;
    a_disabled_cluster_keeps_its_machines_usable(&world, &path, &vm).await;
    an_empty_cluster_is_moved_and_deleted(&world, &path).await;
}

async fn a_used_cluster_is_kept(world: &World, path: &str) {
    let admin = world.as_(User::Admin);
    let used = json!({"vm_count": 1, "pending_request_count": 0});
    let moved = put(&admin, &format!("{path}/environment"), &json!({"environment": "prod"})).await;
    assert_eq!(moved.refused(409, "CLUSTER_HAS_VMS"), used);
    let params = admin.delete(path).await.refused(400, "CONFIRMATION_REQUIRED");
    assert_eq!(params["parameter"], "confirm_name");
    assert_eq!(params["entity_name"], "test-1");
    admin
        .delete(&format!("{path}?confirm=true"))
        .await
        .refused(400, "CONFIRMATION_REQUIRED");
    admin
        .delete(&format!("{path}?confirm_name=test-2"))
        .await
        .refused(400, "CONFIRMATION_NAME_MISMATCH");
    let deleted = admin.delete(&format!("{path}?confirm_name=test-1")).await;
    assert_eq!(deleted.refused(409, "CLUSTER_HAS_VMS"), used);
    let same = put(&admin, &format!("{path}/environment"), &json!({"environment": "test"})).await;
    assert_eq!(same.ok(200)["environment"], "test", "nothing changes");
}

async fn a_disabled_cluster_keeps_its_machines_usable(world: &World, path: &str, vm: &str) {
    let admin = world.as_(User::Admin);
    patch(&admin, path, &json!({"enabled": false})).await.ok(200);
    // A look that had begun may still be stored; after another round of the other cluster's none is.
    wait_for_looks(world, "prod-1", 2, PATIENCE).await;
    let before = last_look(world, "test-1").await;
    wait_for_looks(world, "prod-1", 2, PATIENCE).await;
    assert_eq!(last_look(world, "test-1").await, before, "nobody looks at it");

    let ticket = world.request_vm("dev").await;
    let approval = format!("/approvals/{ticket}/approve");
    let choice = json!({"selected_cluster_id": path.trim_start_matches("/admin/clusters/")});
    let refused = world.as_(User::Bob).post(&approval, &choice).await;
    assert_eq!(refused.status, 400, "no new machines: {}", refused.text);
    let rejection = json!({"reason": "the cluster rests"});
    world
        .as_(User::Bob)
        .post(&format!("/approvals/{ticket}/reject"), &rejection)
        .await
        .ok(204);

    world.operated(&format!("/vms/{vm}/stop"), &json!({})).await;
    let object = world.test.cluster().get("VirtualMachine", "dev", "dev-shop-web-01");
    let strategy = object.map(|object| object["spec"]["runStrategy"].clone());
    assert_eq!(strategy, Some(json!("Halted")), "it is stopped");
    let deletion = world.request_deletion(vm).await;
    world.approve(&deletion).await;
    world.wait_for_ticket(&deletion, "COMPLETED").await;
    assert_eq!(world.home.count("vms").await, 0);
    let checked = admin.post(&format!("{path}/check"), &Value::Null).await.ok(200);
    assert_eq!(checked["status"], "HEALTHY", "who asks is answered");
}

async fn an_empty_cluster_is_moved_and_deleted(world: &World, path: &str) {
    let admin = world.as_(User::Admin);
    let moved = put(&admin, &format!("{path}/environment"), &json!({"environment": "prod"})).await;
    assert_eq!(moved.ok(200)["environment"], "prod");
    let told = "audit_logs WHERE action = 'cluster.update' AND params -> 'environment' = \
         '{\"old\": \"test\", \"new\": \"prod\"}'";
    assert_eq!(world.home.count(told).await, 1);
    let deleted = admin.delete(&format!("{path}?confirm_name=test-1")).await;
    deleted.ok(204);
    admin.get(path).await.refused(404, "CLUSTER_NOT_FOUND");
    admin
        .delete(&format!("{path}?confirm_name=test-1"))
        .await
        .refused(404, "CLUSTER_NOT_FOUND");
    let kubeconfig = STANDARD.encode(world.test.kubeconfig());
    let body = json!({"name": "test-1", "kubeconfig": kubeconfig, "environment": "test"});
    let again = admin.post("/admin/clusters", &body).await.ok(201);
    wait_for_status(world, &format!("/admin/clusters/{}", text(&again["id"])), "HEALTHY").await;
}
