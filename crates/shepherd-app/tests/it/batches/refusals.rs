//! Batches that are refused: each gets its code, says what is wrong with which item, tells nothing about what its
//! sender may not see, and leaves nothing.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use super::{BATCHES, NOTHING, POWER, about, creation, generous};
use crate::client::{Caller, Reply, send};
use crate::server::ALL_ROLES;
use crate::world::{User, World, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_batch_gets_its_code_and_leaves_nothing() {
    let world = World::with(ALL_ROLES, &generous()).await;
    let scene = Scene::set(&world).await;
    world.wait_for_queue().await;
    let before = rows(&world).await;
    the_structure_comes_first(&world, &scene).await;
    too_many_are_refused(&world).await;
    the_form_of_items_is_checked(&world, &scene).await;
    every_bad_item_of_a_creation_is_named(&world, &scene).await;
    every_bad_machine_is_named(&world, &scene).await;
    what_cannot_be_seen_is_not_there(&world, &scene).await;
    others_may_not(&world, &scene).await;
    assert_eq!(rows(&world).await, before);
}

/// What the batches are about.
struct Scene {
    /// Alice's, which runs in test; its deletion waits.
    vm: String,
    deletion: String,
    /// Alice's in prod.
    in_prod: String,
    /// Mallory's: the Service, and a machine in each environment.
    hidden_service: String,
    hidden: [String; 2],
}

impl Scene {
    async fn set(world: &World) -> Self {
        let vm = world.running_vm("dev").await;
        let deletion = world.request_deletion(&vm).await;
        let mallory = world.as_(User::Mallory);
        let system = mallory.post("/systems", &json!({"name": "theirs"})).await.ok(201);
        let path = format!("/systems/{}/services", text(&system["id"]));
        let service = text(&mallory.post(&path, &json!({"name": "api"})).await.ok(201)["id"]);
        let theirs = (service.as_str(), world.id(User::Mallory));
        let hidden = [
            copied(world, "hidden-test", ("dev", "test-1"), theirs).await,
            copied(world, "hidden-prod", ("prod-shop", "prod-1"), theirs).await,
        ];
        let own = (world.service.as_str(), world.id(User::Alice));
        let in_prod = copied(world, "own-prod", ("prod-shop", "prod-1"), own).await;
        close_a_namespace(&world.as_(User::Admin)).await;
        Self {
            vm,
            deletion,
            in_prod,
            hidden_service: service,
            hidden,
        }
    }
}

/// A row made from that of the only machine that runs.
async fn copied(
    world: &World,
    name: &str,
    (namespace, cluster): (&str, &str),
    (service, owner): (&str, &str),
) -> String {
    let copy = format!(
        "INSERT INTO vms SELECT (jsonb_populate_record(v, jsonb_build_object('id', gen_random_uuid(), \
             'name', '{name}', 'hostname', '{name}', 'instance_index', 100 + (SELECT count(*) FROM vms), \
             'instance', (100 + (SELECT count(*) FROM vms))::text, 'namespace', '{namespace}', \
             'cluster_id', (SELECT id FROM clusters WHERE name = '{cluster}'), 'service_id', '{service}', \
             'created_by', '{owner}', 'status', 'UNKNOWN', 'status_reason', 'OBJECT_MISSING', \
             'ticket_id', NULL, 'k8s_uid', NULL, 'observed_resource_version', NULL))).* \
         FROM vms v WHERE v.name = 'dev-shop-web-01' RETURNING id::text"
    );
    world.home.texts(&copy).await.pop().expect("a machine was copied")
}

async fn close_a_namespace(admin: &Caller) {
    let body = json!({"name": "closed", "environment": "test"});
    let closed = admin.post("/admin/namespaces", &body).await.ok(201);
    let path = format!("/admin/namespaces/{}", text(&closed["id"]));
    let change = admin.request(Method::PUT, &path).json(&json!({"enabled": false}));
    send(change).await.ok(200);
}

/// How many rows every table has, without those that time alone adds, and without the count of attempts.
async fn rows(world: &World) -> BTreeMap<String, i64> {
    let query = "SELECT table_name::text FROM information_schema.tables \
         WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name NOT IN \
             ('heartbeats', 'leader_leases', 'login_attempts', 'periodic_jobs', 'rate_limit_counters', 'user_sessions')";
    let mut rows = BTreeMap::new();
    for table in world.home.texts(query).await {
        rows.insert(table.clone(), world.home.count(&table).await);
    }
    assert!(rows.len() > 15, "{rows:?}");
    rows
}

async fn the_structure_comes_first(world: &World, scene: &Scene) {
    let (vm, in_prod) = (scene.vm.as_str(), scene.in_prod.as_str());
    let mut mixed = creation(world, 2);
    mixed["items"][1]["namespace"] = json!("prod-shop");
    let cases = [
        (BATCHES, creation(world, 0), "empty"),
        (BATCHES, about("DELETE", &[]), "empty"),
        (POWER, about("STOP", &[]), "empty"),
        (BATCHES, about("DELETE", &[vm, in_prod, vm]), "duplicate_vm"),
        (POWER, about("RESTART", &[vm, vm]), "duplicate_vm"),
        (POWER, about("RESTART", &[NOTHING, NOTHING]), "duplicate_vm"),
        (BATCHES, mixed, "mixed_environment"),
        (BATCHES, about("DELETE", &[vm, in_prod]), "mixed_environment"),
        (POWER, about("STOP", &[in_prod, vm]), "mixed_environment"),
        (BATCHES, about("START", &[vm]), "unsupported_operation"),
        (BATCHES, about("create", &[vm]), "unsupported_operation"),
        (POWER, about("DELETE", &[vm]), "unsupported_operation"),
        (POWER, about("stop", &[vm]), "unsupported_operation"),
    ];
    let alice = world.as_(User::Alice);
    for (path, body, reason) in cases {
        let reply = alice.post(path, &body).await;
        let told = reply.refused(400, "INVALID_BATCH_REQUEST");
        assert_eq!(told, json!({"reason": reason}), "{path} {body}");
    }
}

async fn too_many_are_refused(world: &World) {
    let machines: Vec<String> = (0..51).map(|n| format!("01983f0e-0000-7000-8000-{n:012}")).collect();
    let machines: Vec<&str> = machines.iter().map(String::as_str).collect();
    let cases = [
        (BATCHES, creation(world, 11), "CREATE", 11, 10),
        (BATCHES, about("DELETE", &machines[..11]), "DELETE", 11, 10),
        (POWER, about("STOP", &machines), "POWER", 51, 50),
    ];
    for (path, body, operation, size, max_size) in cases {
        let reply = world.as_(User::Alice).post(path, &body).await;
        let told = reply.refused(400, "BATCH_SIZE_EXCEEDED");
        assert_eq!(
            told,
            json!({"operation": operation, "size": size, "max_size": max_size})
        );
    }
}

async fn the_form_of_items_is_checked(world: &World, scene: &Scene) {
    let alice = world.as_(User::Alice);
    let mut both = creation(world, 2);
    both["items"][1]["vm_id"] = json!(scene.vm);
    let told = alice.post(BATCHES, &both).await.refused(400, "INVALID_REQUEST_FIELD");
    assert_eq!(told["field"], "items[1].vm_id");
    let mut deletion = about("DELETE", &[scene.vm.as_str()]);
    deletion["items"][0]["namespace"] = json!("dev");
    let told = alice
        .post(BATCHES, &deletion)
        .await
        .refused(400, "INVALID_REQUEST_FIELD");
    assert_eq!(told["field"], "items[0].namespace");
    let mut bare = creation(world, 2);
    bare["items"][1] = json!({"service_id": world.service, "template_id": world.template("ubuntu-24-04")});
    let reply = alice.post(BATCHES, &bare).await;
    assert_eq!(
        (reply.status, reply.code()),
        (400, "VALIDATION_FAILED"),
        "{}",
        reply.text
    );
    let missing = [
        ("items[1].instance_size_id", "REQUIRED"),
        ("items[1].namespace", "REQUIRED"),
    ];
    assert_eq!(findings(&reply), missing);
}

/// Field and code of every entry of an answer.
fn findings(reply: &Reply) -> Vec<(&str, &str)> {
    let errors = reply.body["field_errors"].as_array();
    errors
        .into_iter()
        .flatten()
        .map(|error| {
            let part = |name: &str| error[name].as_str().unwrap_or_default();
            (part("field"), part("code"))
        })
        .collect()
}

#[track_caller]
fn refuses_items(reply: &Reply, expected: &[(&str, &str)]) {
    let code = (reply.status, reply.code());
    assert_eq!(code, (400, "INVALID_BATCH_ITEMS"), "{}", reply.text);
    assert_eq!(findings(reply), expected, "{}", reply.text);
}

async fn every_bad_item_of_a_creation_is_named(world: &World, scene: &Scene) {
    let mut body = creation(world, 9);
    for (index, field, value) in [
        (1, "service_id", json!(NOTHING)),
        (2, "service_id", json!(scene.hidden_service)),
        (3, "namespace", json!("closed")),
        (4, "namespace", json!("nowhere")),
        (5, "template_id", json!(NOTHING)),
        (6, "instance_size_id", json!(NOTHING)),
        (7, "disk_gb", json!(51)),
        (8, "reason", json!("x".repeat(1024))),
    ] {
        body["items"][index][field] = value;
    }
    let alice = world.as_(User::Alice);
    let reply = alice.post(BATCHES, &body).await;
    let expected = [
        ("items[1].service_id", "SERVICE_NOT_FOUND"),
        ("items[2].service_id", "SERVICE_NOT_FOUND"),
        ("items[3].namespace", "NAMESPACE_DISABLED"),
        ("items[4].namespace", "NAMESPACE_NOT_REGISTERED"),
        ("items[5].template_id", "TEMPLATE_NOT_FOUND"),
        ("items[6].instance_size_id", "INSTANCE_SIZE_NOT_FOUND"),
        ("items[7].disk_gb", "DISK_SIZE_OUT_OF_RANGE"),
    ];
    refuses_items(&reply, &expected);

    // Without a reason of the batch every item needs its own.
    let mut body = creation(world, 2);
    body.as_object_mut().expect("a body").remove("reason");
    body["items"][1]["reason"] = json!(" ");
    let reply = alice.post(BATCHES, &body).await;
    refuses_items(&reply, &[("items[1].reason", "REQUIRED")]);
}

async fn every_bad_machine_is_named(world: &World, scene: &Scene) {
    let alice = world.as_(User::Alice);
    let [in_test, in_prod] = scene.hidden.each_ref().map(String::as_str);
    let machines = [scene.vm.as_str(), in_test, NOTHING, in_prod];
    let reply = alice.post(BATCHES, &about("DELETE", &machines)).await;
    let expected = [
        ("items[0].vm_id", "DUPLICATE_PENDING_REQUEST"),
        ("items[1].vm_id", "VM_NOT_FOUND"),
        ("items[2].vm_id", "VM_NOT_FOUND"),
        ("items[3].vm_id", "VM_NOT_FOUND"),
    ];
    refuses_items(&reply, &expected);
    let params = |index: usize| &reply.body["field_errors"][index]["params"];
    assert_eq!(params(0)["existing_ticket_id"], json!(scene.deletion));
    for (index, vm) in machines.iter().enumerate().skip(1) {
        assert_eq!(*params(index), json!({"id": vm}));
    }

    let reply = alice.post(POWER, &about("START", &[scene.vm.as_str()])).await;
    refuses_items(&reply, &[("items[0].vm_id", "INVALID_STATE_TRANSITION")]);
    assert_eq!(reply.body["field_errors"][0]["params"]["current_status"], "RUNNING");
}

/// Whatever there is of others, and wherever: the answer is that of an id that nothing has.
async fn what_cannot_be_seen_is_not_there(world: &World, scene: &Scene) {
    let alice = world.as_(User::Alice);
    let [in_test, in_prod] = scene.hidden.each_ref().map(String::as_str);
    for (path, operation) in [(POWER, "STOP"), (BATCHES, "DELETE")] {
        let mut answers = Vec::new();
        for stranger in [NOTHING, in_test, in_prod] {
            let reply = alice
                .post(path, &about(operation, &[scene.in_prod.as_str(), stranger]))
                .await;
            assert_eq!(reply.code(), "INVALID_BATCH_ITEMS", "{}", reply.text);
            answers.push(reply.text.replace(stranger, ""));
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:#?}");
        let reply = alice.post(path, &about(operation, &[in_test, in_prod])).await;
        let missing = [("items[0].vm_id", "VM_NOT_FOUND"), ("items[1].vm_id", "VM_NOT_FOUND")];
        refuses_items(&reply, &missing);
    }
    let mut answers = Vec::new();
    for stranger in [NOTHING, scene.hidden_service.as_str()] {
        let mut body = creation(world, 2);
        body["items"][1]["service_id"] = json!(stranger);
        body["items"][1]["namespace"] = json!("prod-shop");
        let reply = alice.post(BATCHES, &body).await;
        refuses_items(&reply, &[("items[1].service_id", "SERVICE_NOT_FOUND")]);
        answers.push(reply.text.replace(stranger, ""));
    }
    assert_eq!(answers[0], answers[1]);
}

/// Whatever is in the body.
async fn others_may_not(world: &World, scene: &Scene) {
    let creation = creation(world, 1);
    let deletion = about("DELETE", &[scene.hidden[0].as_str()]);
    let stop = about("STOP", &[]);
    for (user, path, body, permission) in [
        (User::Carol, BATCHES, &creation, None),
        (User::Carol, POWER, &stop, Some("vm:operate")),
        (User::Bob, BATCHES, &deletion, None),
        (User::Bob, POWER, &stop, Some("vm:operate")),
        (User::Mallory, BATCHES, &deletion, Some("vm:delete")),
    ] {
        let told = world.as_(user).post(path, body).await.refused(403, "FORBIDDEN");
        if let Some(permission) = permission {
            assert_eq!(told["required_permission"], permission, "{user:?} {path}");
        }
    }
    for path in [BATCHES, POWER] {
        let reply = world.anonymous().post(path, &creation).await;
        reply.refused(401, "UNAUTHORIZED");
    }
}
