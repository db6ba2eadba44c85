//! Audit rows on their way to receivers of this machine: signed, in order, none lost, and no secret shown.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use reqwest::Method;
use ring::hmac;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::client::{Caller, Reply, send};
use crate::server::{Home, PATIENCE, Replica, SEEDED_PASSWORD, eventually};
use crate::world::{PASSWORD, log_in, text};

const HOOKS: &str = "/admin/audit-logs/webhooks";
const SECRET: &str = "a secret of the archive";
const TOKEN: &str = "value-of-the-variable";
/// A receiver with this status takes requests and never answers.
const SILENT: u16 = 0;

/// A request that a receiver got.
#[derive(Clone)]
struct Delivery {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    answered: u16,
}

impl Delivery {
    fn document(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks the signature as a receiver would.
    fn is_signed_with(&self, secret: &str) -> bool {
        let signature = self.headers["x-signature-256"].strip_prefix("sha256=").unwrap();
        let tag: Vec<u8> = (0..signature.len() / 2)
            .map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let message = [
            self.headers["x-shepherd-timestamp"].as_bytes(),
            b".".as_slice(),
            self.body.as_slice(),
        ]
        .concat();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &message, &tag).is_ok()
    }
}

/// A server that answers every request with the status of the moment.
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<Delivery>>>,
    _serving: JoinSet<()>,
}

impl Receiver {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}/audit", listener.local_addr().unwrap().port());
        let status = Arc::new(AtomicU16::new(status));
        let got = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        let (now, deliveries) = (Arc::clone(&status), Arc::clone(&got));
        serving.spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some((headers, body)) = read(&mut stream).await else {
                    continue;
                };
                let answered = now.load(Ordering::SeqCst);
                let delivery = Delivery {
                    headers,
                    body,
                    answered,
                };
                deliveries.lock().unwrap().push(delivery);
                if answered == SILENT {
                    silent.push(stream);
                    continue;
                }
                let answer = format!(
                    "HTTP/1.1 {answered} Because\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 6\r\n\r\nsecret"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            url,
            status,
            got,
            _serving: serving,
        }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn got(&self) -> Vec<Delivery> {
        self.got.lock().unwrap().clone()
    }

    /// Ids of the rows that were taken, in the order they came in.
    fn taken(&self) -> Vec<String> {
        let taken = self.got().into_iter().filter(|delivery| delivery.answered == 200);
        taken.flat_map(|delivery| event_ids(&delivery)).collect()
    }

    async fn waits_for(&self, what: &str, mut enough: impl FnMut(&[Delivery]) -> bool) {
        eventually(what, PATIENCE, async || enough(&self.got()).then_some(())).await;
    }
}

fn event_ids(delivery: &Delivery) -> Vec<String> {
    let document = delivery.document();
    let logs = document["logs"].as_array().cloned().unwrap_or_default();
    logs.iter().map(|object| text(&object["event_id"])).collect()
}

/// Reads a request; its header names in lower case.
async fn read(stream: &mut TcpStream) -> Option<(BTreeMap<String, String>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let headers: BTreeMap<String, String> = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let length: usize = headers.get("content-length")?.parse().ok()?;
            if bytes.len() >= end + 4 + length {
                return Some((headers, bytes[end + 4..].to_vec()));
            }
        }
        let read = stream.read(&mut buffer).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// An installation without clusters.
struct Place {
    home: Home,
    server: Replica,
    admin: Caller,
}

impl Place {
    async fn start() -> Self {
        let home = Home::new().await;
        home.seed().await;
        let env = [
            (
                "AUDIT_WEBHOOK_ENV_ALLOWLIST",
                "SIEM_TOKEN,SIEM_UNSET,OTHER_TOKEN@https://siem.example.org".to_owned(),
            ),
            ("SIEM_TOKEN", TOKEN.to_owned()),
        ];
        let server = Replica::start(&home, "api,controllers", &env).await;
        let anybody = Caller::new(&home.client, &server, None);
        let token = log_in(&anybody, "admin", SEEDED_PASSWORD).await;
        let admin = Caller::new(&home.client, &server, Some(token));
        let change = json!({"old_password": SEEDED_PASSWORD, "new_password": PASSWORD});
        admin.post("/auth/change-password", &change).await.ok(204);
        Self { home, server, admin }
    }

    fn anybody(&self) -> Caller {
        Caller::new(&self.home.client, &self.server, None)
    }

    /// Writes an audit row.
    async fn something_happens(&self) {
        log_in(&self.anybody(), "admin", PASSWORD).await;
    }

