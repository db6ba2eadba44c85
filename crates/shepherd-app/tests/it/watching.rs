//! Rows follow their clusters: through lost processes, expired versions, faults, and changes of the clusters
//! themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use shepherd_simulator::Chaos;

use crate::server::{ALL_ROLES, PATIENCE, eventually};
use crate::world::World;

/// Machines whose rows and objects a test makes by itself.
const MACHINES: u32 = 40;
/// How soon another replica has to follow a cluster whose replica was killed. The lease runs out after 15 s.
const TAKE_OVER: Duration = Duration::from_secs(60);
/// Time for trouble, again and again until there was enough of it.
const TROUBLE: Duration = Duration::from_secs(4);
const ENOUGH: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_projecting_replica_is_killed_another_one_takes_over() {
    let mut world = World::start().await;
    make_machines(&world).await;
    follows(&world, PATIENCE).await;
    let generation = generation(&world).await;

    let second = world.start_replica(ALL_ROLES, &[]).await;
    let first = std::mem::replace(&mut world.server, second);
    first.kill().await;
    // Nobody sees this happen.
    for machine in 1..=MACHINES / 2 {
        say(&world, machine, "Paused");
    }
    follows(&world, TAKE_OVER).await;
    assert!(
        self::generation(&world).await > generation,
        "the new holder fences the old one"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_follow_a_cluster_that_is_never_well() {
    let world = World::start().await;
    make_machines(&world).await;
    follows(&world, PATIENCE).await;
    state_becomes(&world, "LIVE").await;

    nothing_new_writes_nothing(&world).await;
    an_expired_version_is_rebuilt(&world).await;
    a_disabled_cluster_is_left_alone(&world).await;
    a_machine_without_its_label_is_not_missing(&world).await;

    let seed = 20_261_121;
    let mut chaos = Chaos::new(seed);
    while chaos.disturb(&[&world.test], TROUBLE).await <= ENOUGH {}
    follows(&world, PATIENCE).await;
    state_becomes(&world, "LIVE").await;

    world.test.faults().lose_vm("dev", &name(1));
    eventually("the lost machine is missed", PATIENCE, async || {
        (row(&world, 1).await == "UNKNOWN OBJECT_MISSING").then_some(())
    })
    .await;
}

/// A full list of machines about which nothing is new.
async fn nothing_new_writes_nothing(world: &World) {
    let places = "SELECT string_agg(xmin::text || ctid::text, ' ' ORDER BY id) FROM vms";
    let before = world.home.texts(places).await;
    an_expired_version_is_rebuilt(world).await;
    assert_eq!(world.home.texts(places).await, before);
}

async fn an_expired_version_is_rebuilt(world: &World) {
    // The state is over too soon to be looked for in the row.
    let rebuilt = || {
        let log = world.server.log_text();
        let told = log.lines().filter(|line| line.contains("the state of a watch changed"));
        told.filter(|line| line.contains("to=REBUILDING")).count()
    };
    let before = rebuilt();
    world.test.faults().expire_resource_versions();
    // Makes the watch notice.
    world.test.faults().drop_watches();
    eventually("the watch is set up anew", PATIENCE, async || {
        (rebuilt() > before).then_some(())
    })
    .await;
    state_becomes(world, "LIVE").await;
}

async fn a_disabled_cluster_is_left_alone(world: &World) {
    enable(world, false).await;
    state_becomes(world, "STARTING").await;
    say(world, 2, "Stopped");
    enable(world, true).await;
    state_becomes(world, "LIVE").await;
    follows(world, PATIENCE).await;
}

async fn a_machine_without_its_label_is_not_missing(world: &World) {
    label(world, 3, "somebody-else");
    // The watch tells what happens to another machine after what happened to this one.
    say(world, 4, "Stopped");
    follows(world, PATIENCE).await;
    label(world, 3, "kubevirt-shepherd");
    follows(world, PATIENCE).await;
}

fn label(world: &World, machine: u32, manager: &str) {
    let cluster = world.test.cluster();
    let found = cluster.get("VirtualMachine", "dev", &name(machine));
    let mut object = found.expect("a machine");
    object["metadata"]["labels"]["kubevirt-shepherd.io/managed-by"] = json!(manager);
    assert!(cluster.put("VirtualMachine", object));
}

async fn enable(world: &World, enabled: bool) {
    let sql = format!("UPDATE clusters SET enabled = {enabled} WHERE name = 'test-1' RETURNING name");
    assert_eq!(world.home.texts(&sql).await, ["test-1"]);
}

async fn state_becomes(world: &World, state: &str) {
    let sql = "SELECT w.state FROM cluster_watches w JOIN clusters c ON c.id = w.cluster_id WHERE c.name = 'test-1'";
    eventually(&format!("the watch is {state}"), PATIENCE, async || {
        (world.home.texts(sql).await == [state]).then_some(())
    })
    .await;
}

async fn generation(world: &World) -> i64 {
    let sql = "SELECT l.generation::text FROM leader_leases l JOIN clusters c ON l.name = 'watch:' || c.id \
               WHERE c.name = 'test-1'";
    let found = world.home.texts(sql).await;
    found.first().and_then(|text| text.parse().ok()).expect("a lease")
}

fn name(machine: u32) -> String {
    format!("dev-fleet-{machine}")
}

fn id(machine: u32) -> String {
    format!("00000001-0000-7000-8000-{machine:012x}")
}

/// Rows, and running machines that no controller touches.
async fn make_machines(world: &World) {
    let sql = format!(
        "INSERT INTO vms (id, service_id, name, hostname, instance_index, instance, namespace, cluster_id, status, \
             disk_gb, cpu_cores, memory_mb, created_by) \
         SELECT ('00000001-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, '{}', 'dev-fleet-' || n, \
             'dev-fleet-' || n, 1000 + n, (1000 + n)::text, 'dev', c.id, 'CREATING', 20, 2, 2048, 'system:test' \
         FROM generate_series(1, {MACHINES}) AS n, clusters c WHERE c.name = 'test-1' RETURNING name",
        world.service
    );
    assert_eq!(world.home.texts(&sql).await.len(), MACHINES as usize);
    for machine in 1..=MACHINES {
        let name = name(machine);
        world.test.cluster().freeze("dev", &name);
        let object = json!({
            "metadata": {
                "name": name, "namespace": "dev",
                "labels": {"kubevirt-shepherd.io/managed-by": "kubevirt-shepherd"},
                "annotations": {"kubevirt-shepherd.io/vm-id": id(machine)},
            },
            "spec": {"runStrategy": "Always"},
            "status": {"printableStatus": "Running"},
        });
        assert!(world.test.cluster().put("VirtualMachine", object));
    }
}

fn say(world: &World, machine: u32, printable: &str) {
    let status = json!({"printableStatus": printable});
    let known = world
        .test
        .cluster()
        .put_status("VirtualMachine", "dev", &name(machine), status);
    assert!(known);
}

/// Status and reason of a row.
async fn row(world: &World, machine: u32) -> String {
    let sql = format!(
        "SELECT status || ' ' || coalesce(status_reason, '-') FROM vms WHERE id = '{}'",
        id(machine)
    );
    world.home.texts(&sql).await.pop().expect("a row")
}

/// Waits until every row says what its machine does.
async fn follows(world: &World, limit: Duration) {
    let rows = "SELECT name, status, status_reason AS reason, first_running_at IS NOT NULL AS has_run FROM vms \
                WHERE name LIKE 'dev-fleet-%'";
    eventually("every row says what its machine does", limit, async || {
        let found = world.home.sql(rows).await;
        let machines: BTreeMap<String, Value> = world
            .test
            .cluster()
            .list("VirtualMachine", "dev")
            .into_iter()
            .map(|machine| {
                let name = machine["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                (name, machine["status"]["printableStatus"].clone())
            })
            .collect();
        let equal = |row: &Value| {
            let printable = machines.get(row["name"].as_str().unwrap_or_default());
            let printable = printable.and_then(Value::as_str).unwrap_or_default();
            let (status, reason) = expected(printable, row["has_run"] == true);
            row["status"] == status && row["reason"] == json!(reason)
        };
        (found.len() == MACHINES as usize && found.iter().all(equal)).then_some(())
    })
    .await;
}

fn expected(printable: &str, has_run: bool) -> (&'static str, Option<&str>) {
    match printable {
        "Running" => ("RUNNING", None),
        "Stopped" => ("STOPPED", None),
        "Stopping" => ("STOPPING", None),
        "Paused" => ("PAUSED", None),
        "Migrating" => ("MIGRATING", None),
        "Starting" if has_run => ("PENDING", Some(printable)),
        "Starting" => ("CREATING", Some(printable)),
        "CrashLoopBackOff" | "ErrorUnschedulable" => ("FAILED", Some(printable)),
        other => ("UNKNOWN", Some(other)),
    }
}
