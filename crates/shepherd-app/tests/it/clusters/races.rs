//! A cluster is never taken away from, or moved under, a machine that is being placed on it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::{join, join_all};
use serde_json::{Value, json};

use super::put;
use crate::client::Reply;
use crate::server::{PATIENCE, eventually};
use crate::world::{User, World, text};

const TEMPLATES: [&str; 3] = ["ubuntu-24-04", "debian-12", "fedora-42"];
const SIZES: [&str; 4] = ["small", "medium", "large", "xlarge"];
/// Requests that can wait side by side, since no two are alike.
const SIDE_BY_SIDE: usize = 10;
const DELETIONS: usize = 50;
const MOVES: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_placement_and_the_end_of_its_cluster_exclude_each_other() {
    let rarely = ("K8S_HEALTH_INTERVAL", "60s".to_owned());
    // All are looked at at once, and all are in this process.
    let patiently = ("K8S_HEALTH_TIMEOUT", "60s".to_owned());
    let world = World::with("api,controllers", &[rarely, patiently]).await;
    let clusters = register(&world, DELETIONS + MOVES).await;
    let (deleted, moved) = clusters.split_at(DELETIONS);
    let mut placed = 0;
    for (round, group) in deleted.chunks(SIDE_BY_SIDE).enumerate() {
        let outcomes = group
            .iter()
            .enumerate()
            .map(|(number, cluster)| delete_while_placing(&world, cluster, number, round));
        placed += join_all(outcomes).await.into_iter().filter(|placed| *placed).count();
    }
    for (number, cluster) in moved.iter().enumerate() {
        placed += usize::from(move_while_placing(&world, cluster, number).await);
    }

    let machines = world.home.count("vms").await;
    assert_eq!(usize::try_from(machines), Ok(placed));
    let orphans = "approval_tickets t WHERE t.status = 'APPROVED' \
         AND NOT EXISTS (SELECT FROM clusters c WHERE c.id = t.selected_cluster_id)";
    assert_eq!(world.home.count(orphans).await, 0);
    let misplaced = "vms v JOIN clusters c ON c.id = v.cluster_id JOIN namespace_registry n ON n.name = v.namespace \
         WHERE c.environment <> n.environment";
    assert_eq!(world.home.count(misplaced).await, 0);
}

/// A registered cluster.
struct Registered {
    id: String,
    name: String,
}

/// Registers clusters that are all the same one, and waits until they are healthy.
async fn register(world: &World, number: usize) -> Vec<Registered> {
    let admin = world.as_(User::Admin);
    let kubeconfig = STANDARD.encode(world.test.kubeconfig());
    let registrations = (0..number).map(|number| {
        let name = format!("race-{number}");
        let body = json!({"name": name, "kubeconfig": kubeconfig, "environment": "test"});
        let admin = admin.clone();
        async move {
            let id = text(&admin.post("/admin/clusters", &body).await.ok(201)["id"]);
            Registered { id, name }
        }
    });
    let registered: Vec<Registered> = join_all(registrations).await;
    eventually("the new clusters are HEALTHY", PATIENCE, async || {
        let healthy = "clusters WHERE name LIKE 'race-%' AND status = 'HEALTHY'";
        (world.home.count(healthy).await == number as i64).then_some(())
    })
    .await;
    registered
}

/// Alice asks for a machine like nobody else's; answers the ticket.
async fn request(world: &World, number: usize) -> String {
    let mut body = world.vm_body("dev");
    body["template_id"] = json!(world.template(TEMPLATES[number % TEMPLATES.len()]));
    body["instance_size_id"] = json!(world.size(SIZES[number / TEMPLATES.len()]));
    text(&world.as_(User::Alice).post("/vms", &body).await.ok(202)["ticket_id"])
}

async fn approve(world: &World, ticket: &str, cluster: &Registered) -> Reply {
    let choice = json!({"selected_cluster_id": cluster.id});
    let path = format!("/approvals/{ticket}/approve");
    world.as_(User::Bob).post(&path, &choice).await
}

async fn reject(world: &World, ticket: &str) {
    let path = format!("/approvals/{ticket}/reject");
    let body = json!({"reason": "too late"});
    world.as_(User::Bob).post(&path, &body).await.ok(204);
}

/// Lets some time pass that has to do with how fast the server is.
async fn dawdle(world: &World, times: usize) {
    for _ in 0..times {
        world.as_(User::Admin).get("/admin/clusters?per_page=1").await;
    }
}

/// Whether the machine was placed; otherwise the cluster is gone.
async fn delete_while_placing(world: &World, cluster: &Registered, number: usize, round: usize) -> bool {
    let ticket = request(world, number).await;
    let path = format!("/admin/clusters/{}?confirm_name={}", cluster.id, cluster.name);
    let deletion = async {
        dawdle(world, (number + round) % 4).await;
        world.as_(User::Admin).delete(&path).await
    };
    let (approved, deleted) = join(approve(world, &ticket, cluster), deletion).await;
    let codes = ["CLUSTER_NOT_FOUND", "CLUSTER_UNREACHABLE", "VALIDATION_FAILED"];
    if deleted.status == 204 {
        assert!(codes.contains(&approved.code()), "{}", approved.text);
        reject(world, &ticket).await;
        return false;
    }
    let expected = json!({"vm_count": 1, "pending_request_count": 1});
    assert_eq!(deleted.refused(409, "CLUSTER_HAS_VMS"), expected);
    approved.ok(204);
    true
}

/// Whether the machine was placed; otherwise the cluster is in prod.
async fn move_while_placing(world: &World, cluster: &Registered, number: usize) -> bool {
    let ticket = request(world, number).await;
    let path = format!("/admin/clusters/{}/environment", cluster.id);
    let body: Value = json!({"environment": "prod"});
    let moving = async {
        dawdle(world, number % 4).await;
        put(&world.as_(User::Admin), &path, &body).await
    };
    let (approved, moved) = join(approve(world, &ticket, cluster), moving).await;
    if moved.status == 200 {
        assert_eq!(approved.code(), "NAMESPACE_CLUSTER_ENV_MISMATCH", "{}", approved.text);
        reject(world, &ticket).await;
        return false;
    }
    let expected = json!({"vm_count": 1, "pending_request_count": 1});
    assert_eq!(moved.refused(409, "CLUSTER_HAS_VMS"), expected);
    approved.ok(204);
    true
}
