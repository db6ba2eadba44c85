//! Machines that carry the platform's labels and have no row: found by a scan, adopted one at a time or left alone.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::client::Caller;
use crate::server::{ALL_ROLES, PATIENCE, eventually};
use crate::world::{User, World, text};

const PREFIX: &str = "kubevirt-shepherd.io";
const PATH: &str = "/admin/pending-adoptions";
/// How often two administrators want the same machine.
const RACES: u32 = 100;

/// A machine of Alice's Service that stands still on the cluster of test, as the platform would have labelled it.
fn lost(name: &str, instance: &str) -> Value {
    let labels = json!({
        format!("{PREFIX}/managed-by"): "kubevirt-shepherd", format!("{PREFIX}/system"): "shop",
        format!("{PREFIX}/service"): "web", format!("{PREFIX}/instance"): instance,
    });
    json!({
        "metadata": {"name": name, "namespace": "dev", "labels": labels},
        "spec": {
            "runStrategy": "Halted",
            "template": {"spec": {"domain": {"cpu": {"cores": 2}, "memory": {"guest": "3Gi"}, "devices": {}}}},
        },
        "status": {"printableStatus": "Stopped"},
    })
}

fn put(world: &World, object: Value) {
    let name = text(&object["metadata"]["name"]);
    world.test.cluster().freeze("dev", &name);
    assert!(world.test.cluster().put("VirtualMachine", object));
}

fn name_of(instance: &str) -> String {
    format!("dev-shop-web-{instance}")
}

/// Puts a machine on the cluster of test and lets it be found; answers the id of the adoption.
pub async fn found(world: &World, instance: &str) -> String {
    let name = name_of(instance);
    put(world, lost(&name, instance));
    scan(world).await;
    status_becomes(world, &name, "PENDING").await;
    id_of(world, &name).await
}

async fn scan(world: &World) {
    let scheduled = world.as_(User::Admin).post(&format!("{PATH}/scan"), &json!({})).await;
    assert_eq!(scheduled.ok(202), json!({"scheduled": 2}));
}

/// Asks for a scan and waits until it is over.
async fn scanned(world: &World) {
    scan(world).await;
    // A scan notes when it began, and its job is gone when it ended.
    let left = "adoption_scans WHERE requested_at > coalesce(scanned_at, '-infinity')";
    let jobs = "graphile_worker.jobs WHERE task_identifier = 'periodic_job' AND queue_name = 'periodic:adoption_scan'";
    eventually("the clusters are scanned", PATIENCE, async || {
        (world.home.count(left).await == 0 && world.home.count(jobs).await == 0).then_some(())
    })
    .await;
}

async fn status_becomes(world: &World, name: &str, status: &str) {
    eventually(&format!("{name} is {status}"), PATIENCE, async || {
        (status_of(world, name).await == status).then_some(())
    })
    .await;
}

async fn status_of(world: &World, name: &str) -> String {
    let query = format!("SELECT status FROM pending_adoptions WHERE resource_name = '{name}'");
    world.home.texts(&query).await.pop().unwrap_or_default()
}

async fn id_of(world: &World, name: &str) -> String {
    let query = format!("SELECT id::text FROM pending_adoptions WHERE resource_name = '{name}'");
    world.home.texts(&query).await.pop().expect("a candidate")
}

async fn adopt(admin: &Caller, id: &str) -> crate::client::Reply {
    admin.post(&format!("{PATH}/{id}/adopt"), &json!({})).await
}

