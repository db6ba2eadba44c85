//! What a scraper gets, from every process and from nowhere else.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use crate::client::send;
use crate::consoles::browser::ask;
use crate::server::{ALL_ROLES, Home, PATIENCE, Replica, eventually};
use crate::world::{User, World};

/// A path that nobody has, and that nothing may remember.
const NOWHERE: &str = "/zzyzx-4711/0815";
/// Wrong passwords that one user may give.
const WRONG_PASSWORDS: usize = 5;

/// A line of a scrape.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Sample {
    /// Reads `name{label="value",...} 1`; nothing when it is written in any other way.
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}')?),
            None => (series, ""),
        };
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let labels: Option<BTreeMap<String, String>> = labels
            .split_terminator("\",")
            .map(|label| {
                let (key, value) = label.trim_end_matches('"').split_once("=\"")?;
                Some((key.to_owned(), value.to_owned()))
            })
            .collect();
        is_name.then_some(Self {
            name: name.to_owned(),
            labels: labels?,
            value: value.parse().ok()?,
        })
    }
}

/// All that a process shows.
struct Scrape(Vec<Sample>);

impl Scrape {
    async fn of(home: &Home, replica: &Replica) -> Self {
        let reply = send(home.client.get(metrics_url(replica).await)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(
            reply.header("content-type").starts_with("text/plain; version=0.0.4"),
            "{:?}",
            reply.headers
        );
        let lines = reply.text.lines().filter(|line| !line.is_empty());
        let (comments, samples): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('#'));
        for comment in comments {
            assert!(
                comment.starts_with("# HELP ") || comment.starts_with("# TYPE "),
                "{comment}"
            );
        }
        let samples = samples
            .into_iter()
            .map(|line| Sample::parse(line).unwrap_or_else(|| panic!("{line:?} is no sample")));
        Self(samples.collect())
    }

    /// The value of the one series with these labels among others; nothing when there is none.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|shown| shown == value))
        };
        let found: Vec<&Sample> = self.0.iter().filter(has).collect();
        assert!(found.len() <= 1, "{found:?}");
        found.first().map(|sample| sample.value)
    }

    #[track_caller]
    fn shows(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        assert_eq!(self.value(name, labels), Some(value), "{name} {labels:?}");
    }

    #[track_caller]
    fn shows_some(&self, name: &str, labels: &[(&str, &str)]) {
        let shown = self.value(name, labels);
        assert!(
            shown.is_some_and(|value| value >= 1.0),
            "{name} {labels:?} is {shown:?}"
        );
    }
}

