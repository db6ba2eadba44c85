//! Requests that are wrong: each gets its code, and none leaves a trace.

mod ids;
mod kubeconfigs;
mod values;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use self::ids::{malformed_ids, unknown_ids};
use self::kubeconfigs::kubeconfigs;
use self::values::{names, values};
use crate::client::{Caller, Reply, send};
use crate::server::{PATIENCE, eventually};
use crate::world::{PASSWORD, User, World, log_in};

/// An id that nothing has.
const NOTHING: &str = "01983f0e-0000-7000-8000-000000000000";
const JSON: &str = "application/json";
/// Small enough for a body beyond it to be read before it is refused.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// One more than the longest name.
const SIXTEEN: &str = "abcdefghijklmnop";

/// A wrong request and its answer.
struct Case {
    name: String,
    request: RequestBuilder,
    status: u16,
    code: &'static str,
    /// A parameter that the answer must have.
    param: Option<(&'static str, Value)>,
}

impl Case {
    fn with(mut self, param: &'static str, value: impl Into<Value>) -> Self {
        self.param = Some((param, value.into()));
        self
    }

    /// What is wrong with the answer, if anything.
    async fn finding(self) -> Option<String> {
        let reply = send(self.request).await;
        let param = self.param.as_ref();
        let as_expected = reply.status == self.status
            && reply.code() == self.code
            && param.is_none_or(|(name, value)| reply.body["params"][name] == *value)
            && is_an_error_body(&reply);
        (!as_expected).then(|| {
            let (name, status, code) = (&self.name, self.status, self.code);
            format!(
                "{name}: expected {status} {code} {param:?}, got {} {}",
                reply.status, reply.text
            )
        })
    }
}

/// `{code, params?, field_errors?}` and nothing else, as JSON, with a request id to ask about.
fn is_an_error_body(reply: &Reply) -> bool {
    let mut keys = reply.body.as_object().into_iter().flat_map(|body| body.keys());
    let known = ["code", "params", "field_errors"];
    keys.all(|key| known.contains(&key.as_str()))
        && reply.header("content-type").starts_with(JSON)
        && !reply.header("x-request-id").is_empty()
}

fn case(name: impl Into<String>, request: RequestBuilder, status: u16, code: &'static str) -> Case {
    Case {
        name: name.into(),
        request,
        status,
        code,
        param: None,
    }
}

fn bindings(world: &World) -> String {
    format!("/admin/users/{}/role-bindings", world.id(User::Carol))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_request_gets_its_code_and_changes_nothing() {
    let small_bodies = ("SERVER_MAX_BODY_BYTES", MAX_BODY_BYTES.to_string());
    let world = World::with("api,controllers", &[small_bodies]).await;
    let without_allowlist = ("SECURITY_OUTBOUND_ALLOWLIST", String::new());
    let closed = world.start_replica("api", &[without_allowlist]).await;
    let revoked = revoked_token(&world).await;

    eventually("the controllers have found everything", PATIENCE, async || {
        let schemas = world.home.count("kubevirt_schemas").await;
        let live = world.home.count("cluster_watches WHERE state = 'LIVE'").await;
        (schemas > 0 && live == 2).then_some(())
    })
    .await;
    let before = rows(&world).await;
    let mut cases = Vec::new();
    cases.extend(bodies(&world));
    cases.extend(platform_controlled_keys(&world));
    cases.extend(names(&world));
    cases.extend(values(&world));
    cases.extend(unknown_ids(&world));
    cases.extend(malformed_ids(&world));
    cases.extend(taken_names(&world));
    cases.extend(tokens(&world, revoked));
    cases.extend(routes(&world));
    cases.extend(queries(&world));
    cases.extend(kubeconfigs(&world, &closed));
    let mut findings = Vec::new();
    for case in cases {
        findings.extend(case.finding().await);
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    a_wrong_method_is_told_the_right_ones(&world).await;
    assert_eq!(rows(&world).await, before);
}

fn bodies(world: &World) -> Vec<Case> {
    let alice = world.as_(User::Alice);
    let post = |path: &str| alice.request(Method::POST, path);
    let typed = |body: &str| post("/systems").header("content-type", JSON).body(body.to_owned());
    let large = json!({"name": "large", "documentation": "x".repeat(MAX_BODY_BYTES)});
    vec![
        case("no body", typed(""), 400, "INVALID_REQUEST"),
        case("no body and no type", post("/systems"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        case("half a body", typed("{\"name\": "), 400, "INVALID_REQUEST"),
        case(
            "two bodies",
            typed("{\"name\": \"a\"}{\"name\": \"b\"}"),
            400,
            "INVALID_REQUEST",
        ),
        case("a list", post("/systems").json(&json!(["a"])), 400, "VALIDATION_FAILED"),
        case(
            "nothing in it",
            post("/systems").json(&json!({})),
            400,
            "VALIDATION_FAILED",
        ),
        case(
            "a number as name",
            post("/systems").json(&json!({"name": 5})),
            400,
            "VALIDATION_FAILED",
        ),
        case(
            "an unknown key",
            post("/systems").json(&json!({"name": "fine", "colour": "red"})),
            400,
            "INVALID_REQUEST_FIELD",
        )
        .with("field", "colour"),
        case(
            "text",
            post("/systems")
                .header("content-type", "text/plain")
                .body("{\"name\": \"fine\"}"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        case("too large", post("/systems").json(&large), 413, "PAYLOAD_TOO_LARGE").with("max_bytes", MAX_BODY_BYTES),
        case(
            "too long a key",
            post("/systems")
                .header("idempotency-key", "k".repeat(129))
                .json(&json!({"name": "fine"})),
            400,
            "INVALID_REQUEST",
        ),
        case(
            "a login without password",
            world
                .anonymous()
                .request(Method::POST, "/auth/login")
                .json(&json!({"username": "alice"})),
            400,
            "VALIDATION_FAILED",
        ),
        case(
            "an unknown key for a ticket that is not there",
            world
                .as_(User::Bob)
                .request(Method::POST, &format!("/approvals/{NOTHING}/approve"))
                .json(&json!({"cluster": "test-1"})),
            400,
            "INVALID_REQUEST_FIELD",
        ),
    ]
}

/// What a requester says is what is needed, never where or how it is made.
fn platform_controlled_keys(world: &World) -> Vec<Case> {
    let keys = [
        "cluster_id",
        "selected_cluster_id",
        "name",
        "hostname",
        "instance",
        "labels",
        "annotations",
        "cloud_init",
        "template_version",
        "storage_class",
        "spec_overrides",
    ];
    let requests = keys.into_iter().flat_map(|key| {
        let mut body = world.vm_body("dev");
        body[key] = json!("mine");
        ["/vms", "/vms/request"].map(|path| {
            let request = world.as_(User::Alice).request(Method::POST, path).json(&body);
            case(format!("{key} at {path}"), request, 400, "INVALID_REQUEST_FIELD").with("field", key)
        })
    });
    requests.collect()
}

fn taken_names(world: &World) -> Vec<Case> {
    let services = format!("/systems/{}/services", world.system);
    let kubeconfig = STANDARD.encode(world.test.kubeconfig());
    let cases = [
        (User::Mallory, "/systems", json!({"name": "shop"}), "SYSTEM_NAME_EXISTS"),
        (
            User::Alice,
            services.as_str(),
            json!({"name": "web"}),
            "SERVICE_NAME_EXISTS",
        ),
        (
            User::Admin,
            "/admin/namespaces",
            json!({"name": "dev", "environment": "prod"}),
            "NAMESPACE_NAME_EXISTS",
        ),
        (
            User::Admin,
            "/admin/clusters",
            json!({"name": "test-1", "kubeconfig": kubeconfig}),
            "CLUSTER_NAME_EXISTS",
        ),
        (
            User::Admin,
            "/admin/users",
            json!({"username": "ALICE", "password": PASSWORD}),
            "USER_NAME_OR_EMAIL_EXISTS",
        ),
    ];
    let cases = cases.map(|(user, path, body, code)| {
        let request = world.as_(user).request(Method::POST, path).json(&body);
        case(format!("a taken name at {path}"), request, 409, code)
    });
    cases.into()
}

fn tokens(world: &World, revoked: String) -> Vec<Case> {
    let nobody = world.anonymous();
    let get = || nobody.request(Method::GET, "/systems");
    let refused = |name: &str, request, reason: &str| case(name, request, 401, "UNAUTHORIZED").with("reason", reason);
    let (content, signature) = revoked.rsplit_once('.').unwrap();
    let backwards: String = signature.chars().rev().collect();
    let forged = format!("{content}.{backwards}");
    vec![
        refused("no token", get(), "missing"),
        refused("another scheme", get().basic_auth("alice", Some(PASSWORD)), "missing"),
        refused("garbage", get().bearer_auth("garbage"), "invalid"),
        refused("no signature", get().bearer_auth("e30.e30."), "invalid"),
        refused("another signature", get().bearer_auth(forged), "invalid"),
        refused("after the logout", get().bearer_auth(revoked), "revoked"),
        refused(
            "no token but a body full of mistakes",
            nobody.request(Method::POST, "/vms").json(&json!({"name": 1})),
            "missing",
        ),
    ]
}

fn routes(world: &World) -> Vec<Case> {
    let alice = world.as_(User::Alice);
    let get = |path: &str| alice.request(Method::GET, path);
    let accepting = |range: &str| get("/systems").header("accept", range);
    vec![
        case("an unknown path", get("/nothing"), 404, "ROUTE_NOT_FOUND"),
        case(
            "an unknown path below a known one",
            get("/vms/a/b/c/d"),
            404,
            "ROUTE_NOT_FOUND",
        ),
        case(
            "an unknown path without a token",
            world.anonymous().request(Method::GET, "/nothing"),
            404,
            "ROUTE_NOT_FOUND",
        ),
        case(
            "DELETE of a list",
            alice.request(Method::DELETE, "/systems"),
            405,
            "METHOD_NOT_ALLOWED",
        ),
        case(
            "PUT of a machine",
            alice.request(Method::PUT, &format!("/vms/{NOTHING}")),
            405,
            "METHOD_NOT_ALLOWED",
        ),
        case("GET of the login", get("/auth/login"), 405, "METHOD_NOT_ALLOWED"),
        case("HTML", accepting("text/html"), 406, "NOT_ACCEPTABLE"),
        case(
            "anything but JSON",
            accepting("application/json;q=0"),
            406,
            "NOT_ACCEPTABLE",
        ),
    ]
}

fn queries(world: &World) -> Vec<Case> {
    let wrong = [
        ("page=0", "VALIDATION_FAILED"),
        ("per_page=0", "VALIDATION_FAILED"),
        ("per_page=101", "VALIDATION_FAILED"),
        ("page=-1", "INVALID_REQUEST"),
        ("page=one", "INVALID_REQUEST"),
        ("page=99999999999", "INVALID_REQUEST"),
        ("sort_by=password_hash", "VALIDATION_FAILED"),
        ("sort_order=sideways", "VALIDATION_FAILED"),
    ];
    let mut cases = Vec::new();
    for path in ["/systems", "/vms"] {
        for (query, code) in wrong {
            let path = format!("{path}?{query}");
            let request = world.as_(User::Alice).request(Method::GET, &path);
            cases.push(case(path, request, 400, code));
        }
    }
    for query in [
        "status=BROKEN",
        "environment=staging",
        "system_id=nope",
        "cluster_id=nope",
    ] {
        let path = format!("/vms?{query}");
        let request = world.as_(User::Alice).request(Method::GET, &path);
        cases.push(case(path, request, 400, "VALIDATION_FAILED"));
    }
    cases
}

async fn a_wrong_method_is_told_the_right_ones(world: &World) {
    let reply = world.as_(User::Alice).delete("/systems").await;
    let mut allowed: Vec<&str> = reply.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "POST"]);
}

/// A token whose session was ended by its user.
async fn revoked_token(world: &World) -> String {
    let token = log_in(&world.anonymous(), "mallory", PASSWORD).await;
    let session = Caller::new(&world.home.client, &world.server, Some(token.clone()));
    session.post("/auth/logout", &json!({})).await.ok(204);
    token
}

/// How many rows every table has, without those that time or a failed login alone adds.
async fn rows(world: &World) -> BTreeMap<String, i64> {
    let query = "SELECT table_name::text FROM information_schema.tables \
         WHERE table_schema = 'public' AND table_type = 'BASE TABLE' \
             AND table_name NOT IN ('heartbeats', 'leader_leases', 'login_attempts', 'user_sessions')";
    let mut rows = BTreeMap::new();
    for table in world.home.texts(query).await {
        let from = match table.as_str() {
            "audit_logs" => {
                "audit_logs WHERE action NOT LIKE 'user.log%' AND (action, outcome) <> ('user.password_change', 'failure')"
            }
            table => table,
        };
        rows.insert(table.clone(), world.home.count(from).await);
    }
    assert!(rows.len() > 15, "{rows:?}");
    rows
}
