//! What machines are made of: schemas follow the clusters, and the catalogue follows the schemas.

use reqwest::Method;
use reqwest::header::{IF_NONE_MATCH, ORIGIN};
use serde_json::{Value, json};

use crate::client::{Caller, Reply, send};
use crate::server::{ALL_ROLES, PATIENCE, eventually};
use crate::world::{User, World, text};

const DEFINITION: &str = "virtualmachines.kubevirt.io";
const CPU_MODEL: &str = "spec.template.spec.domain.cpu.model";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_follow_the_clusters_and_the_catalogue_follows_the_schemas() {
    let retries = ("SCHEMA_FETCH_RETRIES", "1".to_owned());
    let world = World::with(ALL_ROLES, &[retries]).await;
    the_schema_of_the_clusters_is_served(&world).await;
    a_known_schema_is_not_sent_again(&world).await;
    versions_are_chosen(&world).await;
    the_mask_is_served(&world).await;
    let size = a_size_with(&world, "odd", CPU_MODEL).await.ok(201);
    another_schema_stands_in(&world).await;
    what_no_longer_fits_is_invalid(&world, &size).await;
}

async fn served(caller: &Caller, query: &str) -> Reply {
    let reply = caller.get(&format!("/schema{query}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

/// Version, fallback and status.
fn marks(reply: &Reply) -> (&str, &str, &str) {
    (
        reply.header("x-schema-version"),
        reply.header("x-schema-fallback"),
        reply.header("x-schema-status"),
    )
}

async fn the_schema_of_the_clusters_is_served(world: &World) {
    let carol = world.as_(User::Carol);
    let reply = eventually("the schema is there", PATIENCE, async || {
        let reply = served(&carol, "").await;
        (marks(&reply) == ("1.6", "false", "ready")).then_some(reply)
    })
    .await;
    let cores =
        "/properties/spec/properties/template/properties/spec/properties/domain/properties/cpu/properties/cores";
    assert_eq!(reply.body.pointer(cores), Some(&json!({"type": "integer"})));
    eventually("the catalogue was validated", PATIENCE, async || {
        (world
            .home
            .count("instance_sizes WHERE validation_status <> 'valid'")
            .await
            == 0)
            .then_some(())
    })
    .await;
    let stored = world
        .home
        .texts("SELECT minor_version || ' ' || source FROM kubevirt_schemas")
        .await;
    assert_eq!(stored, ["1.6 cluster"]);
    let asked = [&world.test, &world.prod].map(|cluster| {
        let requests = cluster.cluster().requests();
        requests
            .iter()
            .filter(|request| request.path.ends_with(DEFINITION))
            .count()
    });
    assert_eq!(
        asked.iter().sum::<usize>(),
        1,
        "two clusters of one version are asked once: {asked:?}"
    );
    let from_browser = carol
        .request(Method::GET, "/schema")
        .header(ORIGIN, "http://localhost:3000");
    let exposed = send(from_browser)
        .await
        .header("access-control-expose-headers")
        .to_lowercase();
    assert!(
        exposed.contains("x-schema-version") && exposed.contains("x-schema-status"),
        "{exposed}"
    );
    world.anonymous().get("/schema").await.refused(401, "UNAUTHORIZED");
}

async fn a_known_schema_is_not_sent_again(world: &World) {
    let carol = world.as_(User::Carol);
    let etag = served(&carol, "").await.header("etag").to_owned();
    let again = send(carol.request(Method::GET, "/schema").header(IF_NONE_MATCH, &etag)).await;
    assert_eq!(
        (again.status, again.text.as_str(), again.header("etag")),
        (304, "", etag.as_str())
    );
    assert_eq!(marks(&again), ("1.6", "false", "ready"));
    let other = send(carol.request(Method::GET, "/schema").header(IF_NONE_MATCH, "\"other\"")).await;
    assert_eq!(other.status, 200);
}

async fn versions_are_chosen(world: &World) {
    let carol = world.as_(User::Carol);
    for (version, wanted) in [
        ("1.6", ("1.6", "false", "ready")),
        ("v1.6.9", ("1.6", "false", "ready")),
        ("1.9", ("1.6", "true", "ready")),
        ("1.5", ("1.0", "true", "degraded")),
    ] {
        let reply = served(&carol, &format!("?kubevirt_version={version}")).await;
        assert_eq!(marks(&reply), wanted, "{version}");
    }
    let unknown = carol.get("/schema?kubevirt_version=0.59").await;
    assert_eq!(unknown.refused(404, "SCHEMA_NOT_AVAILABLE"), json!({"id": "0.59"}));
    for malformed in ["devel", "", "1"] {
        let reply = carol.get(&format!("/schema?kubevirt_version={malformed}")).await;
        assert_eq!((reply.status, reply.code()), (400, "VALIDATION_FAILED"), "{malformed}");
        assert_eq!(reply.body["field_errors"][0]["field"], "kubevirt_version");
    }
}

async fn the_mask_is_served(world: &World) {
    let mask = world.as_(User::Carol).get("/mask").await.ok(200);
    assert_eq!(mask["version"], 1);
    assert_eq!(mask["quick_fields"][0]["path"], "spec.template.spec.domain.cpu.cores");
    let advanced = mask["advanced_fields"].as_array().expect("fields");
    assert_eq!(advanced.len(), 3);
    assert!(advanced.iter().all(|field| field["display_name"].is_string()));
    world.anonymous().get("/mask").await.refused(401, "UNAUTHORIZED");
}

async fn a_size_with(world: &World, name: &str, path: &str) -> Reply {
    let body = json!({
        "name": name, "cpu_cores": 2, "memory_mb": 2048, "disk_gb": 20, "min_disk_gb": 10, "max_disk_gb": 100,
        "spec_overrides": {path: "host-model"},
    });
    world.as_(User::Admin).post("/admin/instance-sizes", &body).await
}

/// The cluster in test runs this version from now on.
fn upgrade(world: &World, version: &str) {
    let status = json!({"phase": "Deployed", "observedKubeVirtVersion": version});
    let cluster = world.test.cluster();
    assert!(cluster.put_status("KubeVirt", "kubevirt", "kubevirt", status));
}

async fn alerts(world: &World, code: &str) -> Vec<Value> {
    let query =
        format!("SELECT params FROM notifications WHERE type = 'SYSTEM_ALERT' AND params ->> 'code' = '{code}'");
    let rows = world.home.sql(&query).await;
    rows.into_iter().map(|mut row| row["params"].take()).collect()
}

async fn another_schema_stands_in(world: &World) {
    let carol = world.as_(User::Carol);
    world.test.faults().refuse("get", "customresourcedefinitions");
    upgrade(world, "v1.7.0");
    eventually("the schema of 1.6 stands in", PATIENCE, async || {
        (marks(&served(&carol, "").await) == ("1.6", "true", "updating")).then_some(())
    })
    .await;
    let missing = eventually("the administrators are told", PATIENCE, async || {
        alerts(world, "SCHEMA_FETCH_FAILED").await.pop()
    })
    .await;
    assert_eq!(
        (&missing["kubevirt_version"], &missing["cluster"]),
        (&json!("1.7"), &json!("test-1"))
    );
    let typo = a_size_with(world, "typo", "spec.template.spec.domain.cpu.modle").await;
    let params = typo.refused(400, "SCHEMA_VALIDATION_FAILED");
    assert_eq!(params["suggestion"], CPU_MODEL, "validation never degrades");
    let said = world.server.log_text();
    let told = said.matches("the schema of another KubeVirt version stands in").count();
    assert_eq!(told, 1, "the log is told once");
    assert_eq!(world.home.count("kubevirt_schemas").await, 1);
    world.test.faults().allow("get", "customresourcedefinitions");
}

async fn what_no_longer_fits_is_invalid(world: &World, size: &Value) {
    let admin = world.as_(User::Admin);
    let path = format!("/admin/instance-sizes/{}", text(&size["id"]));
    let etag = admin.get(&path).await.header("etag").to_owned();
    let cluster = world.test.cluster();
    let mut definition = cluster
        .get("CustomResourceDefinition", "", DEFINITION)
        .expect("the definition");
    let cpu = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/template/properties/spec/properties/domain/properties/cpu/properties";
    let properties = definition.pointer_mut(cpu).and_then(Value::as_object_mut).expect("cpu");
    properties.remove("model").expect("a model");
    assert!(cluster.put("CustomResourceDefinition", definition));
    upgrade(world, "v1.8.0");
    let carol = world.as_(User::Carol);
    eventually("the schema of 1.8 is there", PATIENCE, async || {
        (marks(&served(&carol, "").await) == ("1.8", "false", "ready")).then_some(())
    })
    .await;
    let reply = admin.get(&path).await;
    assert_eq!(reply.header("etag"), etag, "nobody changed the size");
    assert_eq!(reply.ok(200)["validation_status"], "invalid");
    let told = alerts(world, "CATALOGUE_INVALID").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["instance_sizes"], &told[0]["template_count"]),
        (&json!(["odd"]), &json!(0))
    );
    let versions = world
        .home
        .texts("SELECT minor_version FROM kubevirt_schemas ORDER BY fetched_at")
        .await;
    assert_eq!(versions, ["1.6", "1.8"]);
    let refused = a_size_with(world, "odder", CPU_MODEL)
        .await
        .refused(400, "SCHEMA_VALIDATION_FAILED");
    assert_eq!(
        (&refused["kubevirt_version"], &refused["path"]),
        (&json!("1.8"), &json!(CPU_MODEL))
    );
    let others = world
        .home
        .count("instance_sizes WHERE name <> 'odd' AND validation_status <> 'valid'")
        .await;
    assert_eq!(others, 0);
}