/// Where a process says that it serves its metrics.
async fn metrics_url(replica: &Replica) -> String {
    eventually("metrics are served", PATIENCE, async || replica.metrics_url()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_counted_and_what_is_so_is_shown() {
    let world = World::start().await;
    a_user_forgets_the_password(&world).await;
    let vm = world.running_vm("dev").await;
    ask(&world.as_(User::Alice), &vm).await.ok(200);
    a_ticket_is_rejected(&world).await;
    strangers_look_around(&world).await;

    let scrape = Scrape::of(&world.home, &world.server).await;
    logins_and_limits_are_counted(&scrape);
    the_machine_is_counted(&scrape);
    committed_rows_are_counted(&world, &scrape).await;
    routes_are_patterns(&scrape);
    a_process_without_api_shows_the_same_state(&world).await;
    nothing_else_is_served(&world).await;
}

async fn a_user_forgets_the_password(world: &World) {
    let wrong = json!({"username": "carol", "password": "no idea what it was"});
    for _ in 0..WRONG_PASSWORDS {
        let refused = world.anonymous().post("/auth/login", &wrong).await;
        refused.refused(401, "INVALID_CREDENTIALS");
    }
    let limited = world.anonymous().post("/auth/login", &wrong).await;
    limited.refused(429, "RATE_LIMIT_EXCEEDED");
}

async fn a_ticket_is_rejected(world: &World) {
    let ticket = world.request_vm("prod-shop").await;
    let path = format!("/approvals/{ticket}/reject");
    let reason = json!({"reason": "not this month"});
    world.as_(User::Bob).post(&path, &reason).await.ok(204);
}

async fn strangers_look_around(world: &World) {
    let nobody = world.anonymous();
    nobody.get(NOWHERE).await.refused(404, "ROUTE_NOT_FOUND");
    let invented = Method::from_bytes(b"BREW").unwrap();
    send(nobody.request(invented, NOWHERE))
        .await
        .refused(404, "ROUTE_NOT_FOUND");
}

fn logins_and_limits_are_counted(scrape: &Scrape) {
    scrape.shows("login_total", &[("result", "failed")], WRONG_PASSWORDS as f64);
    scrape.shows("login_total", &[("result", "limited")], 1.0);
    scrape.shows_some("login_total", &[("result", "succeeded")]);
    scrape.shows("rate_limit_rejections_total", &[("limit_type", "login")], 1.0);
    scrape.shows("console_tokens_total", &[("result", "issued")], 1.0);
}

fn the_machine_is_counted(scrape: &Scrape) {
    let creation = [("operation", "CREATE"), ("cluster", "test-1")];
    let [operation, cluster] = creation;
    scrape.shows(
        "vm_operations_total",
        &[operation, ("status", "completed"), cluster],
        1.0,
    );
    scrape.shows("vm_operation_duration_seconds_count", &creation, 1.0);
    let job = [("event_type", "VM_CREATION_REQUESTED"), ("result", "succeeded")];
    scrape.shows("queue_job_duration_seconds_count", &job, 1.0);
    let call = [cluster, ("verb", "apply_vm"), ("code", "ok")];
    scrape.shows_some("cluster_calls_total", &call);
    scrape.shows_some("cluster_call_duration_seconds_count", &call[..2]);
}

async fn committed_rows_are_counted(world: &World, scrape: &Scrape) {
    scrape.shows("ticket_decision_seconds_count", &[("decision", "approved")], 1.0);
    scrape.shows("ticket_decision_seconds_count", &[("decision", "rejected")], 1.0);
    scrape.shows("audit_rows_total", &[("action_code", "APPROVAL_REJECTED")], 1.0);
    let told = "notifications WHERE type = 'APPROVAL_REJECTED'";
    let told = world.home.count(told).await as f64;
    assert!(told >= 1.0);
    scrape.shows("notifications_total", &[("type", "APPROVAL_REJECTED")], told);
}

fn routes_are_patterns(scrape: &Scrape) {
    let unmatched = |method| [("method", method), ("route", "unmatched"), ("status", "404")];
    scrape.shows("http_requests_total", &unmatched("GET"), 1.0);
    scrape.shows("http_requests_total", &unmatched("OTHER"), 1.0);
    let submissions = [("method", "POST"), ("route", "/api/v1/vms"), ("status", "202")];
    scrape.shows("http_requests_total", &submissions, 2.0);
    scrape.shows_some("http_request_duration_seconds_count", &submissions[..2]);
    for sample in &scrape.0 {
        for value in sample.labels.values() {
            assert!(!value.contains("zzyzx") && value != "BREW", "{sample:?}");
            let ids = value
                .split('/')
                .filter(|part| part.len() == 36 && !part.starts_with('{'));
            assert_eq!(ids.count(), 0, "{sample:?} names a single thing");
        }
    }
}

/// Another process begins with a sample, so nothing here waits for the next one.
async fn a_process_without_api_shows_the_same_state(world: &World) {
    world.request_vm("prod-shop").await;
    let worker = world.start_replica("worker", &[]).await;
    let healthy = [("cluster", "prod-1"), ("status", "HEALTHY")];
    let scrape = eventually("the state is shown", PATIENCE, async || {
        let scrape = Scrape::of(&world.home, &worker).await;
        // Set last, once everything else is.
        let is_shown = |cluster| scrape.value("cluster_breaker_open", &[("cluster", cluster)]).is_some();
        ["test-1", "prod-1"].into_iter().all(is_shown).then_some(scrape)
    })
    .await;
    scrape.shows("cluster_status", &healthy, 1.0);
    let unreachable = [("cluster", "prod-1"), ("status", "UNREACHABLE")];
    scrape.shows("cluster_status", &unreachable, 0.0);
    for (environment, pending) in [("test", 0.0), ("prod", 1.0)] {
        let waiting = [("environment", environment), ("tier", "normal")];
        scrape.shows("tickets_pending", &waiting, pending);
    }
    scrape.shows("queue_dead_letters_total", &[], 0.0);
    scrape.shows("queue_jobs", &[("state", "given_up")], 0.0);
    scrape.shows("cluster_breaker_open", &[("cluster", "test-1")], 0.0);
    scrape.shows("console_sessions_active", &[], 0.0);
    let connections =
        ["idle", "used"].map(|state| scrape.value("db_pool_connections", &[("pool", "shared"), ("state", state)]));
    assert!(connections.into_iter().flatten().sum::<f64>() >= 1.0, "{connections:?}");
    scrape.shows_some("background_job_last_success_timestamp", &[("job", "health")]);
    scrape.shows("pool_tasks", &[("pool", "metrics"), ("state", "running")], 1.0);
    scrape.shows("pool_tasks", &[("pool", "metrics"), ("state", "panicked")], 0.0);
}

async fn nothing_else_is_served(world: &World) {
    let client = &world.home.client;
    let of_the_api = send(client.get(world.server.site("/metrics"))).await;
    of_the_api.refused(404, "ROUTE_NOT_FOUND");
    let url = metrics_url(&world.server).await;
    let elsewhere = url.replace("/metrics", "/api/v1/health/live");
    assert_eq!(send(client.get(elsewhere)).await.status, 404);
    assert_eq!(send(client.post(&url)).await.status, 405);

    let (_, port) = url.trim_end_matches("/metrics").rsplit_once(':').unwrap();
    let (succeeded, said) = world
        .home
        .run(&["serve", "--roles", "worker"], &[("METRICS_PORT", port)])
        .await;
    assert!(!succeeded && said.contains("metrics.port"), "{said}");
}

/// Every role runs beside another process on one machine, each with metrics of its own.
#[tokio::test]
async fn every_process_has_a_listener() {
    let home = Home::new().await;
    home.seed().await;
    let mut addresses = Vec::new();
    let mut replicas = Vec::new();
    for roles in ["controllers", "api", ALL_ROLES] {
        let replica = Replica::start(&home, roles, &[]).await;
        let scrape = Scrape::of(&home, &replica).await;
        scrape.shows("pool_tasks", &[("pool", "metrics listener"), ("state", "running")], 1.0);
        addresses.push(metrics_url(&replica).await);
        replicas.push(replica);
    }
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 3);
}
