//! The walk that the product exists for, from the request to the end of the machine, and every trace it leaves.

use serde_json::{Value, json};

use crate::world::{CARRIED_OUT, User, World, text};

const PREFIX: &str = "kubevirt-shepherd.io";
const FIRST: &str = "dev-shop-web-01";
const SECOND: &str = "dev-shop-web-02";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_requested_approved_run_and_deleted_and_every_step_leaves_its_trace() {
    let world = World::start().await;
    let first = world.request_vm("dev").await;
    nothing_happens_before_the_decision(&world, &first).await;
    let vm = carry_out(&world, &first).await;
    the_machine_is_what_was_asked_for(&world, &first, &vm).await;

    let second = world.request_vm("dev").await;
    let other = carry_out(&world, &second).await;
    let shown = world.as_(User::Alice).get(&format!("/vms/{other}")).await.ok(200);
    assert_eq!((&shown["name"], &shown["instance"]), (&json!(SECOND), &json!("02")));

    let deletion = world.request_deletion(&vm).await;
    let shown = world.as_(User::Alice).get(&format!("/vms/{vm}")).await.ok(200);
    assert_eq!(shown["status"], "RUNNING", "a request for deletion deletes nothing");
    world.approve(&deletion).await;
    world.wait_for_ticket(&deletion, "COMPLETED").await;
    the_machine_is_gone(&world, &vm).await;

    the_audit_log_tells_all(&world, [&first, &second, &deletion]).await;
    the_events_tell_all(&world).await;
    the_histories_name_who_did_what(&world, [&first, &second, &deletion]).await;
    everybody_was_told_once(&world).await;
}

async fn nothing_happens_before_the_decision(world: &World, ticket: &str) {
    assert_eq!(world.audit_of(ticket).await, ["vm.request"]);
    assert_eq!(world.transitions_of(ticket).await, ["SUBMITTED", "PENDING_APPROVAL"]);
    assert_eq!(world.event_status_of(ticket).await, "PENDING");
    assert_eq!(world.home.count("vms").await, 0);
    assert_eq!(
        world
            .home
            .count("graphile_worker.jobs WHERE task_identifier = 'event_job'")
            .await,
        0
    );
    assert_eq!(world.test.cluster().list("VirtualMachine", ""), Vec::<Value>::new());
}

async fn carry_out(world: &World, ticket: &str) -> String {
    world.approve(ticket).await;
    world.wait_for_ticket(ticket, "COMPLETED").await;
    let vm = world.vm_of(ticket).await;
    world.wait_for_vm_status(&vm, "RUNNING").await;
    vm
}

async fn the_machine_is_what_was_asked_for(world: &World, ticket: &str, vm: &str) {
    let shown = world.as_(User::Alice).get(&format!("/vms/{vm}")).await.ok(200);
    let expected = json!({
        "id": vm, "name": FIRST, "hostname": FIRST, "instance": "01", "namespace": "dev", "environment": "test",
        "cluster_name": "test-1", "system_name": "shop", "service_name": "web", "status": "RUNNING",
        "cpu_cores": 1, "memory_mb": 1024, "disk_gb": 20, "ticket_id": ticket, "created_by": world.id(User::Alice),
    });
    assert_contains(&shown, &expected);
    let revisions = format!("SELECT vm_name, revision, ticket_id FROM vm_revisions WHERE vm_id = '{vm}'");
    let expected = json!({"vm_name": FIRST, "revision": 1, "ticket_id": ticket});
    assert_eq!(world.home.sql(&revisions).await, [expected]);

    let object = world
        .test
        .cluster()
        .get("VirtualMachine", "dev", FIRST)
        .expect("the object should be on the cluster");
    let labels = json!({
        "managed-by": "kubevirt-shepherd", "system": "shop", "service": "web", "instance": "01",
        "ticket-id": world.ticket_column(ticket, "number").await, "created-by": world.id(User::Alice),
        "hostname": FIRST,
    });
    assert_contains(&object["metadata"]["labels"], &prefixed(&labels));
    assert_contains(&object["spec"]["template"]["metadata"]["labels"], &prefixed(&labels));
    let annotations = json!({"event-id": world.event_of(ticket).await, "vm-id": vm, "revision": "1"});
    assert_contains(&object["metadata"]["annotations"], &prefixed(&annotations));
    let namespace = world
        .test
        .cluster()
        .get("Namespace", "", "dev")
        .expect("the namespace should be on the cluster");
    let labels = json!({"managed-by": "kubevirt-shepherd", "environment": "test"});
    assert_contains(&namespace["metadata"]["labels"], &prefixed(&labels));
    let annotations = json!({"event-id": world.event_of(ticket).await});
    assert_contains(&namespace["metadata"]["annotations"], &prefixed(&annotations));
    assert_eq!(world.prod.cluster().list("VirtualMachine", ""), Vec::<Value>::new());
}

async fn the_machine_is_gone(world: &World, vm: &str) {
    let reply = world.as_(User::Alice).get(&format!("/vms/{vm}")).await;
    assert_eq!(reply.refused(404, "VM_NOT_FOUND"), json!({"id": vm}));
    assert_eq!(world.home.count(&format!("vms WHERE id = '{vm}'")).await, 0);
    assert_eq!(world.test.cluster().get("VirtualMachine", "dev", FIRST), None);
    assert!(world.test.cluster().get("VirtualMachine", "dev", SECOND).is_some());
    let revisions = format!("vm_revisions WHERE vm_id = '{vm}'");
    assert_eq!(
        world.home.count(&revisions).await,
        1,
        "the history outlives the machine"
    );
}

