//! The configuration of running replicas: where values come from, and what a change of the file does.

use reqwest::Method;
use serde_json::{Value, json};
use shepherd_usecases::configuration::{self, ConfigurationChange, Recorded};

use crate::client::{Caller, send};
use crate::in_process::InProcess;
use crate::server::{PATIENCE, Replica, eventually};
use crate::world::{User, World};

const CONFIG: &str = "/admin/config";
const PORTAL: &str = "https://portal.example.org";
/// A key that only the replicas of this test take from the file; the first process of a world has a variable for it.
const OF_REPLICAS: &str = "log.level";

/// What the process says about one key.
async fn key(caller: &Caller, name: &str) -> Value {
    let config = caller.get(CONFIG).await.ok(200);
    let items = config["items"].as_array().unwrap();
    let found = items.iter().find(|item| item["key"] == name);
    found.unwrap_or_else(|| panic!("{name} is missing")).clone()
}

/// Writes the file in the way Kubernetes does: the old one is there until the new one is whole.
fn write(world: &World, text: &str) {
    let whole = world.home.path("config.yaml.new");
    std::fs::write(&whole, text).unwrap();
    std::fs::rename(&whole, world.home.path("config.yaml")).unwrap();
}

/// Whether pages of the portal may read what the process answers.
async fn portal_may_call(caller: &Caller) -> bool {
    let request = caller.request(Method::GET, "/health/live").header("origin", PORTAL);
    let reply = send(request).await;
    reply.header("access-control-allow-origin") == PORTAL
}

/// The audit rows of changes at the replicas of this test.
async fn updates(world: &World) -> Vec<Value> {
    let query = "SELECT params, performed_by FROM audit_logs WHERE action = 'config.update' ORDER BY performed_at";
    let mut rows = world.home.sql(query).await;
    rows.retain(|row| {
        let keys = row["params"]["keys"].as_array();
        keys.is_some_and(|keys| keys.contains(&json!(OF_REPLICAS)))
    });
    rows
}

