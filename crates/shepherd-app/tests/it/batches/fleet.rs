//! Fifty machines at once, on a cluster that fails at random: what a batch says of each is true, and what can be put
//! right is put right by a retry.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shepherd_simulator::{FaultEffect, FaultRule};

use super::{
    BATCHES, POWER, about, children, counters, everything_adds_up, generous, of_children, shown, submit, wait_for_batch,
};
use crate::server::{ALL_ROLES, PATIENCE, eventually};
use crate::world::{User, World, text};

const MACHINES: usize = 50;
const PAUSE: Duration = Duration::from_millis(50);
/// The pattern of the others.
const FIRST: &str = "dev-shop-web-01";
/// Annotation: the row of a machine.
const ROW: &str = "kubevirt-shepherd.io/vm-id";
/// A bad run can be had again with its seed.
const SEEDS: [u64; 2] = [7, 1971];

/// Of one machine.
#[derive(Clone)]
struct Machine {
    id: String,
    name: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_machines_at_once_end_as_their_batch_says() {
    let mut env = generous();
    for (name, value) in [
        ("QUEUE_MAX_ATTEMPTS", "1"),
        ("K8S_QPS", "10000"),
        ("K8S_BURST", "10000"),
        // The cluster is as it should be but for single requests.
        ("K8S_BREAKER_FAILURES", "1000"),
    ] {
        env.push((name, value.to_owned()));
    }
    let world = World::with(ALL_ROLES, &env).await;
    let machines = fleet(&world).await;
    let stopped = a_batch_with_faults(&world, "STOP", &machines, SEEDS[0]).await;
    a_retry_puts_everything_right(&world, "STOP", &stopped, &machines).await;
    let started = a_batch_with_faults(&world, "START", &machines, SEEDS[1]).await;
    what_is_gone_stays_failed(&world, &started, &machines).await;
}

/// Machines that run: one that was made as all are, and copies of its row and of its object.
async fn fleet(world: &World) -> Vec<Machine> {
    let first = world.running_vm("dev").await;
    let copies = format!(
        "INSERT INTO vms SELECT (jsonb_populate_record(v, jsonb_build_object('id', gen_random_uuid(), \
             'status', 'CREATING', 'name', 'dev-shop-web-' || n, 'hostname', 'dev-shop-web-' || n, \
             'instance_index', n, 'instance', n::text, 'ticket_id', NULL, 'k8s_uid', NULL, 'observed_at', NULL, \
             'observed_resource_version', NULL, 'first_running_at', NULL))).* \
         FROM vms v, generate_series(1001, 1000 + {}) AS n RETURNING id::text || ' ' || name",
        MACHINES - 1
    );
    let mut machines = vec![Machine {
        id: first,
        name: FIRST.to_owned(),
    }];
    let pattern = world.test.cluster().get("VirtualMachine", "dev", FIRST);
    let pattern = pattern.expect("the machine has an object");
    for copy in world.home.texts(&copies).await {
        let (id, name) = copy.split_once(' ').expect("an id and a name");
        let object = copied(pattern.clone(), id, name);
        assert!(world.test.cluster().put("VirtualMachine", object));
        machines.push(Machine {
            id: id.to_owned(),
            name: name.to_owned(),
        });
    }
    assert_eq!(machines.len(), MACHINES);
    wait_until(world, "vms", "RUNNING", MACHINES).await;
    only_these_run(world, &machines.iter().map(|machine| machine.name.clone()).collect()).await;
    machines
}

fn copied(mut object: Value, id: &str, name: &str) -> Value {
    object.as_object_mut().expect("an object").remove("status");
    let metadata = &mut object["metadata"];
    metadata["name"] = json!(name);
    metadata["annotations"][ROW] = json!(id);
    for own in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        metadata.as_object_mut().expect("metadata").remove(own);
    }
    object
}

