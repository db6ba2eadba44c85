//! The audit log as those see it who read, export and hold it.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, Reply};
use crate::server::{Home, Replica, SEEDED_PASSWORD};
use crate::world::{BOTH, PASSWORD, log_in, text};

/// Rows of a generated log; two share each moment, and one of three belongs to test, prod and nothing each.
const ROWS: usize = 4_500;
/// The day of the generated log. What the test itself does is recorded later.
const DAY: &str = "start_time=2025-01-01T00:00:00Z&end_time=2025-01-02T00:00:00Z";
const EXPORT: &str = "/admin/audit-logs/export";
const HOLDS: &str = "/admin/audit-logs/legal-holds";

/// An API on a database, and people who may do different things with its log.
struct Place {
    home: Home,
    server: Replica,
    admin: Caller,
}

impl Place {
    async fn start() -> Self {
        let home = Home::new().await;
        home.seed().await;
        let server = Replica::start(&home, "api", &[]).await;
        let nobody = Caller::new(&home.client, &server, None);
        let token = log_in(&nobody, "admin", SEEDED_PASSWORD).await;
        let admin = Caller::new(&home.client, &server, Some(token));
        let change = json!({"old_password": SEEDED_PASSWORD, "new_password": PASSWORD});
        admin.post("/auth/change-password", &change).await.ok(204);
        Self { home, server, admin }
    }

    /// Somebody whose only role has these permissions in these environments.
    async fn person(&self, name: &str, permissions: &str, environments: &[&str]) -> Caller {
        let role = format!("role-{name}");
        self.run(&format!(
            "INSERT INTO roles (id, key, name, permissions) VALUES (gen_random_uuid(), '{role}', '{name}', '{{{permissions}}}')"
        ))
        .await;
        let user = json!({"username": name, "password": PASSWORD, "force_password_change": false});
        let user = self.admin.post("/admin/users", &user).await.ok(201);
        let path = format!("/admin/users/{}/role-bindings", text(&user["id"]));
        let binding = json!({"role_id": role, "allowed_environments": environments});
        self.admin.post(&path, &binding).await.ok(201);
        let nobody = Caller::new(&self.home.client, &self.server, None);
        let token = log_in(&nobody, name, PASSWORD).await;
        Caller::new(&self.home.client, &self.server, Some(token))
    }

    /// Runs a statement.
    async fn run(&self, sql: &str) {
        self.home.texts(sql).await;
    }

