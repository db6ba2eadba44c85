//! Two whole processes on one database share the work and never do it twice.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, send};
use crate::server::ALL_ROLES;
use crate::world::{CARRIED_OUT, User, World, creations, text};

const TEMPLATES: [&str; 3] = ["ubuntu-24-04", "debian-12", "fedora-42"];
const SIZES: [&str; 4] = ["small", "medium", "large", "xlarge"];
const MACHINES: usize = TEMPLATES.len() * SIZES.len();

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_decide_and_carry_out_everything_exactly_once() {
    let world = World::start().await;
    let second = world.start_replica(ALL_ROLES, &[]).await;
    let alice = [world.as_(User::Alice), world.as_(User::Alice).at(&second)];
    let bob = [world.as_(User::Bob), world.as_(User::Bob).at(&second)];

    let bodies = TEMPLATES
        .iter()
        .flat_map(|template| SIZES.iter().map(move |size| (*template, *size)))
        .map(|(template, size)| body(&world, template, size));
    let requests = bodies
        .enumerate()
        .map(|(number, body)| request(&alice[number % 2], body));
    let tickets: Vec<String> = join_all(requests).await;
    assert_eq!(tickets.len(), MACHINES);

    join_all(tickets.iter().map(|ticket| approved_once(&bob, ticket))).await;
    let vms: Vec<String> = join_all(tickets.iter().map(|ticket| running(&world, ticket))).await;

    let expected: Vec<String> = (1..=MACHINES).map(|index| format!("dev-shop-web-{index:02}")).collect();
    let names = world.home.texts("SELECT name FROM vms ORDER BY name").await;
    assert_eq!(names, expected, "every number is given once");
    let made = creations(&world.test, "dev");
    assert_eq!(made.len(), MACHINES);
    assert!(made.values().all(|times| *times == 1), "{made:?}");
    assert_eq!(world.home.count("vm_revisions").await, MACHINES as i64);
    once_per_ticket(&world, "vm.create").await;

    let deletions = vms
        .iter()
        .enumerate()
        .map(|(number, vm)| request_deletion(&alice[number % 2], vm));
    let deletions: Vec<String> = join_all(deletions).await;
    join_all(deletions.iter().map(|ticket| approved_once(&bob, ticket))).await;
    join_all(
        deletions
            .iter()
            .map(|ticket| world.wait_for_ticket(ticket, "COMPLETED")),
    )
    .await;
    assert_eq!(world.home.count("vms").await, 0);
    assert_eq!(world.test.cluster().list("VirtualMachine", ""), Vec::<Value>::new());
    once_per_ticket(&world, "vm.delete_executed").await;
    for ticket in tickets.iter().chain(&deletions) {
        assert_eq!(world.transitions_of(ticket).await, CARRIED_OUT);
    }
}

fn body(world: &World, template: &str, size: &str) -> Value {
    let mut body = world.vm_body("dev");
    body["template_id"] = json!(world.template(template));
    body["instance_size_id"] = json!(world.size(size));
    body
}

async fn request(alice: &Caller, body: Value) -> String {
    text(&alice.post("/vms", &body).await.ok(202)["ticket_id"])
}

async fn request_deletion(alice: &Caller, vm: &str) -> String {
    text(&alice.delete(&format!("/vms/{vm}?confirm=true")).await.ok(202)["ticket_id"])
}

/// Two calls at the same time, one at each replica: one decides, the other is told that it came too late.
async fn approved_once(bob: &[Caller; 2], ticket: &str) {
    let path = format!("/approvals/{ticket}/approve");
    let calls = bob.iter().map(|bob| send(bob.request(Method::POST, &path)));
    let replies = join_all(calls).await;
    let mut answers: Vec<(u16, &str)> = replies.iter().map(|reply| (reply.status, reply.code())).collect();
    answers.sort_unstable();
    assert_eq!(answers, [(204, ""), (409, "TICKET_NOT_PENDING")], "{replies:?}");
}

async fn running(world: &World, ticket: &str) -> String {
    world.wait_for_ticket(ticket, "COMPLETED").await;
    let vm = world.vm_of(ticket).await;
    world.wait_for_vm_status(&vm, "RUNNING").await;
    vm
}

async fn once_per_ticket(world: &World, action: &str) {
    let query = format!(
        "SELECT count(*) AS rows, count(DISTINCT ticket_id) AS tickets FROM audit_logs WHERE action = '{action}'"
    );
    let expected = json!({"rows": MACHINES, "tickets": MACHINES});
    assert_eq!(world.home.sql(&query).await, [expected], "{action}");
}
