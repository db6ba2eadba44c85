//! Tickets that systems outside of the platform decide, and systems that do not behave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use reqwest::{Method, RequestBuilder};
use ring::hmac;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::client::{Caller, Reply, send};
use crate::server::{ALL_ROLES, Home, PATIENCE, eventually};
use crate::world::{User, World, text};

const SYSTEMS: &str = "/admin/external-approval-systems";
const CALLBACK: &str = "/webhooks/approval-callback";
pub const SECRET: &str = "a secret of the board";
const NOTHING: &str = "01983f0e-0000-7000-8000-000000000000";

/// How a system answers a ticket.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Takes it, and gives it an id.
    Takes,
    /// Answers with a status, and points elsewhere.
    Says(u16),
    /// Takes it, and refuses to say what became of it.
    Locked,
    /// Breaks down twice, and takes it then.
    Recovers,
    /// Never answers.
    Silent,
    /// Begins an answer that never ends.
    Drips,
}

/// A request that a system got.
#[derive(Clone)]
struct Got {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Got {
    fn document(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn is_signed(&self) -> bool {
        let timestamp = &self.headers["x-shepherd-timestamp"];
        self.headers["x-signature-256"] == signature(SECRET, timestamp, &self.body)
    }
}

/// A system of this machine.
pub struct Board {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    verdict: Arc<Mutex<Value>>,
    _serving: JoinSet<()>,
}

impl Board {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}/board", listener.local_addr().unwrap().port());
        let got = Arc::new(Mutex::new(Vec::new()));
        let verdict = Arc::new(Mutex::new(json!({"status": "in review"})));
        let mut serving = JoinSet::new();
        let (seen, says) = (Arc::clone(&got), Arc::clone(&verdict));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, says) = (Arc::clone(&seen), Arc::clone(&says));
                connections.spawn(serve(stream, manner, seen, says));
            }
        });
        Self {
            url,
            got,
            verdict,
            _serving: serving,
        }
    }

    fn says(&self, verdict: Value) {
        *self.verdict.lock().unwrap() = verdict;
    }

    /// What came in whose request line begins so.
    fn got(&self, line: &str) -> Vec<Got> {
        let got = self.got.lock().unwrap();
        got.iter().filter(|got| got.line.starts_with(line)).cloned().collect()
    }

    /// The submissions of a ticket.
    fn submissions(&self, ticket: &str) -> Vec<Got> {
        let all = self.got("POST /board ");
        all.into_iter()
            .filter(|got| got.headers.get("x-ticket-id").is_some_and(|id| id == ticket))
            .collect()
    }

    async fn waits_for(&self, what: &str, line: &str) -> Got {
        eventually(what, PATIENCE, async || self.got(line).pop()).await
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, seen: Arc<Mutex<Vec<Got>>>, says: Arc<Mutex<Value>>) {
    let Some(got) = read(&mut stream).await else { return };
    let is_ticket = got.line.starts_with("POST /board ");
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(got.clone());
        seen.iter().filter(|got| got.line.starts_with("POST /board ")).count()
    };
    let taken = json!({"external_id": format!("CHG/{before}")}).to_string();
    let (status, body) = match manner {
        Manner::Locked if !is_ticket => (401, "{}".to_owned()),
        _ if got.line.starts_with("GET ") => (200, says.lock().unwrap().to_string()),
        _ if !is_ticket => (200, "{}".to_owned()),
        Manner::Takes | Manner::Locked => (200, taken),
        Manner::Says(status) => (status, "{}".to_owned()),
        Manner::Recovers if before <= 2 => (500, "out of order".to_owned()),
        Manner::Recovers => (200, taken),
        Manner::Silent => return std::future::pending().await,
        Manner::Drips => {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
                .await;
            return std::future::pending().await;
        }
    };
    let answer = format!(
        "HTTP/1.1 {status} Because\r\nlocation: http://127.0.0.1:9/\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Reads a request; its header names in lower case.
async fn read(stream: &mut TcpStream) -> Option<Got> {
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
            let length: usize = headers
                .get("content-length")
                .map_or(Some(0), |text| text.parse().ok())?;
            if bytes.len() >= end + 4 + length {
                return Some(Got {
                    line: head.lines().next()?.to_owned(),
                    headers,
                    body: bytes[end + 4..].to_vec(),
                });
            }
        }
        let read = stream.read(&mut buffer).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn signature(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let message = [timestamp.as_bytes(), b".".as_slice(), body].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &message);
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// A callback that is signed now, not sent yet.
pub fn callback(caller: &Caller, secret: &str, body: &Value) -> RequestBuilder {
    callback_of(caller, secret, body, 0)
}

/// The same, signed so many seconds ago.
fn callback_of(caller: &Caller, secret: &str, body: &Value, age: u64) -> RequestBuilder {
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    let timestamp = (now - age).to_string();
    let body = body.to_string();
    caller
        .request(Method::POST, CALLBACK)
        .header("content-type", "application/json")
        .header("x-signature-256", signature(secret, &timestamp, body.as_bytes()))
        .header("x-shepherd-timestamp", timestamp)
        .body(body)
}

/// Hands a ticket to a system, as a policy would.
pub async fn hand_over(home: &Home, ticket: &str, system: &str) {
    let insert = format!(
        "INSERT INTO external_approval_submissions (id, ticket_id, system_id) \
         VALUES (gen_random_uuid(), '{ticket}', '{system}') RETURNING id::text"
    );
    home.texts(&insert).await;
}

/// A system of this installation; answers its id.
pub async fn set_up(world: &World, name: &str, board: &Board, change: Value) -> String {
    let mut system = json!({
        "name": name, "system_type": "webhook", "webhook_url": board.url, "webhook_secret": SECRET, "enabled": true,
        "poll_interval_seconds": 5, "status_mapping": {"Done": "approved"},
    });
    for (key, value) in change.as_object().cloned().unwrap_or_default() {
        system[key] = value;
    }
    text(&world.as_(User::Admin).post(SYSTEMS, &system).await.ok(201)["id"])
}

/// Alice asks for a machine of a size; answers the ticket.
async fn request(world: &World, size: &str) -> String {
    let mut body = world.vm_body("dev");
    body["instance_size_id"] = json!(world.size(size));
    text(&world.as_(User::Alice).post("/vms", &body).await.ok(202)["ticket_id"])
}

pub async fn submission(world: &World, ticket: &str, column: &str) -> String {
    let query =
        format!("SELECT coalesce({column}::text, '') FROM external_approval_submissions WHERE ticket_id = '{ticket}'");
    world.home.texts(&query).await.pop().unwrap_or_default()
}

pub async fn reaches(world: &World, ticket: &str, state: &str) {
    eventually(
        &format!("the submission of {ticket} is {state}"),
        PATIENCE,
        async || (submission(world, ticket, "state").await == state).then_some(()),
    )
    .await;
}

async fn accepted(world: &World, body: &Value) -> Value {
    let reply = send(callback(&world.anonymous(), SECRET, body)).await;
    reply.ok(200)["accepted"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_decides_what_a_policy_hands_to_it() {
    let world = World::start().await;
    let _second = world.start_replica(ALL_ROLES, &[]).await;
    let board = Board::start(Manner::Takes).await;
    let system = set_up(&world, "board", &board, json!({})).await;
    let policy = json!({
        "name": "the board decides", "operation": "CREATE_VM", "environment": "test", "requires_approval": true,
        "external_system_id": system,
    });
    let admin = world.as_(User::Admin);
    let policy = text(&admin.post("/admin/approval-policies", &policy).await.ok(201)["id"]);
    let in_use = admin.delete(&format!("{SYSTEMS}/{system}")).await;
    assert_eq!(
        in_use.refused(409, "EXTERNAL_SYSTEM_IN_USE"),
        json!({"reference_count": 1})
    );

    let ticket = request(&world, "small").await;
    reaches(&world, &ticket, "SUBMITTED").await;
    is_told_what_is_asked_for(&world, &board, &ticket).await;
    believes_nobody_else(&world, &ticket).await;
    let external_id = submission(&world, &ticket, "external_id").await;
    let approval = json!({
        "shepherd_ticket_id": ticket, "external_ticket_id": "CHG/elsewhere", "status": "APPROVED", "approver": "dora",
        "comments": "in the window",
    });
    assert_eq!(accepted(&world, &approval).await, json!(true));
    assert_eq!(accepted(&world, &approval).await, json!(true), "it says the same again");
    let mut other = approval.clone();
    other["status"] = json!("rejected");
    assert_eq!(accepted(&world, &other).await, json!(false), "it is decided");
    let recorded = "SELECT params::text FROM audit_logs \
                    WHERE action = 'external_approval.callback' AND outcome = 'success'";
    let recorded = world.home.texts(recorded).await;
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    assert!(recorded[0].contains("CHG/elsewhere") && recorded[0].contains(&external_id));
    is_shown_to_readers(&world, &ticket, &system).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    assert_eq!(
        world.ticket_column(&ticket, "approver_id").await,
        "system:external:board"
    );
    assert_eq!(world.ticket_column(&ticket, "decided_by_kind").await, "EXTERNAL");
    let comment = world.ticket_column(&ticket, "decision_comment").await;
    assert_eq!(comment, "dora in board: in the window");
    let audits = world.audit_of(&ticket).await;
    for once in ["approval.approve", "external_approval.submit"] {
        assert_eq!(audits.iter().filter(|action| *action == once).count(), 1, "{audits:?}");
    }
    assert_eq!(board.submissions(&ticket).len(), 1, "two replicas deliver once");

    board.says(json!({"status": "done", "approver": "dora"}));
    let asked = request(&world, "medium").await;
    world.wait_for_ticket(&asked, "COMPLETED").await;
    assert_eq!(submission(&world, &asked, "state").await, "APPROVED");
    board.says(json!({"status": "in review"}));

    requesters_do_not_decide(&world, &system).await;
    consents_to_what_it_saw(&world).await;
    people_are_faster(&world, &board).await;
    admin
        .delete(&format!("/admin/approval-policies/{policy}"))
        .await
        .ok(204);
    admin.delete(&format!("{SYSTEMS}/{system}")).await.ok(204);
}

async fn is_told_what_is_asked_for(world: &World, board: &Board, ticket: &str) {
    let got = board.submissions(ticket).pop().unwrap();
    assert!(got.is_signed());
    let document = got.document();
    assert_eq!(document["shepherd_ticket_id"], ticket);
    assert_eq!(document["ticket_number"], world.ticket_column(ticket, "number").await);
    assert_eq!(document["type"], "CREATE");
    assert_eq!(document["environment"], "test");
    assert_eq!(document["requester"]["username"], "alice");
    assert_eq!(document["request_details"]["spec"]["namespace"], "dev");
    assert_eq!(document["resource_summary"]["service"]["name"], "web");
    let url = text(&document["callback_url"]);
    assert!(url.ends_with("/api/v1/webhooks/approval-callback"), "{url}");
}

/// A wrong signature, an unknown ticket and an old callback are refused, and nothing tells the first two apart.
async fn believes_nobody_else(world: &World, ticket: &str) {
    let anybody = world.anonymous();
    let body = json!({"shepherd_ticket_id": ticket, "external_ticket_id": "x", "status": "approved"});
    let forged = send(callback(&anybody, "another secret of nobody", &body)).await;
    let mut unknown = body.clone();
    unknown["shepherd_ticket_id"] = json!(NOTHING);
    let nothing = send(callback(&anybody, SECRET, &unknown)).await;
    assert_eq!((forged.status, &forged.text), (nothing.status, &nothing.text));
    forged.refused(401, "WEBHOOK_SIGNATURE_INVALID");
    let unsigned = anybody.post(CALLBACK, &body).await;
    unsigned.refused(401, "WEBHOOK_SIGNATURE_INVALID");
    let stale = send(callback_of(&anybody, SECRET, &body, 400)).await;
    stale.refused(401, "WEBHOOK_STALE");
    let recorded = "audit_logs WHERE action = 'external_approval.callback' AND outcome = 'failure'";
    assert_eq!(world.home.count(recorded).await, 3);
    assert_eq!(world.ticket_column(ticket, "status").await, "PENDING_APPROVAL");
}

async fn is_shown_to_readers(world: &World, ticket: &str, system: &str) {
    let detail = world
        .as_(User::Alice)
        .get(&format!("/approvals/{ticket}"))
        .await
        .ok(200);
    let shown = &detail["external_approval"];
    assert_eq!(
        (&shown["system_id"], &shown["system_name"]),
        (&json!(system), &json!("board"))
    );
    assert_eq!(shown["state"], "APPROVED");
    let verdict = json!({"answer": "approved", "approver": "dora", "comment": "in the window"});
    assert_eq!(shown["verdict"], verdict);
}

/// In prod nobody decides what they asked for: not by another spelling of their name, nor by no name at all.
async fn requesters_do_not_decide(world: &World, system: &str) {
    let ticket = world.request_vm("prod-shop").await;
    hand_over(&world.home, &ticket, system).await;
    let consent = json!({
        "shepherd_ticket_id": ticket, "external_ticket_id": ticket, "status": "approved",
        "approver": "Somebody Else <Alice>",
    });
    let own = send(callback(&world.anonymous(), SECRET, &consent)).await;
    own.refused(403, "SELF_APPROVAL_FORBIDDEN");
    let nameless = json!({"shepherd_ticket_id": ticket, "external_ticket_id": ticket, "status": "approved"});
    assert_eq!(accepted(world, &nameless).await, json!(true));
    assert_eq!(world.ticket_column(&ticket, "status").await, "PENDING_APPROVAL");
    assert_eq!(submission(world, &ticket, "state").await, "APPROVED");
    for outcome in ["failure", "success"] {
        let rows = format!(
            "audit_logs WHERE action = 'external_approval.callback' AND resource_id = '{ticket}' AND outcome = '{outcome}'"
        );
        assert_eq!(world.home.count(&rows).await, 1, "{outcome}");
    }
}

/// Bob puts a spec with a larger disk in the place of what was asked for.
pub async fn replace_spec(world: &World, ticket: &str) {
    let bob = world.as_(User::Bob);
    let mut spec = bob.get(&format!("/approvals/{ticket}")).await.ok(200)["original_spec"].clone();
    spec["disk_gb"] = json!(spec["disk_gb"].as_i64().unwrap_or_default() + 1);
    let body = json!({"modified_spec": spec, "modification_reason": "it needs more"});
    let path = format!("/admin/approvals/{ticket}/modified-spec");
    send(bob.request(Method::PUT, &path).json(&body)).await.ok(200);
}

/// What an approver puts in the place of what the system saw waits for an approver.
async fn consents_to_what_it_saw(world: &World) {
    let ticket = request(world, "large").await;
    reaches(world, &ticket, "SUBMITTED").await;
    replace_spec(world, &ticket).await;
    let approval = json!({
        "shepherd_ticket_id": ticket, "external_ticket_id": submission(world, &ticket, "external_id").await,
        "status": "approved", "approver": "dora",
    });
    accepted(world, &approval).await;
    assert_eq!(submission(world, &ticket, "state").await, "APPROVED");
    assert_eq!(world.ticket_column(&ticket, "status").await, "PENDING_APPROVAL");
    let told = format!(
        "notifications WHERE user_id = '{}' AND resource_id = '{ticket}' AND severity = 'warning'",
        world.id(User::Bob)
    );
    assert_eq!(world.home.count(&told).await, 1, "approvers are told");
    world.approve(&ticket).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
}

/// What is withdrawn or decided by a person is withdrawn from the system as well.
async fn people_are_faster(world: &World, board: &Board) {
    for (size, withdrawn) in [("small", true), ("medium", false)] {
        let ticket = request(world, size).await;
        reaches(world, &ticket, "SUBMITTED").await;
        if withdrawn {
            let path = format!("/approvals/{ticket}/cancel");
            world.as_(User::Alice).post(&path, &json!({})).await.ok(204);
        } else {
            world.approve(&ticket).await;
        }
        assert_eq!(submission(world, &ticket, "state").await, "CANCELLED");
        let id = submission(world, &ticket, "external_id").await.replace('/', "%2F");
        let told = board
            .waits_for("the system hears of it", &format!("POST /board/{id}/cancel "))
            .await;
        assert!(told.is_signed());
        assert_eq!(told.document()["event"], "cancel");
        let reflected = send(callback(&world.anonymous(), SECRET, &told.document())).await;
        assert_eq!(reflected.status, 400, "it is no callback: {}", reflected.text);
        let late = json!({
            "shepherd_ticket_id": ticket, "external_ticket_id": submission(world, &ticket, "external_id").await,
            "status": "rejected",
        });
        assert_eq!(accepted(world, &late).await, json!(false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_never_depends_on_a_system_that_does_not_work() {
    let world = World::start().await;
    keeps_no_secret_in_sight(&world).await;
    let manners = [
        (Manner::Says(307), "small", 30, "the system answered with status 307"),
        (Manner::Silent, "medium", 1, "the system did not answer in time"),
        (Manner::Drips, "large", 1, "the system did not answer in time"),
        (Manner::Locked, "burst", 30, "the system answered with status 401"),
    ];
    let mut boards = Vec::new();
    for (number, (manner, size, seconds, error)) in manners.into_iter().enumerate() {
        let board = Board::start(manner).await;
        let change = json!({"retry_count": 0, "timeout_seconds": seconds});
        let system = set_up(&world, &format!("board-{number}"), &board, change).await;
        let ticket = request(&world, size).await;
        hand_over(&world.home, &ticket, &system).await;
        boards.push((board, ticket, error));
    }
    let recovering = Board::start(Manner::Recovers).await;
    let system = set_up(&world, "recovering", &recovering, json!({})).await;
    let patient = request(&world, "xlarge").await;
    hand_over(&world.home, &patient, &system).await;
    for (board, ticket, error) in &boards {
        reaches(&world, ticket, "FELL_BACK").await;
        assert_eq!(submission(&world, ticket, "last_error").await, *error);
        assert_eq!(board.submissions(ticket).len(), 1);
        assert_eq!(world.ticket_column(ticket, "status").await, "PENDING_APPROVAL");
        let audits = world.audit_of(ticket).await;
        assert!(audits.contains(&"external_approval.fallback".to_owned()), "{audits:?}");
    }
    let (_, ticket, _) = &boards[0];
    world.approve(ticket).await;
    world.wait_for_ticket(ticket, "COMPLETED").await;

    reaches(&world, &patient, "SUBMITTED").await;
    assert_eq!(recovering.submissions(&patient).len(), 3);
    let path = format!("{SYSTEMS}/{system}");
    let disable = world.as_(User::Admin).request(Method::PATCH, &path);
    send(disable.json(&json!({"enabled": false}))).await.ok(200);
    reaches(&world, &patient, "FELL_BACK").await;
    let told = format!(
        "notifications WHERE user_id = '{}' AND resource_id = '{patient}' AND severity = 'warning'",
        world.id(User::Bob)
    );
    assert_eq!(world.home.count(&told).await, 1, "approvers are told");
    a_flood_of_forgeries_leaves_few_traces(&world).await;
}

async fn a_flood_of_forgeries_leaves_few_traces(world: &World) {
    const LOOKED_AT: i64 = 20;
    let body = json!({"shepherd_ticket_id": NOTHING, "external_ticket_id": "x", "status": "approved"});
    let forge = async || send(callback(&world.anonymous(), SECRET, &body)).await;
    for _ in 0..LOOKED_AT {
        forge().await.refused(401, "WEBHOOK_SIGNATURE_INVALID");
    }
    for _ in 0..5 {
        let reply = forge().await;
        let seconds: i64 = reply.header("retry-after").parse().expect("seconds");
        assert!((1..=901).contains(&seconds), "{seconds}");
        let refused = reply.refused(429, "RATE_LIMIT_EXCEEDED");
        let expected = json!({
            "limit_type": "approval_callback", "current_value": LOOKED_AT, "max_value": LOOKED_AT,
            "retry_after": seconds, "contact_admin": false,
        });
        assert_eq!(refused, expected);
    }
    let recorded = "audit_logs WHERE action = 'external_approval.callback' AND outcome = 'failure'";
    assert_eq!(world.home.count(recorded).await, LOOKED_AT);
    let counted = "login_attempts WHERE subject_kind = 'callback'";
    assert_eq!(world.home.count(counted).await, LOOKED_AT);
}

/// What is wrong with a system is said when it is saved, and no secret is ever shown again.
async fn keeps_no_secret_in_sight(world: &World) {
    let admin = world.as_(User::Admin);
    let system = json!({"name": "kept", "system_type": "webhook", "webhook_url": "https://127.0.0.1:9/a"});
    let refused = async |field: &str, value: Value| -> Reply {
        let mut wrong = system.clone();
        wrong[field] = value;
        admin.post(SYSTEMS, &wrong).await
    };
    let inside = refused("webhook_url", json!("https://169.254.169.254/")).await;
    inside.refused(400, "OUTBOUND_BLOCKED");
    for (field, value, named, code) in [
        ("webhook_url", json!("http://1.1.1.1/"), "webhook_url", "INVALID_FORMAT"),
        ("system_type", json!("jira"), "system_type", "UNKNOWN_VALUE"),
        (
            "webhook_headers",
            json!({"X-Ticket-ID": "a"}),
            "webhook_headers",
            "INVALID_FORMAT",
        ),
        (
            "status_mapping",
            json!({"ok": "approved", "OK": "rejected"}),
            "status_mapping",
            "INVALID_FORMAT",
        ),
    ] {
        let reply = refused(field, value).await;
        assert_eq!(
            (reply.status, reply.code()),
            (400, "VALIDATION_FAILED"),
            "{}",
            reply.text
        );
        let found = &reply.body["field_errors"][0];
        assert_eq!((&found["field"], &found["code"]), (&json!(named), &json!(code)));
    }
    let headed = refused("webhook_headers", json!({"X-Key": "in-the-header"}))
        .await
        .ok(201);
    let made = text(&headed["webhook_secret"]);
    assert!(made.len() >= 43, "a secret is made when none is given");
    assert_eq!(headed["webhook_headers"], json!([{"name": "X-Key", "has_value": true}]));
    let again = admin.post(SYSTEMS, &system).await;
    again.refused(409, "EXTERNAL_SYSTEM_NAME_EXISTS");
    let listed = admin.get(SYSTEMS).await.ok(200).to_string();
    assert!(!listed.contains(&made) && !listed.contains("in-the-header"), "{listed}");
    let moved = admin.request(Method::PATCH, &format!("{SYSTEMS}/{}", text(&headed["id"])));
    let moved = send(moved.json(&json!({"webhook_url": "https://127.0.0.1:10/a"}))).await;
    assert_eq!(
        moved.body["field_errors"],
        json!([{"field": "webhook_headers", "code": "REQUIRED"}])
    );
    let recorded = world
        .home
        .texts("SELECT params::text FROM audit_logs WHERE resource_type = 'external_approval_system'")
        .await;
    assert!(
        !recorded
            .iter()
            .any(|row| row.contains(&made) || row.contains("in-the-header")),
        "{recorded:?}"
    );
}