    /// Fills the log of one day. Every row says this much in its details.
    async fn generate(&self, day: &str, rows: usize, filler: usize) {
        self.run(&format!(
            "INSERT INTO audit_logs (id, action, action_code, performed_by, performed_by_name, performed_at,
                 resource_type, resource_id, environment, outcome, params, retention_class, retain_until)
             SELECT gen_random_uuid(), 'vm.create', 'EXECUTION_COMPLETED', 'system:worker', 'system:worker',
                 timestamptz '{day} 00:00:00Z' + n / 2 * interval '1 second', 'vm', n::text,
                 CASE n % 3 WHEN 0 THEN 'test' WHEN 1 THEN 'prod' END, 'success',
                 jsonb_build_object('filler', repeat('x', {filler})), 'prod', now()
             FROM generate_series(1, {rows}) AS n"
        ))
        .await;
    }

    /// The details of the newest row about an action.
    async fn recorded(&self, action: &str) -> Value {
        let query = format!(
            "SELECT params::text FROM audit_logs WHERE action = '{action}' ORDER BY performed_at DESC, id DESC LIMIT 1"
        );
        let found = self.home.texts(&query).await.pop();
        found.map_or(Value::Null, |params| serde_json::from_str(&params).unwrap())
    }

    async fn count(&self, action: &str) -> i64 {
        self.home.count(&format!("audit_logs WHERE action = '{action}'")).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_leaves_whole_in_order_and_on_record() {
    let place = Place::start().await;
    place.generate("2025-01-01", ROWS, 10).await;
    let all = a_stream_has_every_row_in_order(&place).await;
    pages_of_an_export_follow_each_other(&place, &all).await;
    an_export_is_checked_before_anything_is_sent(&place).await;
    an_export_shows_what_its_reader_may_see(&place, all.len()).await;
    an_export_that_cannot_be_recorded_does_not_happen(&place).await;
    an_export_that_fails_on_its_way_breaks_off(&place).await;
}

/// The objects of lines.
fn objects(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.header("content-type"), "application/x-ndjson");
    reply
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn places(objects: &[Value]) -> Vec<(String, String)> {
    let place = |object: &Value| (text(&object["@timestamp"]), text(&object["event_id"]));
    objects.iter().map(place).collect()
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

async fn a_stream_has_every_row_in_order(place: &Place) -> Vec<Value> {
    let found = objects(&place.admin.get(&format!("{EXPORT}?{DAY}&format=ndjson")).await);
    assert_eq!(found.len(), ROWS);
    assert!(places(&found).windows(2).all(|pair| pair[0] > pair[1]));
    let expected = [
        "@timestamp",
        "action",
        "action_code",
        "actor",
        "context",
        "details",
        "event_id",
        "level",
        "outcome",
        "resource",
    ];
    assert_eq!(keys(&found[0]), expected);
    assert_eq!(keys(&found[0]["actor"]), ["id", "ip", "name"]);
    assert_eq!(keys(&found[0]["resource"]), ["id", "name", "type"]);
    let context = ["cluster", "correlation_id", "environment", "ticket_id"];
    assert_eq!(keys(&found[0]["context"]), context);
    let recorded = place.recorded("audit.export").await;
    assert_eq!(recorded["start_time"], "2025-01-01T00:00:00Z");
    assert_eq!(
        (&recorded["format"], &recorded["page"]),
        (&json!("ndjson"), &Value::Null)
    );
    found
}

async fn pages_of_an_export_follow_each_other(place: &Place, all: &[Value]) {
    let mut paged = Vec::new();
    for page in 1..=5 {
        let path = format!("{EXPORT}?{DAY}&page={page}&per_page=1000&action=vm.*&actor_id=system:worker");
        let reply = place.admin.get(&path).await.ok(200);
        assert_eq!(reply["pagination"]["total"], ROWS);
        assert_eq!(reply["pagination"]["has_next"], page < 5);
        paged.extend(reply["logs"].as_array().cloned().unwrap());
    }
    assert!(paged == all, "the pages of an export are not its stream");
    let recorded = place.recorded("audit.export").await;
    assert_eq!((&recorded["action"], &recorded["page"]), (&json!("vm.*"), &json!(5)));

    let reply = place.admin.get(&format!("{EXPORT}?{DAY}")).await.ok(200);
    assert_eq!(reply["pagination"]["per_page"], 1000);
    let lines = place
        .admin
        .get(&format!("{EXPORT}?{DAY}&format=ndjson&page=2&per_page=10"))
        .await;
    assert_eq!(objects(&lines), all[10..20]);
    let beyond = place.admin.get(&format!("{EXPORT}?{DAY}&page=99")).await.ok(200);
    assert_eq!(
        (&beyond["logs"], &beyond["pagination"]["total"]),
        (&json!([]), &json!(ROWS))
    );
}

async fn an_export_is_checked_before_anything_is_sent(place: &Place) {
    let before = place.count("audit.export").await;
    let refused = async |query: &str| {
        let reply = place.admin.get(&format!("{EXPORT}?{query}")).await;
        let error = reply.body["field_errors"][0].clone();
        reply.refused(400, "VALIDATION_FAILED");
        (text(&error["field"]), text(&error["code"]))
    };
    let day = |more: &str| format!("{DAY}{more}");
    for (query, field, code) in [
        ("", "start_time", "REQUIRED"),
        ("start_time=2025-01-01T00:00:00Z", "end_time", "REQUIRED"),
        (
            "start_time=2025-01-02T00:00:00Z&end_time=2025-01-01T00:00:00Z",
            "end_time",
            "OUT_OF_RANGE",
        ),
        (
            "start_time=2025-01-01T00:00:00Z&end_time=2025-01-01T00:00:00Z",
            "end_time",
            "OUT_OF_RANGE",
        ),
        (
            "start_time=2025-01-01T00:00:00Z&end_time=2025-04-03T00:00:01Z",
            "end_time",
            "OUT_OF_RANGE",
        ),
        (day("&per_page=1001").as_str(), "per_page", "OUT_OF_RANGE"),
        (day("&page=0&format=ndjson").as_str(), "page", "OUT_OF_RANGE"),
        (day("&format=xml").as_str(), "format", "UNKNOWN_VALUE"),
        (day("&action=*.create").as_str(), "action", "INVALID_FORMAT"),
    ] {
        assert_eq!(refused(query).await, (field.to_owned(), code.to_owned()), "{query}");
    }
    let ranges = "start_time=2025-01-01T00:00:00Z&end_time=2025-04-03T00:00:00Z&per_page=1";
    place.admin.get(&format!("{EXPORT}?{ranges}")).await.ok(200);
    place
        .admin
        .get(&format!("{EXPORT}?start_time=x"))
        .await
        .refused(400, "INVALID_REQUEST");
    assert_eq!(place.count("audit.export").await, before + 1);
}

async fn an_export_shows_what_its_reader_may_see(place: &Place, rows: usize) {
    let path = format!("{EXPORT}?{DAY}&format=ndjson");
    let tester = place.person("tester", "audit:export", &["test"]).await;
    let found = objects(&tester.get(&path).await);
    let environments: BTreeSet<String> = found
        .iter()
        .map(|object| object["context"]["environment"].to_string())
        .collect();
    assert_eq!(environments, BTreeSet::from(["\"test\"".to_owned(), "null".to_owned()]));
    assert_eq!(found.len(), rows / 3 * 2);
    let listed = tester
        .get("/audit-logs?from=2025-01-01T00:00:00Z&to=2025-01-02T00:00:00Z")
        .await;
    assert_eq!(listed.ok(200)["pagination"]["total"], rows / 3 * 2);

    let reader = place.person("reader", "audit:read", BOTH).await;
    reader.get(&path).await.refused(403, "FORBIDDEN");
}

async fn an_export_that_cannot_be_recorded_does_not_happen(place: &Place) {
    place
        .run("ALTER TABLE audit_logs ADD CONSTRAINT no_export CHECK (action <> 'audit.export') NOT VALID")
        .await;
    for format in ["json", "ndjson"] {
        let reply = place.admin.get(&format!("{EXPORT}?{DAY}&format={format}")).await;
        assert!(!reply.text.contains("vm.create"), "{}", reply.text);
        reply.refused(500, "INTERNAL_ERROR");
    }
    place.run("ALTER TABLE audit_logs DROP CONSTRAINT no_export").await;
}

/// What is sent does not fit into the buffers on its way, so the server still reads when its table goes.
async fn an_export_that_fails_on_its_way_breaks_off(place: &Place) {
    place.generate("2025-02-01", ROWS, 12_000).await;
    let path = format!("{EXPORT}?start_time=2025-02-01T00:00:00Z&end_time=2025-02-02T00:00:00Z&format=ndjson");
    let mut answer = place.admin.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.chunk().await.unwrap().is_some());
    place.run("ALTER TABLE audit_logs RENAME TO audit_logs_gone").await;
    let end = loop {
        match answer.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "a part of the log looks like the whole");
    place.run("ALTER TABLE audit_logs_gone RENAME TO audit_logs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_searched_and_held() {
    let place = Place::start().await;
    place.generate("2025-01-01", 90, 10).await;
    the_list_is_searched_by_time_and_action(&place).await;
    a_hold_is_made_and_released(&place).await;
    a_hold_that_would_hold_nothing_is_refused(&place).await;
}

async fn the_list_is_searched_by_time_and_action(place: &Place) {
    let list = async |query: &str| place.admin.get(&format!("/audit-logs?{query}")).await;
    for (query, field, code) in [
        (
            "from=2025-01-02T00:00:00Z&to=2025-01-01T00:00:00Z",
            "to",
            "OUT_OF_RANGE",
        ),
        (
            "from=2025-01-01T00:00:00Z&to=2025-01-01T00:00:00Z",
            "to",
            "OUT_OF_RANGE",
        ),
        ("action=*create", "action", "INVALID_FORMAT"),
        ("action=vm.*.x", "action", "INVALID_FORMAT"),
        ("action=vm.**", "action", "INVALID_FORMAT"),
        ("action=", "action", "INVALID_FORMAT"),
    ] {
        let reply = list(query).await;
        let error = &reply.body["field_errors"][0];
        assert_eq!(
            (&error["field"], &error["code"]),
            (&json!(field), &json!(code)),
            "{query}"
        );
    }
    for (query, expected) in [
        ("from=2025-01-01T00:00:00Z&to=2025-01-02T00:00:00Z", 90),
        ("to=2025-01-02T00:00:00Z&action=vm.*", 90),
        ("to=2025-01-02T00:00:00Z&action=vm.create", 90),
        ("to=2025-01-02T00:00:00Z&action=vm.create_failed", 0),
        ("to=2025-01-02T00:00:00Z&action=user.*", 0),
        ("action=vm.*&environment=test", 30),
    ] {
        assert_eq!(list(query).await.ok(200)["pagination"]["total"], expected, "{query}");
    }
    let mut seen = Vec::new();
    for page in 1..=9 {
        let found = list(&format!("action=vm.*&per_page=10&page={page}")).await.ok(200);
        let items = found["items"].as_array().cloned().unwrap();
        seen.extend(items.iter().map(|item| (text(&item["created_at"]), text(&item["id"]))));
    }
    assert_eq!(seen.len(), 90);
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]));
}