async fn wait_until(world: &World, table: &str, status: &str, expected: usize) {
    let from = format!("{table} WHERE status = '{status}'");
    let expected = i64::try_from(expected).expect("a small number");
    eventually(&format!("{expected} {table} are {status}"), PATIENCE, async || {
        (world.home.count(&from).await == expected).then_some(())
    })
    .await;
}

/// Waits until exactly these machines run on the cluster.
async fn only_these_run(world: &World, expected: &BTreeSet<String>) {
    let differ = || -> Vec<String> {
        let instances = world.test.cluster().list("VirtualMachineInstance", "dev");
        let runs = instances
            .iter()
            .filter(|instance| instance["status"]["phase"] == "Running");
        let running: BTreeSet<String> = runs.map(|instance| text(&instance["metadata"]["name"])).collect();
        running.symmetric_difference(expected).cloned().collect()
    };
    let deadline = Instant::now() + PATIENCE;
    while !differ().is_empty() {
        let lines = || {
            differ()
                .iter()
                .map(|name| requests_about(world, name))
                .collect::<String>()
        };
        assert!(
            Instant::now() < deadline,
            "other machines run than should:\n{}",
            lines()
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// What the cluster was asked about a machine.
fn requests_about(world: &World, name: &str) -> String {
    let about = format!("/{name}");
    let requests = world.test.cluster().requests();
    let of_it = requests.iter().filter(|request| request.path.contains(&about));
    let asked = of_it.map(|request| format!("  {} {} {}\n", request.method, request.path, request.status));
    format!("{name}\n{}", asked.collect::<String>())
}

/// Faults of the action on single machines: half of them are left alone, a tenth is refused until further notice.
fn disturb(world: &World, action: &str, machines: &[Machine], seed: u64) {
    let mut random = seed;
    for (index, machine) in machines.iter().enumerate() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let path = format!("/virtualmachines/{}/{action}", machine.name);
        let once = |effect| FaultRule::next(1, "PUT", &path, effect);
        let rule = match (random >> 33) % 8 {
            _ if index % 10 == 3 => FaultRule::always("PUT", &path, FaultEffect::status(403, "Forbidden")),
            0 | 1 => once(FaultEffect::status(500, "InternalError")),
            2 => once(FaultEffect::DropConnection),
            3 => once(FaultEffect::Delay { milliseconds: 200 }),
            _ => continue,
        };
        world.test.faults().inject(rule);
    }
}

/// Answers the batch, which is carried out in part: exactly the machines of its successful children are as they should
/// be.
async fn a_batch_with_faults(world: &World, operation: &str, machines: &[Machine], seed: u64) -> String {
    disturb(world, &operation.to_lowercase(), machines, seed);
    let ids: Vec<&str> = machines.iter().map(|machine| machine.id.as_str()).collect();
    let batch = submit(&world.as_(User::Alice), POWER, &about(operation, &ids)).await;
    let seen = wait_for_batch(world, &batch, "PARTIAL_SUCCESS").await;
    let done = names_of(&seen, "COMPLETED");
    let failed = names_of(&seen, "FAILED");
    assert_eq!(of_children(&seen, "resource_id"), ids, "the order of the request");
    assert_eq!(done.len() + failed.len(), MACHINES);
    assert!(
        failed.len() >= MACHINES / 10,
        "{operation} with seed {seed}: {failed:?}"
    );
    assert_eq!(counters(&seen), [count(&done), count(&failed), 0, 0, 0]);
    only_these_run(world, if operation == "STOP" { &failed } else { &done }).await;
    everything_adds_up(world).await;
    assert_eq!(facts_about(world, &batch).await, 1);
    batch
}

fn names_of(seen: &Value, status: &str) -> BTreeSet<String> {
    let children = children(seen);
    let found = children.iter().filter(|child| child["status"] == status);
    found.map(|child| text(&child["resource_name"])).collect()
}

/// The machines of what failed, and why.
async fn failures(world: &World, batch: &str) -> Vec<String> {
    let reasons = format!(
        "SELECT concat_ws(' ', t.vm_id, v.name, t.error_code, t.error_params, t.last_error) FROM approval_tickets t \
         LEFT JOIN vms v ON v.id = t.vm_id WHERE t.parent_ticket_id = '{batch}' AND t.status = 'FAILED'"
    );
    world.home.texts(&reasons).await
}

fn count(names: &BTreeSet<String>) -> i64 {
    i64::try_from(names.len()).expect("a small number")
}

/// How often the batch ended.
async fn facts_about(world: &World, batch: &str) -> i64 {
    let facts = format!(
        "domain_events WHERE aggregate_id = '{batch}' AND event_type IN ('BATCH_POWER_COMPLETED', 'BATCH_POWER_FAILED')"
    );
    world.home.count(&facts).await
}

async fn retry(world: &World, batch: &str) -> Value {
    let path = format!("{BATCHES}/{batch}/retry");
    world.as_(User::Alice).post(&path, &json!({})).await.ok(200)
}

async fn no_letters_but(world: &World, expected: i64) {
    let listed = world.as_(User::Admin).get("/admin/dead-letters").await.ok(200);
    assert_eq!(listed["pagination"]["total"], expected, "{listed}");
}

async fn a_retry_puts_everything_right(world: &World, operation: &str, batch: &str, machines: &[Machine]) {
    world.test.faults().clear();
    let failed = names_of(&shown(world, batch).await, "FAILED");
    let answer = retry(world, batch).await;
    assert_eq!(answer["affected_count"], count(&failed), "{operation}");
    let seen = wait_for_batch(world, batch, "COMPLETED").await;
    assert_eq!(counters(&seen)[0], count(&names_of(&seen, "COMPLETED")));
    only_these_run(world, &BTreeSet::new()).await;
    wait_until(world, "vms", "STOPPED", machines.len()).await;
    everything_adds_up(world).await;
    no_letters_but(world, 0).await;
    let retried = format!("ticket_transitions WHERE ticket_id = '{batch}' AND reason = 'batch_retry'");
    assert_eq!(world.home.count(&retried).await, 1);
    world.wait_for_queue().await;
}

/// One of the failed machines vanishes from the books; the others are put right.
async fn what_is_gone_stays_failed(world: &World, batch: &str, machines: &[Machine]) {
    world.test.faults().clear();
    let failed = names_of(&shown(world, batch).await, "FAILED");
    let gone = machines
        .iter()
        .find(|machine| machine.name != FIRST && failed.contains(&machine.name))
        .expect("a copy failed");
    let forget = format!("DELETE FROM vms WHERE id = '{}' RETURNING name", gone.id);
    assert_eq!(world.home.texts(&forget).await, [gone.name.as_str()]);
    let answer = retry(world, batch).await;
    assert_eq!(answer["affected_count"], count(&failed) - 1);
    let seen = wait_for_batch(world, batch, "PARTIAL_SUCCESS").await;
    let done = count(&names_of(&seen, "COMPLETED"));
    let expected = i64::try_from(MACHINES).expect("a small number");
    assert_eq!(done + 1, expected, "{:?}", failures(world, batch).await);
    assert_eq!(counters(&seen), [done, 1, 0, 0, 0]);
    let all = machines.iter().map(|machine| machine.name.clone());
    only_these_run(world, &all.filter(|name| *name != gone.name).collect()).await;
    everything_adds_up(world).await;
    let letters = format!(
        "graphile_worker._private_jobs WHERE attempts >= max_attempts AND payload ->> 'event_id' <> \
         (SELECT event_id::text FROM approval_tickets WHERE parent_ticket_id = '{batch}' AND status = 'FAILED')"
    );
    assert_eq!(world.home.count(&letters).await, 0, "letters beside what was retried");
    assert_eq!(retry(world, batch).await["affected_count"], 0);
}
