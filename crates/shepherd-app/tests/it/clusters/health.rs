//! What the platform finds out about clusters by itself.

use serde_json::{Value, json};
use shepherd_simulator::{FaultEffect, FaultRule};

use super::{last_look, path_of, wait_for_looks, wait_for_status};
use crate::server::{PATIENCE, eventually};
use crate::world::{User, World, text};

/// How long a look may take: far longer than five of them.
const BUDGET: &str = "40s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_are_looked_at_side_by_side() {
    let budget = ("K8S_HEALTH_TIMEOUT", BUDGET.to_owned());
    let world = World::with("api,controllers", &[budget]).await;
    let path = path_of(&world, "test-1").await;
    a_new_kubevirt_is_noted(&world, &path).await;
    a_kubevirt_that_breaks_is_noted(&world, &path).await;
    let hanging = FaultRule::always("GET", "/version", FaultEffect::Hang);
    let hanging = world.test.faults().inject(hanging);
    // A look that had begun may still be stored.
    wait_for_looks(&world, "prod-1", 2, PATIENCE).await;
    let before = last_look(&world, "test-1").await;
    wait_for_looks(&world, "prod-1", 3, PATIENCE).await;
    assert_eq!(last_look(&world, "test-1").await, before, "it hangs meanwhile");
    world.test.faults().revoke(hanging);
    eventually("the look that hangs is given up", PATIENCE, async || {
        let told = "notifications WHERE type = 'SYSTEM_ALERT' AND params ->> 'to' = 'UNREACHABLE' \
             AND params ->> 'reason' = 'TIMEOUT' AND params ->> 'cluster' = 'test-1'";
        (world.home.count(told).await > 0).then_some(())
    })
    .await;
    wait_for_status(&world, &path, "HEALTHY").await;
}

fn kubevirt(version: &str, phase: &str) -> Value {
    json!({"phase": phase, "observedKubeVirtVersion": version})
}

async fn a_new_kubevirt_is_noted(world: &World, path: &str) {
    let admin = world.as_(User::Admin);
    let before = admin.get(path).await.ok(200);
    assert_eq!(before["kubevirt_version"], "1.6.2");
    let cluster = world.test.cluster();
    let disk = json!({"metadata": {"name": "quick"}, "provisioner": "csi.example"});
    assert!(cluster.put("StorageClass", disk));
    assert!(cluster.put_status("KubeVirt", "kubevirt", "kubevirt", kubevirt("v1.7.0", "Deployed")));
    let after = eventually("the new version is seen", PATIENCE, async || {
        let shown = admin.get(path).await.ok(200);
        (shown["kubevirt_version"] == "1.7.0").then_some(shown)
    })
    .await;
    let features = after["enabled_features"].as_array().expect("features");
    assert!(features.contains(&json!("NodeRestriction")), "{features:?}");
    let classes = json!(["quick", "standard"]);
    assert_eq!(after["storage_classes"], classes, "everything is looked at again");
    let id = text(&after["id"]);
    let payloads = world
        .home
        .sql(&format!(
            "SELECT payload ->> 'from' AS was, payload ->> 'to' AS became FROM domain_events \
             WHERE event_type = 'CLUSTER_KUBEVIRT_VERSION_CHANGED' AND aggregate_id = '{id}' \
             AND aggregate_type = 'cluster' AND status = 'COMPLETED' ORDER BY created_at, id"
        ))
        .await;
    let expected = [
        json!({"was": null, "became": "1.6.2"}),
        json!({"was": "1.6.2", "became": "1.7.0"}),
    ];
    assert_eq!(payloads, expected);
}

async fn a_kubevirt_that_breaks_is_noted(world: &World, path: &str) {
    let cluster = world.test.cluster();
    assert!(cluster.put_status("KubeVirt", "kubevirt", "kubevirt", kubevirt("v1.7.0", "Deploying")));
    let shown = wait_for_status(world, path, "UNHEALTHY").await;
    assert_eq!(shown["status_reason"], "KUBEVIRT_DEPLOYING");
    an_approver_hears_what_speaks_against_the_only_cluster(world).await;
    assert!(cluster.put_status("KubeVirt", "kubevirt", "kubevirt", kubevirt("v1.7.0", "Deployed")));
    let shown = wait_for_status(world, path, "HEALTHY").await;
    assert_eq!(shown.get("status_reason"), None);
}

/// Nobody has to choose where there is no choice; that the cluster is not well says more.
async fn an_approver_hears_what_speaks_against_the_only_cluster(world: &World) {
    let ticket = world.request_vm("dev").await;
    let path = format!("/approvals/{ticket}/approve");
    let refused = world.as_(User::Bob).post(&path, &json!({})).await;
    assert!(!refused.header("retry-after").is_empty(), "{}", refused.text);
    let params = refused.refused(503, "CLUSTER_UNHEALTHY");
    assert_eq!(params, json!({"cluster": "test-1", "status": "UNHEALTHY"}));
}