async fn a_hold_is_made_and_released(place: &Place) {
    let body = json!({"name": "case 1", "filter": {"action": "vm.create", "environment": "prod"}});
    let reply = place.admin.post(HOLDS, &body).await;
    assert_eq!(reply.header("etag"), "\"1\"");
    let location = reply.header("location").to_owned();
    let hold = reply.ok(201);
    let id = text(&hold["id"]);
    assert!(location.ends_with(&format!("{HOLDS}/{id}")), "{location}");
    assert_eq!((&hold["filter"], hold.get("released_at")), (&body["filter"], None));
    let refused = place
        .admin
        .post(HOLDS, &body)
        .await
        .refused(409, "LEGAL_HOLD_NAME_EXISTS");
    assert_eq!(refused["name"], "case 1");

    let path = format!("{HOLDS}/{id}/release");
    let reason = json!({"reason": "the case is closed"});
    let released = place.admin.post(&path, &reason).await.ok(200);
    assert!(released["released_at"].is_string());
    let again = place.admin.post(&path, &json!({"reason": "once more"})).await.ok(200);
    assert_eq!(again, released);
    assert_eq!(place.count("audit.legal_hold.create").await, 1);
    assert_eq!(place.count("audit.legal_hold.release").await, 1);
    assert_eq!(place.recorded("audit.legal_hold.release").await, reason);
    assert_eq!(
        place.recorded("audit.legal_hold.create").await["filter"],
        body["filter"]
    );

    let everything = json!({"name": "case 2", "filter": {}});
    place.admin.post(HOLDS, &everything).await.ok(201);
    let listed = place.admin.get(HOLDS).await.ok(200);
    let names: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hold| text(&hold["name"]))
        .collect();
    assert_eq!(names, ["case 2", "case 1"]);

    let nothing = format!("{HOLDS}/01983f0e-0000-7000-8000-000000000000/release");
    place
        .admin
        .post(&nothing, &reason)
        .await
        .refused(404, "LEGAL_HOLD_NOT_FOUND");
    place
        .admin
        .post(&path, &json!({"reason": " "}))
        .await
        .refused(400, "VALIDATION_FAILED");
    place
        .admin
        .post(&path, &json!({}))
        .await
        .refused(400, "VALIDATION_FAILED");
    let exporter = place.person("exporter", "audit:export,audit:read", BOTH).await;
    exporter.get(HOLDS).await.refused(403, "FORBIDDEN");
    exporter.post(HOLDS, &everything).await.refused(403, "FORBIDDEN");
    exporter.post(&path, &reason).await.refused(403, "FORBIDDEN");
}

