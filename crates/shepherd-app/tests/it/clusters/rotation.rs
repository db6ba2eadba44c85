//! New credentials, and the end of a cluster, are heard of by every replica at once.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use shepherd_simulator::{Simulator, SimulatorConfig, Timing};

use super::{path_of, wait_for_status};
use crate::client::Caller;
use crate::server::eventually;
use crate::world::{User, World};

/// Far less than the time after which credentials are looked up again without a word.
const AT_ONCE: Duration = Duration::from_secs(12);
/// A namespace that only one cluster has.
const MARK: &str = "only-there";

async fn simulator(name: &str) -> Simulator {
    let config = SimulatorConfig {
        name: name.to_owned(),
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    };
    Simulator::start(config).await.expect("the simulator starts")
}

fn credentials(kubeconfig: &str) -> Value {
    json!({"kubeconfig": STANDARD.encode(kubeconfig)})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_uses_new_credentials_at_once() {
    let world = World::start().await;
    let second = world.start_replica("api", &[]).await;
    let admins = [world.as_(User::Admin), world.as_(User::Admin).at(&second)];
    let path = path_of(&world, "test-1").await;
    let other = simulator("other").await;
    let namespace = json!({"metadata": {"name": MARK}});
    assert!(other.cluster().put("Namespace", namespace));
    // Both have a client now.
    all_find(&admins, &path, 200, &json!({"exists": false})).await;

    bad_credentials_change_nothing(&world, &admins[0], &path).await;
    let before = admins[0].get(&path).await.ok(200);
    let rotate = format!("{path}/rotate-credential");
    let rotated = admins[0].post(&rotate, &credentials(&other.kubeconfig())).await;
    let tag = rotated.header("etag").to_owned();
    let rotated = rotated.ok(200);
    assert_eq!(rotated["status"], "UNKNOWN");
    assert_eq!(rotated.get("status_reason"), None);
    assert_eq!(rotated.get("last_checked_at"), None);
    let address = rotated["api_server_url"].as_str().unwrap_or_default();
    assert!(address.starts_with(&other.url()), "{address}");
    assert!(!rotated.to_string().contains("kubeconfig"), "{rotated}");
    all_find(&admins, &path, 200, &json!({"exists": true})).await;
    wait_for_status(&world, &path, "HEALTHY").await;
    assert_eq!(
        admins[0].get(&path).await.header("etag"),
        tag,
        "nobody changed it since"
    );
    the_audit_log_names_addresses_alone(&world, &before["api_server_url"], &rotated["api_server_url"]).await;

    let restricted = credentials(&other.restricted_kubeconfig());
    admins[1].post(&rotate, &restricted).await.ok(200);
    let denied = json!("NAMESPACE_PERMISSION_DENIED");
    all_find(&admins, &path, 403, &denied).await;
    let shown = wait_for_status(&world, &path, "UNHEALTHY").await;
    assert_eq!(shown["status_reason"], "KUBEVIRT_UNREADABLE");
    assert_eq!(shown["kubevirt_version"], "1.6.2", "what was known stays");

    let deleted = admins[1].delete(&format!("{path}?confirm_name=test-1")).await;
    deleted.ok(204);
    let gone = json!("CLUSTER_NOT_FOUND");
    all_find(&admins, &path, 404, &gone).await;
}

/// Waits until both replicas answer the same about the mark: its presence, or the code of a refusal.
async fn all_find(admins: &[Caller; 2], path: &str, status: u16, expected: &Value) {
    let path = format!("{path}/namespaces/{MARK}/exists");
    for (number, admin) in admins.iter().enumerate() {
        eventually(&format!("replica {number} answers {expected}"), AT_ONCE, async || {
            let reply = admin.get(&path).await;
            let found = if status == 200 {
                &reply.body
            } else {
                &reply.body["code"]
            };
            (reply.status == status && found == expected).then_some(())
        })
        .await;
    }
}

async fn bad_credentials_change_nothing(world: &World, admin: &Caller, path: &str) {
    let rotate = format!("{path}/rotate-credential");
    let sealed = "SELECT encode(encrypted_kubeconfig, 'hex') || status FROM clusters WHERE name = 'test-1'";
    let before = world.home.texts(sealed).await;
    let good = world.test.kubeconfig();
    let token = good
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("token:"))
        .expect("a token");
    let documents = [
        (
            good.replace(token, "exec: {apiVersion: v1, command: /bin/sh}"),
            "exec_plugin",
        ),
        (good.replace(token, "tokenFile: /etc/shadow"), "file_reference"),
        (
            good.replace(token, &format!("{token}\n    as: system:admin")),
            "impersonation",
        ),
        (good.replace("https://127.0.0.1", "http://127.0.0.1"), "insecure_url"),
        (
            good.replace("https://127.0.0.1", "https://169.254.169.254"),
            "insecure_url",
        ),
        (good.replace("current-context", "no-context"), "no_current_context"),
        ("clusters: [".to_owned(), "syntax"),
    ];
    for (document, reason) in documents {
        let params = admin
            .post(&rotate, &credentials(&document))
            .await
            .refused(400, "INVALID_KUBECONFIG");
        assert_eq!(params["reason"], reason, "{document}");
    }
    let wrong = json!({"kubeconfig": "%%%"});
    admin.post(&rotate, &wrong).await.refused(400, "VALIDATION_FAILED");
    assert_eq!(world.home.texts(sealed).await, before);
    let audited = "audit_logs WHERE action = 'cluster.credential_rotate'";
    assert_eq!(world.home.count(audited).await, 0);
}

async fn the_audit_log_names_addresses_alone(world: &World, old: &Value, new: &Value) {
    let query = "SELECT params::text FROM audit_logs WHERE action = 'cluster.credential_rotate'";
    let details = world.home.texts(query).await;
    let details: Vec<Value> = details
        .iter()
        .map(|details| serde_json::from_str(details).expect("details"))
        .collect();
    assert_eq!(details, [json!({"api_server_url": {"old": old, "new": new}})]);
}
