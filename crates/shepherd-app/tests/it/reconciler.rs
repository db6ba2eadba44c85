//! Rows without object and objects without row: reported apart, marked when asked for, and never believed when too
//! many are missing.

use serde_json::{Value, json};
use shepherd_simulator::{FaultEffect, FaultRule};

use crate::server::{PATIENCE, eventually};
use crate::world::{User, World, text};

const PREFIX: &str = "kubevirt-shepherd.io";
const RUNS: &str = "/admin/reconciler/runs";
/// Rows and objects of the cluster of test.
const MACHINES: u32 = 10;
/// A list of this many objects has two pages.
const TWO_PAGES: u32 = 501;

fn name(machine: u32) -> String {
    format!("dev-fleet-{machine}")
}

/// Rows that are old enough to be looked for.
async fn rows(world: &World) {
    let sql = format!(
        "INSERT INTO vms (id, service_id, name, hostname, instance_index, instance, namespace, cluster_id, status, \
             created_by, created_at) \
         SELECT ('00000001-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, '{}', 'dev-fleet-' || n, \
             'dev-fleet-' || n, 1000 + n, (1000 + n)::text, 'dev', c.id, 'UNKNOWN', 'system:test', \
             now() - interval '1 hour' \
         FROM generate_series(1, {MACHINES}) AS n, clusters c WHERE c.name = 'test-1' RETURNING name",
        world.service
    );
    assert_eq!(world.home.texts(&sql).await.len(), 10);
}

fn put(world: &World, name: &str, extra: Value) {
    let mut metadata = json!({
        "name": name, "namespace": "dev", "labels": {format!("{PREFIX}/managed-by"): "kubevirt-shepherd"},
    });
    for (key, value) in extra.as_object().into_iter().flatten() {
        metadata[key] = value.clone();
    }
    world.test.cluster().freeze("dev", name);
    let object = json!({
        "metadata": metadata, "spec": {"runStrategy": "Halted"}, "status": {"printableStatus": "Stopped"},
    });
    assert!(world.test.cluster().put("VirtualMachine", object));
}

fn object(world: &World, machine: u32) {
    let id = format!("00000001-0000-7000-8000-{machine:012x}");
    let annotations = json!({"annotations": {format!("{PREFIX}/vm-id"): id}});
    put(world, &name(machine), annotations);
}

/// Runs to the end; answers the run with what it found.
async fn run(world: &World, body: Value) -> Value {
    let admin = world.as_(User::Admin);
    let id = text(&admin.post(RUNS, &body).await.ok(202)["run_id"]);
    eventually("the run ends", PATIENCE, async || {
        let shown = admin.get(&format!("{RUNS}/{id}")).await.ok(200);
        (shown["status"] != "RUNNING").then_some(shown)
    })
    .await
}

async fn of_test(world: &World, mode: &str) -> Value {
    let cluster = world
        .home
        .texts("SELECT id::text FROM clusters WHERE name = 'test-1'")
        .await;
    run(world, json!({"mode": mode, "cluster_id": cluster[0]})).await
}

async fn marked(world: &World) -> Vec<String> {
    let query = "SELECT name FROM vms WHERE reconcile_mark = 'GHOST' AND marked_at IS NOT NULL ORDER BY instance_index";
    world.home.texts(query).await
}

fn names(findings: &Value) -> Vec<String> {
    let findings = findings.as_array().into_iter().flatten();
    let mut names: Vec<String> = findings.map(|finding| text(&finding["name"])).collect();
    names.sort();
    names
}