    async fn create(&self, hook: Value) -> Value {
        self.admin.post(HOOKS, &hook).await.ok(201)
    }

    async fn patch(&self, id: &str, change: &Value) -> Reply {
        let path = format!("{HOOKS}/{id}");
        send(self.admin.request(Method::PATCH, &path).json(change)).await
    }

    async fn test(&self, id: &str) -> Reply {
        send(self.admin.request(Method::POST, &format!("{HOOKS}/{id}/test"))).await
    }

    /// A webhook as it is listed.
    async fn listed(&self, id: &str) -> Value {
        let listed = self.admin.get(HOOKS).await.ok(200);
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().find(|hook| hook["id"] == id).unwrap_or_default()
    }

    /// Ids of the rows after a webhook was created, that row included, in the order of the log.
    async fn log_since(&self, hook: &str) -> Vec<String> {
        let query = format!(
            "SELECT id::text FROM audit_logs WHERE seq >= (SELECT seq FROM audit_logs \
             WHERE action = 'audit.webhook.create' AND resource_id = '{hook}') ORDER BY seq"
        );
        self.home.texts(&query).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_reach_receivers_in_order_and_none_is_lost() {
    let place = Place::start().await;
    let (archive, slow) = tokio::join!(Receiver::start(500), Receiver::start(SILENT));
    let silent = place
        .create(json!({"name": "slow", "url": slow.url, "flush_interval_seconds": 1}))
        .await;
    slow.waits_for("the slow receiver has a batch", |got| !got.is_empty())
        .await;

    let hook = place
        .create(json!({
            "name": "archive", "url": archive.url, "secret": SECRET, "flush_interval_seconds": 1, "batch_size": 3,
            "headers": {"Authorization": "Bearer ${ENV:SIEM_TOKEN}"},
        }))
        .await;
    let id = text(&hook["id"]);
    // A full batch does not wait.
    join_all((0..3).map(|_| place.something_happens())).await;
    archive
        .waits_for("a batch while another receiver is silent", |got| !got.is_empty())
        .await;
    let silent = place.listed(&text(&silent["id"])).await;
    assert!(silent["last_error"].is_null(), "it is still waited for: {silent}");

    eventually("the failure is told", PATIENCE, async || {
        let told = place.listed(&id).await;
        (told["last_error"] == "the receiver answered with status 500" && told["failing_since"].is_string())
            .then_some(())
    })
    .await;
    for _ in 0..5 {
        place.something_happens().await;
    }
    archive.answer(307);
    place.patch(&id, &json!({"enabled": true})).await.ok(200);
    archive
        .waits_for("a redirect is no success", |got| {
            got.iter().any(|delivery| delivery.answered == 307)
        })
        .await;
    archive.answer(200);
    eventually("the redirect is told", PATIENCE, async || {
        let told = place.listed(&id).await;
        (told["last_error"] == "the receiver answered with status 307").then_some(())
    })
    .await;
    // A change has the next attempt made at once.
    place.patch(&id, &json!({"enabled": true})).await.ok(200);
    let expected = place.log_since(&id).await;
    assert!(expected.len() >= 8, "{expected:?}");
    archive
        .waits_for("everything was taken", |_| archive.taken().len() >= expected.len())
        .await;
    assert_eq!(archive.taken()[..expected.len()], expected);

    let got = archive.got();
    for delivery in &got {
        assert!(delivery.is_signed_with(SECRET));
        assert!(!delivery.is_signed_with("another secret of nobody"));
        assert_eq!(delivery.headers["authorization"], format!("Bearer {TOKEN}"));
        assert!(event_ids(delivery).len() <= 3);
    }
    let first = got[0].document();
    assert_eq!(first["logs"][0]["action"], "audit.webhook.create", "{first}");
    let told = place.listed(&id).await;
    assert!(
        told["last_error"].is_null() && told["failing_since"].is_null(),
        "{told}"
    );
    assert!(told["last_success_at"].is_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_checked_kept_and_tested_without_showing_a_secret() {
    let place = Place::start().await;
    let receiver = Receiver::start(200).await;
    refuses_what_cannot_be_sent(&place, &receiver).await;
    let hook = place
        .create(json!({
            "name": "archive", "url": format!("{}?key=in-the-url", receiver.url), "enabled": false,
            "headers": {"X-Key": "in-the-header"}, "filters": {"actions": ["vm.*"], "environments": ["prod"]},
        }))
        .await;
    let id = text(&hook["id"]);
    let made = text(&hook["secret"]);
    assert!(made.len() >= 43, "a secret is made when none is given");
    assert_eq!(hook["headers"], json!([{"name": "X-Key", "has_value": true}]));
    let listed = place.listed(&id).await;
    assert_eq!(listed["secret"], Value::Null);
    assert_eq!(listed["has_secret"], true);
    assert!(!listed.to_string().contains("in-the-header"));
    let again = json!({"name": "archive", "url": receiver.url});
    place
        .admin
        .post(HOOKS, &again)
        .await
        .refused(409, "AUDIT_WEBHOOK_NAME_EXISTS");

    tests_say_what_came_of_them(&place, &receiver, &id, &made).await;
    changes_are_checked_too(&place, &receiver, &id).await;
    managers_of_one_environment_stay_within_it(&place, &receiver, &id).await;

    place.admin.delete(&format!("{HOOKS}/{id}")).await.ok(204);
    place
        .admin
        .delete(&format!("{HOOKS}/{id}"))
        .await
        .refused(404, "AUDIT_WEBHOOK_NOT_FOUND");
    let recorded = place
        .home
        .texts(
            "SELECT action || ' ' || params::text FROM audit_logs WHERE resource_type = 'audit_webhook' ORDER BY seq",
        )
        .await;
    let log = place.server.log_text();
    for secret in [
        made.as_str(),
        "in-the-header",
        "in-the-url",
        "another-value",
        SECRET,
        TOKEN,
    ] {
        assert!(
            !recorded.iter().any(|row| row.contains(secret)),
            "{secret} in {recorded:?}"
        );
        assert!(!log.contains(secret), "{secret} in the log");
    }
    for action in ["create", "update", "delete", "test"] {
        let action = format!("audit.webhook.{action} ");
        assert!(
            recorded.iter().any(|row| row.starts_with(&action)),
            "{action} in {recorded:?}"
        );
    }
}

async fn refuses_what_cannot_be_sent(place: &Place, receiver: &Receiver) {
    for host in ["10.0.0.1", "169.254.169.254", "127.0.0.2", "metadata.google.internal"] {
        let hook = json!({"name": "inside", "url": format!("https://{host}/audit")});
        let params = place.admin.post(HOOKS, &hook).await.refused(400, "OUTBOUND_BLOCKED");
        assert_eq!(params, json!({"host": host}));
    }
    let with = |field: &str, value: Value| {
        let mut hook = json!({"name": "wrong", "url": receiver.url});
        hook[field] = value;
        hook
    };
    let rows: Vec<(&str, Value, &str, &str)> = vec![
        ("url", json!("ftp://example.org"), "url", "INVALID_FORMAT"),
        ("url", json!("http://1.1.1.1/"), "url", "INVALID_FORMAT"),
        ("url", json!("https://user:word@example.org/"), "url", "INVALID_FORMAT"),
        ("name", json!(" "), "name", "REQUIRED"),
        ("secret", json!("too short"), "secret", "TOO_SHORT"),
        ("batch_size", json!(1001), "batch_size", "OUT_OF_RANGE"),
        (
            "flush_interval_seconds",
            json!(0),
            "flush_interval_seconds",
            "OUT_OF_RANGE",
        ),
        ("headers", json!({"Host": "a"}), "headers", "INVALID_FORMAT"),
        (
            "headers",
            json!({"X-A": "a\r\nX-B: b"}),
            "headers.X-A",
            "INVALID_FORMAT",
        ),
        (
            "headers",
            json!({"X-A": "${ENV:ENCRYPTION_KEY}"}),
            "headers.X-A",
            "UNKNOWN_VALUE",
        ),
        // It is for another receiver.
        (
            "headers",
            json!({"X-A": "${ENV:OTHER_TOKEN}"}),
            "headers.X-A",
            "UNKNOWN_VALUE",
        ),
        ("headers", json!({"X-A": "a", "x-a": "b"}), "headers", "INVALID_FORMAT"),
        (
            "filters",
            json!({"actions": ["vm.*", "VM"]}),
            "filters.actions[1]",
            "INVALID_FORMAT",
        ),
    ];
    for (given, value, field, code) in rows {
        let reply = place.admin.post(HOOKS, &with(given, value.clone())).await;
        assert_eq!(
            (reply.status, reply.code()),
            (400, "VALIDATION_FAILED"),
            "{given}: {}",
            reply.text
        );
        let found = &reply.body["field_errors"][0];
        assert_eq!(
            (&found["field"], &found["code"]),
            (&json!(field), &json!(code)),
            "{value}"
        );
    }
    assert_eq!(place.home.count("audit_webhooks").await, 0);
    assert!(receiver.got().is_empty(), "nothing is sent when a webhook is saved");
}

async fn tests_say_what_came_of_them(place: &Place, receiver: &Receiver, id: &str, secret: &str) {
    let outcome = place.test(id).await.ok(200);
    assert_eq!(
        outcome,
        json!({"success": true, "message": "the receiver took the event"})
    );
    let event = receiver.got().pop().unwrap();
    assert_eq!(event.document(), json!({"test": true}));
    assert!(event.is_signed_with(secret));
    assert_eq!(event.headers["x-key"], "in-the-header");
    assert_eq!(event.headers["content-type"], "application/json");

    for status in [404, 302] {
        receiver.answer(status);
        let outcome = place.test(id).await.ok(200);
        let message = format!("the receiver answered with status {status}");
        assert_eq!(outcome, json!({"success": false, "message": message}));
    }
    receiver.answer(200);
    let nobody = "01983f0e-0000-7000-8000-000000000000";
    place.test(nobody).await.refused(404, "AUDIT_WEBHOOK_NOT_FOUND");
}

async fn changes_are_checked_too(place: &Place, receiver: &Receiver, id: &str) {
    let inside = json!({"url": "https://192.168.0.1/", "headers": null});
    place.patch(id, &inside).await.refused(400, "OUTBOUND_BLOCKED");
    // Whoever moves a webhook must not get what its headers hold.
    let elsewhere = Receiver::start(200).await;
    let reply = place.patch(id, &json!({"url": elsewhere.url})).await;
    assert_eq!(
        (reply.status, reply.code()),
        (400, "VALIDATION_FAILED"),
        "{}",
        reply.text
    );
    assert_eq!(
        reply.body["field_errors"],
        json!([{"field": "headers", "code": "REQUIRED"}])
    );

    let moved = json!({
        "url": elsewhere.url, "headers": {"X-Key": "another-value", "X-Unset": "${ENV:SIEM_UNSET}"}, "secret": SECRET,
    });
    place.patch(id, &moved).await.ok(200);
    let outcome = place.test(id).await.ok(200);
    assert_eq!(outcome["success"], false, "a variable is not set: {outcome}");
    assert!(elsewhere.got().is_empty());
    let changed = place
        .patch(id, &json!({"headers": {"X-Key": "another-value"}}))
        .await
        .ok(200);
    assert_eq!(changed["headers"], json!([{"name": "X-Key", "has_value": true}]));
    assert_eq!(place.test(id).await.ok(200)["success"], true);
    let event = elsewhere.got().pop().unwrap();
    assert!(event.is_signed_with(SECRET));
    assert_eq!(event.headers["x-key"], "another-value");

    let stale = place
        .admin
        .request(Method::PATCH, &format!("{HOOKS}/{id}"))
        .header("if-match", "\"1\"")
        .json(&json!({"batch_size": 5}));
    send(stale).await.refused(412, "PRECONDITION_FAILED");
    let back = json!({"url": receiver.url, "headers": null, "filters": null});
    let changed = place.patch(id, &back).await.ok(200);
    assert_eq!(changed["filters"], json!({"actions": [], "environments": []}));
    assert_eq!(changed["headers"], json!([]));
}

async fn managers_of_one_environment_stay_within_it(place: &Place, receiver: &Receiver, id: &str) {
    let role = json!({"name": "test-auditor", "permissions": ["audit:manage"]});
    let role = text(&place.admin.post("/admin/roles", &role).await.ok(201)["id"]);
    let user = json!({"username": "tina", "password": "brown kettle choir 31", "force_password_change": false});
    let user = text(&place.admin.post("/admin/users", &user).await.ok(201)["id"]);
    let binding = json!({"role_id": role, "allowed_environments": ["test"]});
    let path = format!("/admin/users/{user}/role-bindings");
    place.admin.post(&path, &binding).await.ok(201);
    let token = log_in(&place.anybody(), "tina", "brown kettle choir 31").await;
    let tina = Caller::new(&place.home.client, &place.server, Some(token));

    let everything = json!({"name": "all", "url": receiver.url});
    let params = tina.post(HOOKS, &everything).await.refused(403, "FORBIDDEN");
    assert_eq!(params["environment"], "prod");
    let path = format!("{HOOKS}/{id}");
    let narrow = json!({"filters": {"environments": ["test"]}});
    send(tina.request(Method::PATCH, &path).json(&narrow))
        .await
        .refused(403, "FORBIDDEN");
    send(tina.request(Method::POST, &format!("{path}/test")))
        .await
        .refused(403, "FORBIDDEN");
    let own = json!({"name": "own", "url": receiver.url, "enabled": false, "filters": {"environments": ["test"]}});
    tina.post(HOOKS, &own).await.ok(201);
}
