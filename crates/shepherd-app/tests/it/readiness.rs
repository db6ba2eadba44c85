//! Readiness tells the truth: whatever is pulled turns its own check and no other, and turns it back.

use std::collections::BTreeMap;

use serde_json::Value;
use shepherd_testkit::proxy::{Proxy, Traffic};
use url::Url;

use crate::server::{ALL_ROLES, Env, Home, PATIENCE, Replica, eventually};
use crate::world::World;

const CHECKS: [&str; 6] = ["database", "leader", "migrations", "queue", "watcher", "worker"];
/// Everything that says of a part that it is alive.
const SIGNS: [(&str, &str, &str); 3] = [
    (
        "leader",
        "UPDATE leader_leases SET expires_at = now() - interval '1 second' WHERE name = 'health' RETURNING name",
        "UPDATE leader_leases SET expires_at = now() + interval '1 hour' WHERE name = 'health' RETURNING name",
    ),
    (
        "watcher",
        "UPDATE heartbeats SET at = now() - interval '121 seconds' WHERE kind = 'watcher' RETURNING kind",
        "UPDATE heartbeats SET at = now() + interval '1 hour' WHERE kind = 'watcher' RETURNING kind",
    ),
    (
        "worker",
        "UPDATE heartbeats SET at = now() - interval '61 seconds' WHERE kind = 'worker' RETURNING kind",
        "UPDATE heartbeats SET at = now() + interval '1 hour' WHERE kind = 'worker' RETURNING kind",
    ),
];

/// Waits until a replica answers with a status, and with exactly these checks in another state than `ok`.
async fn turns(home: &Home, replica: &Replica, status: u16, pulled: &[(&str, &str)]) {
    let mut expected: BTreeMap<&str, &str> = CHECKS.map(|check| (check, "ok")).into();
    expected.extend(pulled.iter().copied());
    let expected = serde_json::to_value(&expected).unwrap();
    let url = replica.url("/health/ready");
    let what = format!("readiness is {status} with {expected}");
    eventually(&what, PATIENCE, async || {
        let answer = home.client.get(&url).send().await.ok()?;
        let found = answer.status().as_u16();
        let body: Value = answer.json().await.ok()?;
        let checks = if found == 200 {
            &body["checks"]
        } else {
            &body["params"]["checks"]
        };
        let word = if pulled.is_empty() { "ok" } else { "degraded" };
        let agrees = found != 200 || body["status"] == word;
        (found == status && *checks == expected && agrees).then_some(())
    })
    .await;
}

/// A replica with these roles whose database is behind a wire.
async fn behind_a_wire(world: &World, roles: &str, env: &Env<'_>) -> (Proxy, Replica) {
    let mut url = Url::parse(world.home.database_url()).unwrap();
    let target = format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(5432));
    let target = tokio::net::lookup_host(target).await.unwrap().next().unwrap();
    let proxy = Proxy::start(target).await.unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(proxy.address().port())).unwrap();
    let env = [env, &[("DATABASE_URL", url.to_string())]].concat();
    let replica = world.start_replica(roles, &env).await;
    (proxy, replica)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pulled_turns_its_own_check_and_turns_it_back() {
    let mut world = World::start().await;
    let (wire, replica) = behind_a_wire(&world, "api", &[]).await;
    turns(&world.home, &replica, 200, &[]).await;

    the_database_is_pulled(&world, &wire, &replica).await;
    a_migration_is_pulled(&world, &replica).await;
    the_queue_is_pulled(&world, &replica).await;

    // Nobody beats any more, so that the rows say what the test writes. A cluster that nobody has touched lately is
    // missed at once.
    let other = world.start_replica("api", &[]).await;
    std::mem::replace(&mut world.server, other).kill().await;
    for statement in [
        "ALTER TABLE clusters DISABLE TRIGGER USER",
        "UPDATE clusters SET updated_at = now() - interval '1 day'",
    ] {
        assert!(!world.home.refuses(statement).await);
    }
    for (_, _, alive) in SIGNS {
        assert!(!world.home.texts(alive).await.is_empty());
    }
    turns(&world.home, &replica, 200, &[]).await;
    for (check, silent, alive) in SIGNS {
        assert!(!world.home.texts(silent).await.is_empty());
        turns(&world.home, &replica, 200, &[(check, "failing")]).await;
        assert!(!world.home.texts(alive).await.is_empty());
        turns(&world.home, &replica, 200, &[]).await;
    }
    for (_, silent, _) in SIGNS {
        assert!(!world.home.texts(silent).await.is_empty());
    }
    assert!(
        !world
            .home
            .texts("UPDATE leader_leases SET expires_at = now() RETURNING name")
            .await
            .is_empty()
    );
    let silent = SIGNS.map(|(check, ..)| (check, "failing"));
    turns(&world.home, &replica, 200, &silent).await;
    let _revived = world.start_replica(ALL_ROLES, &[]).await;
    turns(&world.home, &replica, 200, &[]).await;
}

