//! Instance sizes as an administrator writes and tries them, and as a requester sees them.

use futures::future::join;
use reqwest::Method;
use serde_json::{Value, json};
use shepherd_simulator::{FaultEffect, FaultRule};

use crate::client::{Caller, Reply, send};
use crate::world::{User, World, text};

const SIZES: &str = "/admin/instance-sizes";
const DEDICATED: &str = "spec.template.spec.domain.cpu.dedicatedCpuPlacement";
const CORES: &str = "spec.template.spec.domain.cpu.cores";
const HUGEPAGES: &str = "spec.template.spec.domain.memory.hugepages.pageSize";
const NOTHING: &str = "01983f0e-0000-7000-8000-000000000000";

fn path(size: &Value) -> String {
    format!("{SIZES}/{}", text(&size["id"]))
}

async fn patch(caller: &Caller, path: &str, body: &Value) -> Reply {
    send(caller.request(Method::PATCH, path).json(body)).await
}

async fn plain(admin: &Caller, name: &str) -> Value {
    let body = json!({"name": name, "cpu_cores": 2, "memory_mb": 2048});
    admin.post(SIZES, &body).await.ok(201)
}

/// The fields that are wrong, with their codes.
fn wrong_fields(reply: Reply) -> Vec<String> {
    assert_eq!(
        (reply.status, reply.code()),
        (400, "VALIDATION_FAILED"),
        "{}",
        reply.text
    );
    let errors = reply.body["field_errors"].as_array().cloned().unwrap_or_default();
    let shown = |error: &Value| format!("{} {}", text(&error["field"]), text(&error["code"]));
    errors.iter().map(shown).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_writes_sizes_and_a_requester_sees_what_is_offered() {
    let world = World::start().await;
    let admin = world.as_(User::Admin);
    columns_follow_from_overrides(&admin).await;
    what_contradicts_itself_is_refused(&admin).await;
    what_no_cluster_knows_is_refused_with_what_was_meant(&admin).await;
    requesters_see_limits_only(&world, &admin).await;
    a_change_is_judged_by_what_becomes_of_the_size(&world, &admin).await;
    two_who_change_at_once_both_do(&admin).await;
    a_retired_size_takes_no_requests(&world, &admin).await;
    what_an_open_ticket_refers_to_stays(&world, &admin).await;
    a_request_and_a_deletion_at_once_do_not_both_succeed(&world, &admin).await;
}

async fn columns_follow_from_overrides(admin: &Caller) {
    let body = json!({
        "name": "pinned", "memory_mb": 8192, "sort_order": 500,
        "spec_overrides": {(CORES): 4.0, (DEDICATED): true, (HUGEPAGES): "1Gi"},
    });
    let reply = admin.post(SIZES, &body).await;
    assert_eq!(reply.header("etag"), "\"1\"");
    let location = reply.header("location").to_owned();
    let size = reply.ok(201);
    assert_eq!(location, format!("/api/v1{}", path(&size)));
    let read = admin.get(&path(&size)).await;
    assert_eq!(read.header("etag"), "\"1\"");
    let read = read.ok(200);
    assert_eq!(read, size);
    assert_eq!((&read["cpu_cores"], &read["dedicated_cpu"]), (&json!(4), &json!(true)));
    assert_eq!(
        (&read["requires_hugepages"], &read["hugepages_size"]),
        (&json!(true), &json!("1Gi"))
    );
    assert_eq!(
        read["spec_overrides"][CORES],
        json!(4),
        "whole numbers are kept as such"
    );
    assert_eq!(read["validation_status"], "valid");
    assert!(
        read["capabilities"]
            .as_array()
            .is_some_and(|keys| keys.contains(&json!("hugepages:1gi"))),
        "{read}"
    );
    assert_eq!(read["cpu_overcommit_enabled"], false);

    let taken = admin.post(SIZES, &body).await.refused(409, "INSTANCE_SIZE_NAME_EXISTS");
    assert_eq!(taken["name"], "pinned");
    admin
        .get(&format!("{SIZES}/{NOTHING}"))
        .await
        .refused(404, "INSTANCE_SIZE_NOT_FOUND");
}

async fn what_contradicts_itself_is_refused(admin: &Caller) {
    let with = |overrides: Value, more: Value| {
        let mut body = json!({"name": "wrong", "memory_mb": 4096, "spec_overrides": overrides});
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        body
    };
    let body = with(json!({(CORES): 4}), json!({"cpu_cores": 2}));
    let conflict = admin.post(SIZES, &body).await.refused(400, "SPEC_OVERRIDE_CONFLICT");
    let expected = json!({"path": CORES, "column": "cpu_cores", "override_value": 4, "column_value": 2});
    assert_eq!(conflict, expected);
    let body = with(
        json!({(DEDICATED): true}),
        json!({"cpu_cores": 4, "memory_request_mb": 1024}),
    );
    let conflict = admin.post(SIZES, &body).await;
    let conflict = conflict.refused(400, "DEDICATED_CPU_OVERCOMMIT_CONFLICT");
    assert_eq!(conflict["resource"], "memory");
    let body = with(json!({}), json!({"cpu_cores": 2, "cpu_request": 3}));
    admin.post(SIZES, &body).await.refused(400, "OVERCOMMIT_INVALID");
    let body = with(json!({"spec.runStrategy": "Halted"}), json!({"cpu_cores": 2}));
    let forbidden = admin.post(SIZES, &body).await.refused(400, "INVALID_SPEC_OVERRIDES");
    assert_eq!(forbidden["path"], "spec.runStrategy");
    let body = with(json!({}), json!({"display_name": "no cores"}));
    assert_eq!(wrong_fields(admin.post(SIZES, &body).await), ["cpu_cores REQUIRED"]);
}

async fn what_no_cluster_knows_is_refused_with_what_was_meant(admin: &Caller) {
    let misspelt = "spec.template.spec.domain.cpu.dedicatedCpuPlacment";
    let body = |path: &str, value: Value| json!({"name": "misspelt", "cpu_cores": 2, "memory_mb": 2048, "spec_overrides": {(path): value}});
    let refused = admin.post(SIZES, &body(misspelt, json!(true))).await;
    let refused = refused.refused(400, "SCHEMA_VALIDATION_FAILED");
    assert_eq!(
        (&refused["path"], &refused["suggestion"]),
        (&json!(misspelt), &json!(DEDICATED))
    );
    assert!(refused["kubevirt_version"].is_string(), "{refused}");
    let grace = "spec.template.spec.terminationGracePeriodSeconds";
    let mistyped = admin.post(SIZES, &body(grace, json!("two"))).await;
    mistyped.refused(400, "SCHEMA_VALIDATION_FAILED");
    let size = admin.post(SIZES, &body(grace, json!(2))).await.ok(201);
    let refused = patch(admin, &path(&size), &json!({"spec_overrides": {(misspelt): true}})).await;
    refused.refused(400, "SCHEMA_VALIDATION_FAILED");
    assert_eq!(admin.get(&path(&size)).await.ok(200), size);
}

async fn requesters_see_limits_only(world: &World, admin: &Caller) {
    let find = |listed: Value, name: &str| {
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().find(|size| size["name"] == name).unwrap_or_default()
    };
    let offered = find(world.as_(User::Alice).get("/instance-sizes").await.ok(200), "burst");
    let whole = find(admin.get(SIZES).await.ok(200), "burst");
    assert_eq!(offered["cpu_cores"], 4);
    for hidden in [
        "cpu_request",
        "memory_request_mb",
        "cpu_overcommit_enabled",
        "memory_overcommit_enabled",
        "spec_overrides",
    ] {
        assert!(offered.get(hidden).is_none(), "{hidden}");
        assert!(whole.get(hidden).is_some(), "{hidden}");
    }
    assert_eq!(whole["cpu_overcommit_enabled"], true);
    let second = admin.get(&format!("{SIZES}?page=2&per_page=1")).await.ok(200);
    assert_eq!(second["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["pagination"]["page"], 2);
}

async fn a_change_is_judged_by_what_becomes_of_the_size(world: &World, admin: &Caller) {
    let body = json!({
        "name": "changed", "display_name": "Changed", "cpu_cores": 4, "memory_mb": 8192,
        "spec_overrides": {(DEDICATED): true},
    });
    let size = admin.post(SIZES, &body).await.ok(201);
    let path = path(&size);
    let refused = patch(admin, &path, &json!({"cpu_request": 1})).await;
    refused.refused(400, "DEDICATED_CPU_OVERCOMMIT_CONFLICT");
    let refused = patch(admin, &path, &json!({"min_disk_gb": 400})).await;
    assert!(wrong_fields(refused).contains(&"disk_gb OUT_OF_RANGE".to_owned()));
    let refused = patch(admin, &path, &json!({"name": "burst"})).await;
    refused.refused(409, "INSTANCE_SIZE_NAME_EXISTS");
    let refused = patch(admin, &path, &json!({"capabilities": []})).await;
    assert_eq!(refused.refused(400, "INVALID_REQUEST_FIELD")["field"], "capabilities");

    let stale = admin.request(Method::PATCH, &path).header("if-match", "\"7\"");
    let stale = send(stale.json(&json!({"sort_order": 1}))).await;
    assert_eq!(stale.refused(412, "PRECONDITION_FAILED")["current_version"], 1);
    let fresh = admin.request(Method::PATCH, &path).header("if-match", "\"1\"");
    let loosened = json!({"display_name": null, "spec_overrides": null, "cpu_request": 1});
    let fresh = send(fresh.json(&loosened)).await;
    assert_eq!(fresh.header("etag"), "\"2\"");
    let changed = fresh.ok(200);
    assert!(changed.get("display_name").is_none(), "{changed}");
    assert_eq!(
        (&changed["dedicated_cpu"], &changed["spec_overrides"]),
        (&json!(false), &json!({}))
    );
    assert_eq!(
        (&changed["cpu_request"], &changed["cpu_overcommit_enabled"]),
        (&json!(1), &json!(true))
    );
    let equal = patch(admin, &path, &json!({"cpu_request": null})).await.ok(200);
    assert!(equal.get("cpu_request").is_none(), "{equal}");

    let id = text(&size["id"]);
    let query = format!(
        "SELECT action || ' ' || coalesce(params ->> 'cpu_request', '-') FROM audit_logs \
         WHERE resource_type = 'instance_size' AND resource_id = '{id}' ORDER BY seq"
    );
    let audited = world.home.texts(&query).await;
    assert_eq!(audited.len(), 3, "refused changes leave no row: {audited:?}");
    assert_eq!(audited[1], r#"instance_size.update {"new": 1, "old": null}"#);
    assert_eq!(audited[2], r#"instance_size.update {"new": null, "old": 1}"#);
}

async fn two_who_change_at_once_both_do(admin: &Caller) {
    let path = path(&plain(admin, "shared").await);
    for round in 1..=5 {
        let (place, text) = (
            json!({"sort_order": round}),
            json!({"description": format!("round {round}")}),
        );
        let (first, second) = join(patch(admin, &path, &place), patch(admin, &path, &text)).await;
        first.ok(200);
        second.ok(200);
        let size = admin.get(&path).await.ok(200);
        assert_eq!(
            (&size["sort_order"], &size["description"]),
            (&place["sort_order"], &text["description"])
        );
    }
}

async fn a_retired_size_takes_no_requests(world: &World, admin: &Caller) {
    let size = plain(admin, "retired").await;
    let mut wanted = world.vm_body("dev");
    wanted["instance_size_id"] = size["id"].clone();
    let retired = patch(admin, &path(&size), &json!({"enabled": false, "sort_order": 9})).await;
    assert_eq!(retired.ok(200)["enabled"], false);
    let alice = world.as_(User::Alice);
    alice.post("/vms", &wanted).await.refused(409, "INSTANCE_SIZE_DISABLED");
    let listed = alice.get("/instance-sizes").await.text;
    assert!(!listed.contains("\"retired\""), "{listed}");
    let query =
        "SELECT params::text FROM audit_logs WHERE action = 'instance_size.deprecate' AND resource_name = 'retired'";
    let details = world.home.texts(query).await.pop().unwrap_or_default();
    assert!(
        details.contains("enabled") && details.contains("sort_order"),
        "{details}"
    );
}

async fn what_an_open_ticket_refers_to_stays(world: &World, admin: &Caller) {
    let (alice, path) = (world.as_(User::Alice), format!("{SIZES}/{}", world.size("small")));
    let vm = world.running_vm("dev").await;
    let ticket = world.request_vm("dev").await;
    let refused = admin.delete(&path).await.refused(409, "INSTANCE_SIZE_IN_USE");
    assert_eq!(refused, json!({"reference_count": 1}));
    let cancel = format!("/approvals/{ticket}/cancel");
    alice.post(&cancel, &json!({})).await.ok(204);
    // The machine that has the size is none of its business.
    admin.delete(&path).await.ok(204);
    admin.delete(&path).await.refused(404, "INSTANCE_SIZE_NOT_FOUND");
    let machine = alice.get(&format!("/vms/{vm}")).await.ok(200);
    assert_eq!(machine["instance_size_id"], world.size("small"));
    let gone = alice.post("/vms", &world.vm_body("dev")).await;
    gone.refused(404, "INSTANCE_SIZE_NOT_FOUND");
}

async fn a_request_and_a_deletion_at_once_do_not_both_succeed(world: &World, admin: &Caller) {
    let alice = world.as_(User::Alice);
    for round in 0..5 {
        let size = plain(admin, &format!("contested-{round}")).await;
        let mut wanted = world.vm_body("dev");
        wanted["instance_size_id"] = size["id"].clone();
        let path = path(&size);
        let (request, deletion) = join(alice.post("/vms", &wanted), admin.delete(&path)).await;
        match (request.status, deletion.status) {
            (202, 409) => assert_eq!(deletion.code(), "INSTANCE_SIZE_IN_USE"),
            (404, 204) => assert_eq!(request.code(), "INSTANCE_SIZE_NOT_FOUND"),
            both => panic!("{both:?}: {} {}", request.text, deletion.text),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_tells_what_clusters_make_of_a_size_and_stores_nothing() {
    let world = World::start().await;
    let admin = world.as_(User::Admin);
    a_size_is_tried_on_the_preview_cluster_and_on_another(&world, &admin).await;
    a_change_is_tried(&world, &admin).await;
    a_dry_run_refuses_what_the_write_would(&admin).await;
    what_a_cluster_says_is_told(&world, &admin).await;
}

fn body() -> Value {
    json!({"name": "tried", "cpu_cores": 3, "memory_mb": 3072, "spec_overrides": {(DEDICATED): true}})
}

async fn cluster(world: &World, name: &str) -> String {
    let query = format!("SELECT id::text FROM clusters WHERE name = '{name}'");
    world.home.texts(&query).await.pop().expect("the cluster is registered")
}

fn names(clusters: &Value) -> Vec<String> {
    let clusters = clusters.as_array().cloned().unwrap_or_default();
    clusters.iter().map(|cluster| text(&cluster["name"])).collect()
}

async fn a_size_is_tried_on_the_preview_cluster_and_on_another(world: &World, admin: &Caller) {
    let audited = world.home.count("audit_logs").await;
    let trial = format!("{SIZES}?dryRun=All");
    let request = admin
        .request(Method::POST, &trial)
        .header("idempotency-key", "tried-once");
    let tried = send(request.json(&body())).await.ok(200);
    assert_eq!(
        (&tried["valid"], &tried["errors"]),
        (&json!(true), &json!([])),
        "{tried}"
    );
    assert_eq!(names(&tried["compatible_clusters"]), ["prod-1", "test-1"]);
    let verdict = &tried["cluster_validation"];
    assert_eq!(text(&verdict["cluster_id"]), cluster(world, "test-1").await);
    assert_eq!(
        (&verdict["result"], verdict["kubevirt_version"].is_string()),
        (&json!("valid"), true)
    );
    let rendered = text(&tried["rendered_yaml"]);
    assert!(
        rendered.contains("kind: VirtualMachine") && rendered.contains("dedicatedCpuPlacement: true"),
        "{rendered}"
    );

    let prod = cluster(world, "prod-1").await;
    let elsewhere = admin
        .post(&format!("{trial}&targetCluster={prod}"), &body())
        .await
        .ok(200);
    assert_eq!(text(&elsewhere["cluster_validation"]["cluster_id"]), prod);
    let rare = json!({
        "name": "rare", "cpu_cores": 2, "memory_mb": 2048,
        "gpu_devices": [{"name": "gpu1", "device_name": "example.com/NOBODY-HAS-IT"}],
    });
    let rare = admin.post(&trial, &rare).await.ok(200);
    assert_eq!(rare["compatible_clusters"], json!([]));
    assert_eq!(rare["cluster_validation"], json!({"result": "skipped"}));

    assert_eq!(
        world.home.count("instance_sizes WHERE name IN ('tried', 'rare')").await,
        0
    );
    assert_eq!(world.home.count("audit_logs").await, audited);
    let request = admin
        .request(Method::POST, SIZES)
        .header("idempotency-key", "tried-once");
    let made = send(request.json(&body())).await;
    assert_eq!(made.header("idempotency-replayed"), "", "a dry run uses up no key");
    made.ok(201);
}

async fn a_change_is_tried(world: &World, admin: &Caller) {
    let size = plain(admin, "stays").await;
    let trial = format!("{}?dryRun=All", path(&size));
    let tried = patch(admin, &trial, &json!({"name": "moves", "memory_mb": 5120})).await;
    assert_eq!(tried.header("etag"), "", "a dry run has no version");
    let tried = tried.ok(200);
    assert_eq!(tried["valid"], true, "{tried}");
    assert!(
        text(&tried["rendered_yaml"]).contains("5120Mi") || text(&tried["rendered_yaml"]).contains("5Gi"),
        "{tried}"
    );
    assert_eq!(admin.get(&path(&size)).await.ok(200), size);
    let taken = patch(admin, &trial, &json!({"name": "small"})).await;
    taken.refused(409, "INSTANCE_SIZE_NAME_EXISTS");
    let stale = admin.request(Method::PATCH, &trial).header("if-match", "\"7\"");
    let stale = send(stale.json(&json!({"sort_order": 1}))).await;
    stale.refused(412, "PRECONDITION_FAILED");
    let missing = patch(
        admin,
        &format!("{SIZES}/{NOTHING}?dryRun=All"),
        &json!({"sort_order": 1}),
    )
    .await;
    missing.refused(404, "INSTANCE_SIZE_NOT_FOUND");
    let carol = patch(&world.as_(User::Carol), &trial, &json!({"sort_order": 1})).await;
    carol.refused(403, "FORBIDDEN");
}

async fn a_dry_run_refuses_what_the_write_would(admin: &Caller) {
    let trial = async |query: &str, body: &Value| admin.post(&format!("{SIZES}?{query}"), body).await;
    let fresh = json!({"name": "fresh", "cpu_cores": 2, "memory_mb": 2048});
    assert_eq!(
        wrong_fields(trial("dryRun=Client", &fresh).await),
        ["dryRun UNKNOWN_VALUE"]
    );
    let target = format!("targetCluster={NOTHING}");
    assert_eq!(wrong_fields(trial(&target, &fresh).await), ["dryRun REQUIRED"]);
    let wrong = trial(&format!("dryRun=All&{target}"), &fresh).await;
    assert_eq!(wrong_fields(wrong), ["targetCluster NOT_FOUND"]);
    let wrong = trial("dryRun=All&targetCluster=test-1", &fresh).await;
    assert_eq!(wrong_fields(wrong), ["targetCluster INVALID_FORMAT"]);
    let misspelt = json!({
        "name": "fresh", "cpu_cores": 2, "memory_mb": 2048,
        "spec_overrides": {"spec.template.spec.domain.cpu.dedicatedCpuPlacment": true},
    });
    trial("dryRun=All", &misspelt)
        .await
        .refused(400, "SCHEMA_VALIDATION_FAILED");
    let overcommitted = json!({"name": "fresh", "cpu_cores": 2, "memory_mb": 2048, "cpu_request": 3});
    trial("dryRun=All", &overcommitted)
        .await
        .refused(400, "OVERCOMMIT_INVALID");
    let taken = json!({"name": "small", "cpu_cores": 2, "memory_mb": 2048});
    trial("dryRun=All", &taken)
        .await
        .refused(409, "INSTANCE_SIZE_NAME_EXISTS");
}

async fn what_a_cluster_says_is_told(world: &World, admin: &Caller) {
    let fresh = json!({"name": "fresh", "cpu_cores": 2, "memory_mb": 2048});
    let target = cluster(world, "test-1").await;
    let trial = format!("{SIZES}?dryRun=All&targetCluster={target}");
    let faults = world.test.faults();
    let refusing = faults.inject(FaultRule::always(
        "PATCH",
        "/virtualmachines/",
        FaultEffect::status(422, "Invalid"),
    ));
    let rejected = admin.post(&trial, &fresh).await.ok(200);
    faults.revoke(refusing);
    assert_eq!(rejected["valid"], false);
    assert_eq!(rejected["errors"][0]["code"], "DRY_RUN_REJECTED");
    assert_eq!(rejected["errors"][0]["params"]["cluster"], "test-1");
    assert_eq!(rejected["cluster_validation"]["result"], "rejected");
    assert!(rejected["rendered_yaml"].is_string());

    let silent = faults.inject(FaultRule::always(
        "PATCH",
        "/virtualmachines/",
        FaultEffect::DropConnection,
    ));
    let unreachable = admin.post(&trial, &fresh).await.ok(200);
    faults.revoke(silent);
    assert_eq!(
        (&unreachable["valid"], &unreachable["errors"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(unreachable["cluster_validation"]["result"], "unreachable");
    assert_eq!(world.home.count("instance_sizes WHERE name = 'fresh'").await, 0);
}