async fn the_audit_log_tells_all(world: &World, [first, second, deletion]: [&String; 3]) {
    let created = [
        "vm.request by alice",
        "approval.approve by bob",
        "vm.execution_started by system:worker",
        "vm.create by system:worker",
    ];
    let deleted = [
        "vm.delete_submitted by alice",
        "approval.approve by bob",
        "vm.delete_approved by bob",
        "vm.execution_started by system:worker",
        "vm.delete_executed by system:worker",
    ];
    let said = format!(
        "SELECT action || ' by ' || CASE performed_by WHEN '{}' THEN 'alice' WHEN '{}' THEN 'bob' ELSE performed_by END \
         FROM audit_logs",
        world.id(User::Alice),
        world.id(User::Bob)
    );
    let since = "performed_at >= (SELECT min(performed_at) FROM audit_logs WHERE action = 'vm.request')";
    let all = world
        .home
        .texts(&format!("{said} WHERE {since} ORDER BY performed_at, id"))
        .await;
    assert_eq!(all, [&created[..], &created[..], &deleted[..]].concat());
    for (ticket, expected) in [(first, &created[..]), (second, &created[..]), (deletion, &deleted[..])] {
        let query = format!("{said} WHERE ticket_id = '{ticket}' ORDER BY performed_at, id");
        assert_eq!(world.home.texts(&query).await, expected);
    }

    let path = format!("/audit-logs?ticket_id={deletion}");
    let listed = world.as_(User::Admin).get(&path).await.ok(200);
    let newest_first: Vec<String> = items(&listed).iter().map(|row| text(&row["action"])).collect();
    let mut expected = world.audit_of(deletion).await;
    expected.reverse();
    assert_eq!(newest_first, expected);
}

async fn the_events_tell_all(world: &World) {
    let since = "created_at >= (SELECT min(created_at) FROM domain_events WHERE event_type = 'VM_CREATION_REQUESTED')";
    let query = format!("SELECT event_type || ' ' || status FROM domain_events WHERE {since} ORDER BY created_at, id");
    assert_eq!(
        world.home.texts(&query).await,
        [
            "VM_CREATION_REQUESTED COMPLETED",
            "NAMESPACE_CREATED COMPLETED",
            "VM_CREATION_COMPLETED COMPLETED",
            "VM_CREATION_REQUESTED COMPLETED",
            "VM_CREATION_COMPLETED COMPLETED",
            "VM_DELETION_REQUESTED COMPLETED",
            "VM_DELETION_COMPLETED COMPLETED",
        ]
    );
}

async fn the_histories_name_who_did_what(world: &World, tickets: [&String; 3]) {
    for ticket in tickets {
        assert_eq!(world.transitions_of(ticket).await, CARRIED_OUT);
        let shown = world
            .as_(User::Alice)
            .get(&format!("/approvals/{ticket}"))
            .await
            .ok(200);
        let kinds: Vec<&str> = shown["transitions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|step| step["actor_kind"].as_str())
            .collect();
        assert_eq!(kinds, ["USER", "SYSTEM", "USER", "WORKER", "WORKER"]);
        assert_eq!(shown["approver"], json!(world.id(User::Bob)));
    }
}

async fn everybody_was_told_once(world: &World) {
    let query = "SELECT u.username || ': ' || n.type || ' about ' || n.resource_type || ', ' || count(*) \
         FROM notifications n JOIN users u ON u.id = n.user_id \
         WHERE n.created_at >= (SELECT min(created_at) FROM approval_tickets) \
         GROUP BY u.username, n.type, n.resource_type ORDER BY u.username, n.type";
    assert_eq!(
        world.home.texts(query).await,
        [
            "admin: APPROVAL_PENDING about approval_ticket, 3",
            "alice: APPROVAL_COMPLETED about approval_ticket, 3",
            // Two machines were made and came up, one was deleted.
            "alice: VM_STATUS_CHANGE about vm, 5",
            "bob: APPROVAL_PENDING about approval_ticket, 3",
        ]
    );
    let twice = "(SELECT FROM notifications GROUP BY user_id, title, resource_id HAVING count(*) > 1) AS repeated";
    assert_eq!(world.home.count(twice).await, 0);
    let unread = world.as_(User::Alice).get("/notifications/unread-count").await.ok(200);
    assert_eq!(unread, json!({"count": 8}));
}

fn items(listed: &Value) -> &[Value] {
    listed["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The labels or annotations of the platform by their short names.
fn prefixed(short: &Value) -> Value {
    let entries = short.as_object().into_iter().flatten();
    entries
        .map(|(name, value)| (format!("{PREFIX}/{name}"), value.clone()))
        .collect()
}

#[track_caller]
fn assert_contains(whole: &Value, part: &Value) {
    for (key, expected) in part.as_object().into_iter().flatten() {
        assert_eq!(&whole[key], expected, "{key} of {whole}");
    }
}
