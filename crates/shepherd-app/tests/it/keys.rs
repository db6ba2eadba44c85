//! Rotation of encryption keys while two replicas serve, and another key for the installation.

use serde_json::{Value, json};

use crate::client::Caller;
use crate::server::{PATIENCE, Replica, eventually};
use crate::world::{User, World, text};

const SECOND_ROOT: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const THIRD_ROOT: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_while_replicas_serve() {
    let world = World::start().await;
    let second = world.start_replica("api", &[]).await;
    let admins = [world.as_(User::Admin), world.as_(User::Admin).at(&second)];
    let clusters = admins[0].get("/admin/clusters").await.ok(200);
    let cluster = text(&clusters["items"][0]["id"]);
    let webhook = json!({
        "name": "sealed", "url": "https://127.0.0.1:9/audit", "enabled": false, "headers": {"x-token": "sealed as well"},
    });
    admins[0].post("/admin/audit-logs/webhooks", &webhook).await.ok(201);
    let [first] = keys(&admins[0]).await.try_into().expect("one key");
    assert_eq!(
        (&first["state"], sealed_rows(&first)),
        (&json!("active"), sealed(&world).await)
    );

    let rotated = admins[1]
        .post("/admin/encryption-keys/rotate", &Value::Null)
        .await
        .ok(202);
    let active = text(&rotated["key_id"]);
    everything_is_sealed_by(&world, &active).await;
    let listed = keys(&admins[0]).await;
    assert_eq!(listed[0]["key_id"], active);
    assert_eq!((&listed[1]["state"], sealed_rows(&listed[1])), (&json!("retired"), 0));
    for admin in &admins {
        cluster_answers(admin, &cluster).await;
    }

    // A rotation that has not come to its end yet stands in the way of the next one.
    let held = format!(
        "UPDATE clusters SET encryption_key_id = '{}' WHERE id = '{cluster}'",
        text(&first["key_id"])
    );
    world
        .home
        .texts(&format!("WITH held AS ({held} RETURNING id) SELECT id::text FROM held"))
        .await;
    let busy = admins[0].post("/admin/encryption-keys/rotate", &Value::Null).await;
    let busy = busy.refused(409, "KEY_ROTATION_RUNNING");
    assert_eq!(busy["key_id"], first["key_id"]);
    let (succeeded, said) = world.home.run(&["keys", "list"], &[]).await;
    assert!(
        succeeded && said.contains(&active) && said.contains("retired"),
        "{said}"
    );

    retired_keys_go_when_nothing_needs_them(&world, &cluster, &active, &text(&first["key_id"])).await;
    the_installation_gets_another_key(&world, &admins, &cluster).await;
}

async fn retired_keys_go_when_nothing_needs_them(world: &World, cluster: &str, active: &str, first: &str) {
    let restore = format!("UPDATE clusters SET encryption_key_id = '{active}' WHERE id = '{cluster}'");
    world
        .home
        .texts(&format!(
            "WITH restored AS ({restore} RETURNING id) SELECT id::text FROM restored"
        ))
        .await;
    let delete = format!("DELETE FROM encryption_keys WHERE key_id = '{active}'");
    assert!(world.home.refuses(&delete).await, "a key in use cannot be removed");
    let age = format!(
        "WITH aged AS (UPDATE encryption_keys SET retired_at = now() - interval '1 hour' WHERE key_id = '{first}' \
         RETURNING key_id) SELECT key_id FROM aged"
    );
    assert_eq!(world.home.texts(&age).await, [first]);
    let (succeeded, said) = world.home.run(&["keys", "rotate"], &[]).await;
    assert!(succeeded && said.contains("seals from now on"), "{said}");
    let left = world
        .home
        .texts("SELECT key_id FROM encryption_keys ORDER BY state, key_id")
        .await;
    assert!(left.len() == 2 && !left.contains(&first.to_owned()), "{left:?}");
}

async fn the_installation_gets_another_key(world: &World, admins: &[Caller], cluster: &str) {
    let (succeeded, said) = world.home.run(&["keys", "rotate", "--from-db"], &[]).await;
    assert!(
        !succeeded && said.contains("ENCRYPTION_KEY must hold the new key"),
        "{said}"
    );
    let second = [("ENCRYPTION_KEY", SECOND_ROOT)];
    let (succeeded, said) = world.home.run(&["keys", "rotate", "--from-db"], &second).await;
    assert!(succeeded && said.contains("Running replicas go on"), "{said}");
    assert_eq!(
        world
            .home
            .count("system_secrets WHERE key_name = 'ENCRYPTION_KEY'")
            .await,
        0
    );
    for admin in admins {
        cluster_answers(admin, cluster).await;
        // With the old key of the installation it could only seal what nobody could open after a restart.
        let stale = admin.post("/admin/encryption-keys/rotate", &Value::Null).await;
        stale.refused(409, "KEY_ROTATION_RUNNING");
    }
    let (succeeded, said) = world.home.run(&["keys", "rotate"], &[]).await;
    assert!(!succeeded && said.contains("start with ENCRYPTION_KEY"), "{said}");
    let (succeeded, said) = world
        .home
        .run(&["keys", "rotate"], &[("ENCRYPTION_KEY", THIRD_ROOT)])
        .await;
    assert!(!succeeded && said.contains("sealed with another key"), "{said}");

    let third = [("ENCRYPTION_KEY", THIRD_ROOT), ("PRESENT_KEY", SECOND_ROOT)];
    let (succeeded, said) = world
        .home
        .run(&["keys", "rotate", "--from-env", "PRESENT_KEY"], &third)
        .await;
    assert!(succeeded, "{said}");
    let restarted = Replica::start(&world.home, "api", &[("ENCRYPTION_KEY", THIRD_ROOT.to_owned())]).await;
    cluster_answers(&admins[0].at(&restarted), cluster).await;
}

async fn keys(admin: &Caller) -> Vec<Value> {
    let listed = admin.get("/admin/encryption-keys").await.ok(200);
    listed["items"].as_array().cloned().unwrap_or_default()
}

fn sealed_rows(key: &Value) -> i64 {
    key["sealed_rows"].as_i64().expect("a number")
}

async fn sealed(world: &World) -> i64 {
    // The kubeconfig of each cluster, the secret and the headers of the webhook.
    world.home.count("clusters").await + 2
}

async fn everything_is_sealed_by(world: &World, key: &str) {
    let others = format!(
        "(SELECT FROM clusters WHERE encryption_key_id <> '{key}' UNION ALL \
         SELECT FROM audit_webhooks WHERE secret_key_id <> '{key}' OR headers_key_id <> '{key}') AS others"
    );
    eventually("everything is sealed anew", PATIENCE, async || {
        (world.home.count(&others).await == 0).then_some(())
    })
    .await;
}

async fn cluster_answers(admin: &Caller, cluster: &str) {
    let path = format!("/admin/clusters/{cluster}/namespaces/nowhere/exists");
    assert_eq!(admin.get(&path).await.ok(200)["exists"], false);
}