async fn the_database_is_pulled(world: &World, wire: &Proxy, replica: &Replica) {
    let gone: Vec<(&str, &str)> = CHECKS
        .iter()
        .map(|check| (*check, if *check == "database" { "failing" } else { "unknown" }))
        .collect();
    for traffic in [Traffic::Stalls, Traffic::Refused] {
        wire.set(traffic);
        turns(&world.home, replica, 503, &gone).await;
        let live = world.home.client.get(replica.url("/health/live")).send().await.unwrap();
        assert_eq!(live.status(), 200, "the process itself is well");
        wire.set(Traffic::Flows);
        turns(&world.home, replica, 200, &[]).await;
    }
}

async fn a_migration_is_pulled(world: &World, replica: &Replica) {
    let newest = "DELETE FROM shepherd_migrations WHERE version = (SELECT max(version) FROM shepherd_migrations) \
                  RETURNING version";
    let version = world.home.texts(newest).await.pop().expect("there are migrations");
    turns(&world.home, replica, 503, &[("migrations", "failing")]).await;
    let back =
        format!("INSERT INTO shepherd_migrations (version, applied_at) VALUES ('{version}', 0) RETURNING version");
    world.home.texts(&back).await;
    turns(&world.home, replica, 200, &[]).await;
}

async fn the_queue_is_pulled(world: &World, replica: &Replica) {
    let rename = |from: &str, to: &str| format!("ALTER TABLE graphile_worker.{from} RENAME TO {to}");
    assert!(!world.home.refuses(&rename("_private_jobs", "pulled")).await);
    turns(&world.home, replica, 200, &[("queue", "failing")]).await;
    assert!(!world.home.refuses(&rename("pulled", "_private_jobs")).await);
    turns(&world.home, replica, 200, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_own_part_is_silent_goes_out_and_the_others_stay() {
    let world = World::start().await;
    let bystander = world.start_replica("api", &[]).await;
    let alone = world.start_replica(ALL_ROLES, &[]).await;
    turns(&world.home, &alone, 200, &[]).await;
    let instance = "SELECT instance FROM heartbeats WHERE kind = 'worker' ORDER BY created_at DESC LIMIT 1";
    let instance = world.home.texts(instance).await.pop().expect("a worker beats");
    for (kind, check) in [("worker", "worker"), ("leader", "leader")] {
        // The part that is alive beats again, so it is silenced until readiness has seen it.
        let silence = format!(
            "UPDATE heartbeats SET at = now() - interval '61 seconds' \
             WHERE kind = '{kind}' AND instance = '{instance}' RETURNING kind"
        );
        eventually("the replica goes out", PATIENCE, async || {
            world.home.texts(&silence).await;
            let answer = world.home.client.get(alone.url("/health/ready")).send().await.ok()?;
            let is_out = answer.status() == 503;
            let body: Value = answer.json().await.ok()?;
            if !is_out || body["params"]["checks"][check] != "failing" {
                return None;
            }
            // The others go on.
            for replica in [&bystander, &world.server] {
                let answer = world.home.client.get(replica.url("/health/ready")).send().await.ok()?;
                if answer.status() != 200 {
                    return None;
                }
            }
            Some(())
        })
        .await;
        turns(&world.home, &alone, 200, &[]).await;
    }
}