/// Waits until rows follow both clusters, without which nothing is adopted.
async fn until_live(world: &World) {
    eventually("both watches are LIVE", PATIENCE, async || {
        (world.home.count("cluster_watches WHERE state = 'LIVE'").await == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_machine_is_found_adopted_and_followed_from_then_on() {
    let world = World::start().await;
    until_live(&world).await;
    only_what_can_be_adopted_is_offered(&world).await;
    let vm = it_becomes_a_machine_like_others(&world).await;
    every_trace_is_left(&world, &vm).await;
    it_follows_its_cluster(&world, &vm).await;
    numbers_go_on_after_it(&world).await;
    others_may_not(&world).await;
}

async fn only_what_can_be_adopted_is_offered(world: &World) {
    let labelled = |name: &str, label: &str, value: &str| {
        let mut object = lost(name, "08");
        object["metadata"]["labels"][format!("{PREFIX}/{label}")] = json!(value);
        object
    };
    put(world, lost(&name_of("07"), "07"));
    put(world, labelled("dev-foreign", "managed-by", "somebody-else"));
    put(world, labelled("dev-shop-nothing-08", "service", "nothing"));
    put(world, labelled("dev-shop-web-x", "instance", "x"));
    let mut unregistered = lost(&name_of("09"), "09");
    unregistered["metadata"]["namespace"] = json!("elsewhere");
    assert!(world.test.cluster().put("VirtualMachine", unregistered));
    scanned(world).await;
    let admin = world.as_(User::Admin);
    let listed = admin.get(PATH).await.ok(200);
    assert_eq!(listed["pagination"]["total"], 1, "{listed}");
    let shown = &listed["items"][0];
    let expected = [
        ("resource_name", "dev-shop-web-07"),
        ("namespace", "dev"),
        ("resource_type", "vm"),
        ("system", "shop"),
        ("service", "web"),
        ("instance", "07"),
        ("status", "PENDING"),
    ];
    for (field, value) in expected {
        assert_eq!(shown[field], value, "{field} of {shown}");
    }
    assert_eq!(shown["labels"][format!("{PREFIX}/instance")], "07");
    let ignored = admin.get(&format!("{PATH}?status=IGNORED")).await.ok(200);
    assert_eq!(ignored["pagination"]["total"], 0);
    let unknown = admin.get(&format!("{PATH}?status=LOST")).await;
    unknown.refused(400, "VALIDATION_FAILED");
}

async fn it_becomes_a_machine_like_others(world: &World) -> String {
    let admin = world.as_(User::Admin);
    let id = id_of(world, &name_of("07")).await;
    let vm = text(&adopt(&admin, &id).await.ok(200)["vm_id"]);
    let shown = admin.get(&format!("/vms/{vm}")).await.ok(200);
    let expected = json!({
        "name": "dev-shop-web-07", "instance": "07", "status": "STOPPED", "cluster_name": "test-1",
        "service_name": "web", "system_name": "shop", "namespace": "dev", "cpu_cores": 2, "memory_mb": 3072,
        "created_by": world.id(User::Admin),
    });
    for (field, value) in expected.as_object().into_iter().flatten() {
        assert_eq!(&shown[field], value, "{field} of {shown}");
    }
    assert!(shown.get("ticket_id").is_none(), "nobody asked for it");
    let listed = admin.get(&format!("{PATH}?status=ADOPTED")).await.ok(200);
    assert_eq!(listed["items"][0]["vm_id"], json!(vm));
    assert_eq!(listed["items"][0]["decided_by"], world.id(User::Admin));
    let again = adopt(&admin, &id).await.refused(409, "ADOPTION_NOT_PENDING");
    assert_eq!(again, json!({"status": "ADOPTED"}));
    vm
}

async fn every_trace_is_left(world: &World, vm: &str) {
    let revisions = format!(
        "SELECT revision, change_reason, changed_by, length(spec_snapshot) > 50 AS has_content \
         FROM vm_revisions WHERE vm_id = '{vm}'"
    );
    let expected = json!({
        "revision": 1, "change_reason": "adopted", "changed_by": world.id(User::Admin), "has_content": true,
    });
    assert_eq!(world.home.sql(&revisions).await, [expected]);
    let facts = format!("SELECT event_type || ' ' || status FROM domain_events WHERE aggregate_id = '{vm}'");
    assert_eq!(world.home.texts(&facts).await, ["VM_ADOPTED COMPLETED"]);
    let audited = format!("SELECT action || ' in ' || environment FROM audit_logs WHERE resource_id = '{vm}'");
    assert_eq!(world.home.texts(&audited).await, ["vm.adopt in test"]);
    let changes = world.test.cluster().mutations().into_keys();
    let changed: Vec<String> = changes.map(|(_, resource)| resource).collect();
    assert!(
        !changed.iter().any(|resource| resource.starts_with("virtualmachine")),
        "adoption changes no machine: {changed:?}"
    );
}

async fn it_follows_its_cluster(world: &World, vm: &str) {
    let running = json!({"printableStatus": "Running"});
    assert!(
        world
            .test
            .cluster()
            .put_status("VirtualMachine", "dev", &name_of("07"), running)
    );
    world.wait_for_vm_status(vm, "RUNNING").await;
    scanned(world).await;
    assert_eq!(status_of(world, &name_of("07")).await, "ADOPTED");
}

async fn numbers_go_on_after_it(world: &World) {
    let vm = world.running_vm("dev").await;
    let shown = world.as_(User::Alice).get(&format!("/vms/{vm}")).await.ok(200);
    assert_eq!(shown["instance"], "08");
}

async fn others_may_not(world: &World) {
    let id = id_of(world, &name_of("07")).await;
    adopt(&world.as_(User::Alice), &id).await.refused(403, "FORBIDDEN");
    let nothing = "01983f0e-0000-7000-8000-000000000000";
    adopt(&world.as_(User::Admin), nothing)
        .await
        .refused(404, "ADOPTION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ignored_stays_ignored_and_what_changed_is_not_adopted() {
    let world = World::start().await;
    until_live(&world).await;
    an_ignored_machine_is_left_alone(&world).await;
    a_machine_that_is_gone_expires_and_comes_back(&world).await;
    what_is_no_longer_as_it_was_found_is_refused(&world).await;
    a_row_named_by_an_annotation_is_taken_up(&world).await;
    a_list_that_fails_expires_nothing(&world).await;
}

async fn an_ignored_machine_is_left_alone(world: &World) {
    let admin = world.as_(User::Admin);
    let (name, id) = (name_of("30"), found(world, "30").await);
    let path = format!("{PATH}/{id}/ignore");
    assert_eq!(admin.post(&path, &json!({"reason": "a test"})).await.status, 204);
    scanned(world).await;
    assert_eq!(status_of(world, &name).await, "IGNORED");
    let refused = adopt(&admin, &id).await.refused(409, "ADOPTION_NOT_PENDING");
    assert_eq!(refused, json!({"status": "IGNORED"}));
    admin.post(&path, &json!({})).await.refused(409, "ADOPTION_NOT_PENDING");
    assert_eq!(admin.post(&path, &json!({"restore": true})).await.status, 204);
    assert_eq!(status_of(world, &name).await, "PENDING");
    let audited =
        format!("SELECT params ->> 'restored' FROM audit_logs WHERE resource_id = '{id}' ORDER BY performed_at, id");
    assert_eq!(world.home.texts(&audited).await, ["false", "true"]);
    // The decision was about one object, not about everything that will ever have its name.
    assert_eq!(admin.post(&path, &json!({})).await.status, 204);
    world.test.faults().lose_vm("dev", &name);
    put(world, lost(&name, "30"));
    scanned(world).await;
    assert_eq!(status_of(world, &name).await, "PENDING");
}

async fn a_machine_that_is_gone_expires_and_comes_back(world: &World) {
    let (name, id) = (name_of("31"), found(world, "31").await);
    world.test.faults().lose_vm("dev", &name);
    scanned(world).await;
    assert_eq!(status_of(world, &name).await, "EXPIRED");
    let refused = adopt(&world.as_(User::Admin), &id).await;
    assert_eq!(
        refused.refused(409, "ADOPTION_NOT_PENDING"),
        json!({"status": "EXPIRED"})
    );
    assert_eq!(found(world, "31").await, id);
}

async fn what_is_no_longer_as_it_was_found_is_refused(world: &World) {
    let id = found(world, "32").await;
    let name = name_of("32");
    let refused = async |reason: &str| {
        let refused = adopt(&world.as_(User::Admin), &id).await;
        assert_eq!(refused.refused(409, "ADOPTION_NOT_POSSIBLE"), json!({"reason": reason}));
    };
    let original = world
        .test
        .cluster()
        .get("VirtualMachine", "dev", &name)
        .expect("the machine");
    let changed = |key: &str, value: &str| {
        let mut object = original.clone();
        object["metadata"]["labels"][format!("{PREFIX}/{key}")] = json!(value);
        put(world, object);
    };
    changed("instance", "33");
    refused("labels_changed").await;
    changed("managed-by", "somebody-else");
    refused("not_managed").await;
    let mut annotated = original.clone();
    annotated["metadata"]["annotations"] = json!({format!("{PREFIX}/vm-id"): "row 7"});
    put(world, annotated);
    refused("vm_id_invalid").await;
    world.test.faults().lose_vm("dev", &name);
    refused("object_missing").await;
    put(world, lost(&name, "32"));
    refused("object_replaced").await;
    assert_eq!(world.home.count("vms").await, 0);
    assert_eq!(world.home.count("audit_logs WHERE action = 'vm.adopt'").await, 0);
    assert_eq!(status_of(world, &name).await, "PENDING");
}

/// A row that was lost with a database keeps its id, which its object remembers.
async fn a_row_named_by_an_annotation_is_taken_up(world: &World) {
    let row = "01983f0e-0000-7000-8000-0000000000aa";
    let annotated = |instance: &str| {
        let mut object = lost(&name_of(instance), instance);
        object["metadata"]["annotations"] = json!({format!("{PREFIX}/vm-id"): row});
        object
    };
    put(world, annotated("34"));
    scanned(world).await;
    let id = id_of(world, &name_of("34")).await;
    let adopted = adopt(&world.as_(User::Admin), &id).await.ok(200);
    assert_eq!(adopted, json!({"vm_id": row}));
    // A copy of the object is no machine of its own.
    put(world, annotated("35"));
    scanned(world).await;
    assert_eq!(status_of(world, &name_of("35")).await, "");
}

async fn a_list_that_fails_expires_nothing(world: &World) {
    use shepherd_simulator::{FaultEffect, FaultRule};
    let name = name_of("30");
    assert_eq!(status_of(world, &name).await, "PENDING");
    world.test.faults().lose_vm("dev", &name);
    let list = "/apis/kubevirt.io/v1/virtualmachines";
    let fault = FaultRule::always("GET", list, FaultEffect::status(403, "Forbidden"));
    let fault = world.test.faults().inject(fault);
    scanned(world).await;
    assert_eq!(status_of(world, &name).await, "PENDING");
    world.test.faults().revoke(fault);
    scanned(world).await;
    assert_eq!(status_of(world, &name).await, "EXPIRED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_adopt_the_same_machine_one_does() {
    let plenty = [("K8S_QPS", "5000".to_owned()), ("K8S_BURST", "5000".to_owned())];
    let world = World::with(ALL_ROLES, &plenty).await;
    until_live(&world).await;
    let instances: Vec<String> = (1..=RACES).map(|number| format!("{number:02}")).collect();
    for instance in &instances {
        put(&world, lost(&name_of(instance), instance));
    }
    scanned(&world).await;
    let admin = world.as_(User::Admin);
    let (world, admin) = (&world, &admin);
    for instances in instances.chunks(5) {
        let races = instances.iter().map(|instance| async move {
            let id = id_of(world, &name_of(instance)).await;
            let replies = join_all([adopt(admin, &id), adopt(admin, &id), adopt(admin, &id)]).await;
            let adopted = replies.iter().filter(|reply| reply.status == 200).count();
            assert_eq!(adopted, 1, "{instance}: {replies:?}");
            for reply in replies.into_iter().filter(|reply| reply.status != 200) {
                assert_eq!(reply.refused(409, "ADOPTION_NOT_PENDING"), json!({"status": "ADOPTED"}));
            }
        });
        join_all(races).await;
    }
    let races = i64::from(RACES);
    for rows in [
        "vms",
        "vm_revisions",
        "pending_adoptions WHERE status = 'ADOPTED'",
        "audit_logs WHERE action = 'vm.adopt'",
        "domain_events WHERE event_type = 'VM_ADOPTED'",
    ] {
        assert_eq!(world.home.count(rows).await, races, "{rows}");
    }
    let next = "SELECT next_instance_index::text FROM services WHERE name = 'web'";
    assert_eq!(world.home.texts(next).await, [(RACES + 1).to_string()]);
}