async fn a_hold_that_would_hold_nothing_is_refused(place: &Place) {
    let make = async |filter: Value| {
        place
            .admin
            .post(HOLDS, &json!({"name": "case 3", "filter": filter}))
            .await
    };
    let refused = make(json!({"actoin": "vm.create"})).await;
    assert_eq!(refused.refused(400, "INVALID_REQUEST_FIELD")["field"], "filter.actoin");
    for (filter, field) in [
        (json!({"action": "vm.*"}), "filter.action"),
        (json!({"action": "vm.craete"}), "filter.action"),
        (json!({"ticket_id": "TKT-000001"}), "filter.ticket_id"),
        (json!({"resource_id": ""}), "filter.resource_id"),
        (json!([]), "filter"),
    ] {
        let reply = make(filter).await;
        assert_eq!(reply.body["field_errors"][0]["field"], field);
        reply.refused(400, "VALIDATION_FAILED");
    }
    make(json!({"environment": "stage"}))
        .await
        .refused(400, "VALIDATION_FAILED");
    let unnamed = json!({"name": "  ", "filter": {}});
    place
        .admin
        .post(HOLDS, &unnamed)
        .await
        .refused(400, "VALIDATION_FAILED");
    assert_eq!(place.home.count("audit_legal_holds").await, 2);
}