async fn until_logged(replica: &Replica, what: &str) {
    eventually(what, PATIENCE, async || replica.log_text().contains(what).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_is_followed() {
    let world = World::start().await;
    write(&world, "batch:\n  max_create: 4\nqueue:\n  max_attempts: 5\n");
    // Variables that every process of a test gets, and that would win over the file.
    let without = ["SERVER_API_RATE_PER_USER", "LOG_LEVEL"].map(|name| (name, String::new()));
    let (one, other) = tokio::join!(
        world.start_replica("api", &without),
        world.start_replica("api", &without)
    );
    let (here, there) = (world.as_(User::Admin).at(&one), world.as_(User::Admin).at(&other));
    it_is_shown(&world, &here).await;
    hot_keys_take_effect_everywhere(&world, [&here, &there]).await;
    one_row_tells_of_it(&world).await;
    what_is_invalid_changes_nothing(&world, &one, &here).await;
    other_keys_wait_for_a_restart(&world, &one, &here).await;
    an_emptied_file_changes_nothing(&world, &one, &here).await;
    what_comes_back_has_rows_of_its_own(&world, [&here, &there]).await;
}

async fn it_is_shown(world: &World, admin: &Caller) {
    let from_file = key(admin, "batch.max_create").await;
    assert_eq!(
        (
            &from_file["value"],
            &from_file["default"],
            &from_file["source"],
            &from_file["hot_reload"]
        ),
        (&json!("4"), &json!("10"), &json!("file"), &json!(true))
    );
    assert_eq!(from_file["source_name"], "config.yaml");
    let from_environment = key(admin, "database.url").await;
    assert_eq!(
        (&from_environment["value"], &from_environment["source_name"]),
        (&json!("set"), &json!("DATABASE_URL"))
    );
    let default = key(admin, "session.idle_timeout").await;
    assert_eq!(
        (&default["value"], &default["source"], &default["restart_required"]),
        (&json!("30m"), &json!("default"), &json!(false))
    );
    let refused = world.as_(User::Bob).get(CONFIG).await.refused(403, "FORBIDDEN");
    assert_eq!(refused["required_permission"], "config:read");
}

async fn hot_keys_take_effect_everywhere(world: &World, admins: [&Caller; 2]) {
    for admin in admins {
        assert!(!portal_may_call(admin).await);
    }
    let text = "batch: {max_create: 2}\nqueue: {max_attempts: 5}\nlog: {level: debug}\nserver:\n  \
                api_rate_per_user: 1000/s, burst 1001\n  allowed_origins: [https://portal.example.org]\n";
    write(world, text);
    for admin in admins {
        eventually("the portal may call", PATIENCE, async || {
            portal_may_call(admin).await.then_some(())
        })
        .await;
        let items = vec![world.vm_body("dev"); 3];
        let batch = json!({"operation": "CREATE", "reason": "room for the launch", "items": items});
        let refused = admin.post("/vms/batch", &batch).await;
        assert_eq!(refused.body["params"]["max_size"], 2, "{}", refused.text);
        let rate = key(admin, "server.api_rate_per_user").await;
        assert_eq!(
            (&rate["value"], &rate["source"]),
            (&json!("1000/s, burst 1001"), &json!("file"))
        );
        assert_eq!(key(admin, "log.level").await["value"], "debug");
    }
}

async fn one_row_tells_of_it(world: &World) {
    let rows = updates(world).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    assert_eq!(row["performed_by"], "system:configuration");
    assert_eq!(
        row["params"]["keys"],
        json!([
            "batch.max_create",
            "log.level",
            "server.allowed_origins",
            "server.api_rate_per_user"
        ])
    );
    assert!(
        !row.to_string().contains("portal.example.org"),
        "values stay out of it: {row}"
    );
}

async fn what_is_invalid_changes_nothing(world: &World, replica: &Replica, admin: &Caller) {
    let before = updates(world).await.len();
    write(world, "batch: {max_create: 0}\nserver: {prot: 1}\n");
    until_logged(replica, "the changed configuration is invalid").await;
    until_logged(replica, "did you mean server.port?").await;
    assert_eq!(key(admin, "batch.max_create").await["value"], "2");
    assert!(portal_may_call(admin).await);
    assert_eq!(updates(world).await.len(), before);
}

async fn other_keys_wait_for_a_restart(world: &World, replica: &Replica, admin: &Caller) {
    write(world, "batch: {max_create: 2}\nqueue: {max_attempts: 7}\n");
    until_logged(replica, "changes of the configuration need a restart").await;
    eventually("the origins are those of the beginning", PATIENCE, async || {
        (!portal_may_call(admin).await).then_some(())
    })
    .await;
    let waiting = eventually("what the file says is known", PATIENCE, async || {
        let attempts = key(admin, "queue.max_attempts").await;
        (attempts["restart_required"] == true).then_some(attempts)
    })
    .await;
    assert_eq!(
        (
            &waiting["value"],
            &waiting["value_after_restart"],
            &waiting["hot_reload"]
        ),
        (&json!("5"), &json!("7"), &json!(false))
    );
    let row = updates(world).await.pop().unwrap();
    assert_eq!(row["params"]["after_restart"], json!(["queue.max_attempts"]), "{row}");
}

async fn an_emptied_file_changes_nothing(world: &World, replica: &Replica, admin: &Caller) {
    let before = updates(world).await.len();
    write(world, "");
    until_logged(replica, "the configuration file has no keys any more").await;
    assert_eq!(key(admin, "batch.max_create").await["value"], "2");
    assert_eq!(key(admin, "queue.max_attempts").await["value_after_restart"], "7");
    assert_eq!(updates(world).await.len(), before);
}

async fn what_comes_back_has_rows_of_its_own(world: &World, admins: [&Caller; 2]) {
    let before = updates(world).await.len();
    for (changes, level) in ["debug", "info", "debug"].into_iter().enumerate() {
        write(
            world,
            &format!("batch: {{max_create: 2}}\nqueue: {{max_attempts: 7}}\nlog: {{level: {level}}}\n"),
        );
        for admin in admins {
            eventually("the level holds", PATIENCE, async || {
                (key(admin, "log.level").await["value"] == level).then_some(())
            })
            .await;
        }
        let written = updates(world).await.len() - before;
        // A row of a process with other variables may come between those of these two.
        assert!(
            (changes + 1..=2 * (changes + 1)).contains(&written),
            "{level}: {written}"
        );
    }
}

/// A replica, by the row of its last change.
struct Follower<'a> {
    world: &'a InProcess,
    recorded: i64,
}

impl<'a> Follower<'a> {
    async fn starting(world: &'a InProcess) -> Self {
        let recorded = configuration::newest_row(&world.platform).await;
        Self {
            world,
            recorded: recorded.expect("a number"),
        }
    }

    /// The row of a change from one value to another.
    async fn takes(&mut self, values: &str) -> Recorded {
        let change = ConfigurationChange {
            in_effect: vec!["batch.max_create".to_owned()],
            after_restart: Vec::new(),
            values: values.to_owned(),
        };
        let recorded = configuration::record(&self.world.platform, &change, self.recorded).await;
        let recorded = recorded.expect("a row");
        self.recorded = recorded.row;
        recorded
    }
}

#[tokio::test]
async fn no_change_takes_effect_without_being_the_newest_row_of_the_log() {
    let world = InProcess::start().await;
    let (there, back) = ("2 -> 3", "3 -> 2");
    let mut first = Follower::starting(&world).await;
    let mut second = Follower::starting(&world).await;
    let mut third = Follower::starting(&world).await;

    // Two that see the same at the same time share their rows, also those of what comes back.
    for values in [there, back, there] {
        let (one, other) = tokio::join!(first.takes(values), second.takes(values));
        assert!(
            one.here != other.here && one.row == other.row,
            "{values}: {one:?} {other:?}"
        );
    }
    // It missed what came back, and the newest row says what it sees now.
    assert!(!third.takes(there).await.here);
    assert!(first.takes(back).await.here);
    // This one sees late what was long taken back: there is such a row, but the log would say the opposite of what holds.
    let mut late = Follower {
        world: &world,
        recorded: 0,
    };
    assert!(late.takes(there).await.here);
    assert!(late.takes(back).await.here);
    assert!(!second.takes(back).await.here);

    // A start reads the file without a row, so rows from before say nothing of what comes after.
    let mut restarted = Follower::starting(&world).await;
    assert!(restarted.takes(back).await.here);
    let written = world.count("audit_logs WHERE action = 'config.update'").await;
    assert_eq!(written, 7);
}