/// Waits until the rows follow the cluster.
async fn until_live(world: &World) {
    eventually("both watches are LIVE", PATIENCE, async || {
        (world.home.count("cluster_watches WHERE state = 'LIVE'").await == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_one_side_only_is_reported_and_marked_unless_too_much_is() {
    let world = World::start().await;
    until_live(&world).await;
    rows(&world).await;
    for machine in 1..=MACHINES / 2 {
        object(&world, machine);
    }
    half_of_the_rows_may_be_missing(&world).await;
    orphans_say_why(&world).await;
    marks_come_and_go(&world).await;
    more_than_half_halts(&world).await;
    a_list_that_fails_half_way_marks_nothing(&world).await;
    a_cluster_that_is_not_well_is_skipped(&world).await;
    what_is_asked_for_wrongly_is_refused(&world).await;
    the_command_prints_it(&world).await;
}

async fn half_of_the_rows_may_be_missing(world: &World) {
    let found = of_test(world, "dry-run").await;
    assert_eq!(found["status"], "COMPLETED", "{found}");
    assert_eq!(found["examined"], MACHINES);
    assert_eq!(found["ghost_count"], MACHINES / 2);
    let mut expected: Vec<String> = (MACHINES / 2 + 1..=MACHINES).map(name).collect();
    expected.sort();
    assert_eq!(names(&found["ghosts"]), expected);
    assert_eq!(found["orphans"], json!([]));
    assert_eq!(marked(world).await, Vec::<String>::new(), "a dry run marks nothing");
}

async fn orphans_say_why(world: &World) {
    let labels = |service: &str, instance: &str| {
        json!({"labels": {
            format!("{PREFIX}/managed-by"): "kubevirt-shepherd", format!("{PREFIX}/system"): "shop",
            format!("{PREFIX}/service"): service, format!("{PREFIX}/instance"): instance,
        }})
    };
    put(world, "dev-shop-nothing-01", labels("nothing", "01"));
    put(world, "dev-shop-web-1001", labels("web", "1001"));
    put(world, "dev-shop-web-42", labels("web", "42"));
    // Kubernetes looks at no annotation, and PostgreSQL keeps no NUL.
    let hostile = json!({"annotations": {format!("{PREFIX}/vm-id"): "a\u{0}b", format!("{PREFIX}/event-id"): "\u{0}"}});
    put(world, "dev-bare", hostile);
    put(world, "dev-foreign", json!({"labels": {"app": "shop"}}));
    let found = of_test(world, "dry-run").await;
    let orphans = found["orphans"].as_array().cloned().unwrap_or_default();
    let said: Vec<String> = orphans
        .iter()
        .map(|orphan| format!("{} {}", text(&orphan["name"]), text(&orphan["details"]["reason"])))
        .collect();
    let expected = [
        "dev-bare labels_incomplete",
        "dev-shop-nothing-01 service_not_found",
        "dev-shop-web-1001 instance_taken",
        "dev-shop-web-42 adoptable",
    ];
    assert_eq!(said, expected);
    let path = format!("{RUNS}/{}?kind=ORPHAN&per_page=3&page=2", text(&found["id"]));
    let page = world.as_(User::Admin).get(&path).await.ok(200);
    assert_eq!(names(&page["orphans"]), ["dev-shop-web-42"]);
    assert_eq!(page["orphans_pagination"]["total"], 4);
    assert!(page.get("ghosts").is_none(), "only orphans were asked for");
    for name in [
        "dev-shop-nothing-01",
        "dev-shop-web-1001",
        "dev-shop-web-42",
        "dev-bare",
    ] {
        assert!(
            world.test.cluster().get("VirtualMachine", "dev", name).is_some(),
            "{name}"
        );
    }
}

async fn marks_come_and_go(world: &World) {
    of_test(world, "mark").await;
    let ghosts: Vec<String> = (MACHINES / 2 + 1..=MACHINES).map(name).collect();
    assert_eq!(marked(world).await, ghosts);
    object(world, MACHINES);
    // Without its label it is in no list, and is no ghost all the same.
    put(world, &name(MACHINES - 1), json!({"labels": {"app": "shop"}}));
    of_test(world, "dry-run").await;
    assert_eq!(marked(world).await, ghosts, "a dry run takes no mark away");
    let found = of_test(world, "mark").await;
    let ghosts: Vec<String> = (MACHINES / 2 + 1..MACHINES - 1).map(name).collect();
    assert_eq!(names(&found["ghosts"]), ghosts);
    assert_eq!(marked(world).await, ghosts);
}

async fn more_than_half_halts(world: &World) {
    let before = marked(world).await;
    world.test.faults().lose_vm("dev", &name(MACHINES));
    world.test.faults().lose_vm("dev", &name(1));
    let alerts = "notifications WHERE type = 'SYSTEM_ALERT' AND params ->> 'code' = 'RECONCILER_HALTED'";
    assert_eq!(world.home.count(alerts).await, 0);
    let found = of_test(world, "mark").await;
    assert_eq!(found["status"], "HALTED", "{found}");
    assert_eq!(found["halted_cluster_ids"], json!([found["cluster_id"]]));
    assert_eq!((&found["ghost_count"], &found["ghosts"]), (&json!(0), &json!([])));
    assert_eq!(marked(world).await, before, "nothing changes on a halted cluster");
    assert_eq!(world.home.count(alerts).await, 1);
    let audited = "SELECT action_code || ' ' || (params ->> 'missing') || ' of ' || (params ->> 'examined') \
         FROM audit_logs WHERE action = 'reconciler.halt'";
    assert_eq!(world.home.texts(audited).await, ["SECURITY 6 of 10"]);
    object(world, 1);
    object(world, MACHINES - 1);
    object(world, MACHINES);
}

/// The first page comes late and the second one never.
async fn a_list_that_fails_half_way_marks_nothing(world: &World) {
    for number in 0..TWO_PAGES {
        put(world, &format!("dev-many-{number:03}"), json!({}));
    }
    let list = "/apis/kubevirt.io/v1/virtualmachines";
    let first = FaultRule::next(1, "GET", list, FaultEffect::Delay { milliseconds: 10 });
    let others = FaultRule::always("GET", list, FaultEffect::status(403, "Forbidden"));
    world.test.faults().inject(first);
    let others = world.test.faults().inject(others);
    let before = marked(world).await;
    let found = of_test(world, "mark").await;
    world.test.faults().revoke(others);
    assert_eq!(found["status"], "COMPLETED");
    assert_eq!(found["skipped"][0]["reason"], "LIST_FAILED", "{found}");
    assert_eq!((&found["examined"], &found["orphan_count"]), (&json!(0), &json!(0)));
    assert_eq!(marked(world).await, before);
    let whole = of_test(world, "mark").await;
    assert!(whole["orphan_count"].as_u64() > Some(u64::from(TWO_PAGES)), "{whole}");
    for number in 0..TWO_PAGES {
        world.test.cluster().lose("dev", &format!("dev-many-{number:03}"));
    }
}

async fn a_cluster_that_is_not_well_is_skipped(world: &World) {
    let everything = FaultRule::always("", "", FaultEffect::status(500, "InternalError"));
    let fault = world.prod.faults().inject(everything);
    eventually("the cluster of prod is not well", PATIENCE, async || {
        let sick = "clusters WHERE name = 'prod-1' AND status <> 'HEALTHY'";
        (world.home.count(sick).await == 1).then_some(())
    })
    .await;
    let found = run(world, json!({"mode": "dry-run"})).await;
    world.prod.faults().revoke(fault);
    assert_eq!(found["status"], "COMPLETED");
    assert_eq!(found["skipped"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found["skipped"][0]["cluster"], "prod-1");
    assert_eq!(found["skipped"][0]["reason"], "NOT_HEALTHY");
    assert_eq!(found["examined"], MACHINES);
    assert!(found.get("cluster_id").is_none());
}

async fn what_is_asked_for_wrongly_is_refused(world: &World) {
    let admin = world.as_(User::Admin);
    let refused = admin.post(RUNS, &json!({"mode": "delete"})).await;
    let refused = refused.refused(400, "RECONCILER_MODE_NOT_IMPLEMENTED");
    assert_eq!(refused, json!({"mode": "delete"}));
    let unknown = admin.post(RUNS, &json!({"mode": "yodel"})).await;
    unknown.refused(400, "VALIDATION_FAILED");
    let nothing = "01983f0e-0000-7000-8000-000000000000";
    let body = json!({"mode": "dry-run", "cluster_id": nothing});
    admin.post(RUNS, &body).await.refused(404, "CLUSTER_NOT_FOUND");
    let missing = admin.get(&format!("{RUNS}/{nothing}")).await;
    missing.refused(404, "RECONCILER_RUN_NOT_FOUND");
    let dry = json!({"mode": "dry-run"});
    world.as_(User::Alice).post(RUNS, &dry).await.refused(403, "FORBIDDEN");
    // A run that nobody ends excludes every other one for as long as it gives signs of life.
    let stuck = "INSERT INTO reconciler_runs (id, mode, started_by, heartbeat_at, claimed_at) \
         VALUES (gen_random_uuid(), 'dry-run', 'system:test', now(), now()) RETURNING id::text";
    let stuck = world.home.texts(stuck).await.pop().expect("a run");
    let refused = admin.post(RUNS, &dry).await.refused(409, "RECONCILER_ALREADY_RUNNING");
    assert_eq!(refused, json!({"run_id": stuck}));
    let silent = format!(
        "UPDATE reconciler_runs SET heartbeat_at = now() - interval '121 seconds' WHERE id = '{stuck}' RETURNING status"
    );
    world.home.texts(&silent).await;
    let found = run(world, dry).await;
    assert_eq!(found["status"], "COMPLETED");
    let dead = admin.get(&format!("{RUNS}/{stuck}")).await.ok(200);
    assert_eq!(dead["status"], "FAILED");
    let listed = admin.get(RUNS).await.ok(200);
    assert_eq!(listed["items"][0]["id"], found["id"], "newest first");
}

async fn the_command_prints_it(world: &World) {
    let (succeeded, said) = world.home.run(&["reconcile"], &[]).await;
    assert!(!succeeded && said.contains("--dry-run"), "{said}");
    let arguments = ["reconcile", "--dry-run", "--cluster", "test-1"];
    let (succeeded, said) = world.home.run(&arguments, &[]).await;
    assert!(!succeeded, "there are findings: {said}");
    let ghost = name(MACHINES / 2 + 1);
    for part in [
        "Ghosts",
        &ghost,
        "Orphans",
        "dev-bare",
        "labels_incomplete",
        "test-1",
        "compared",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let runs = "reconciler_runs WHERE started_by = 'system:cli' AND status = 'COMPLETED' AND mode = 'dry-run'";
    assert_eq!(world.home.count(runs).await, 1);
    let (succeeded, said) = world
        .home
        .run(&["reconcile", "--dry-run", "--cluster", "moon"], &[])
        .await;
    assert!(!succeeded && said.contains("CLUSTER_NOT_FOUND"), "{said}");
}
