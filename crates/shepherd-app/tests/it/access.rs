//! Who sees and does what.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, Reply, send};
use crate::world::{BOTH, PASSWORD, User, World, log_in, text};

/// An id that nothing has.
const NOTHING: &str = "01983f0e-0000-7000-8000-000000000000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_or_does_more_than_their_roles_and_systems_give() {
    let world = World::start().await;
    let test = world.request_vm("dev").await;
    world.approve(&test).await;
    world.wait_for_ticket(&test, "COMPLETED").await;
    let test_vm = world.vm_of(&test).await;

    somebody_elses_objects_look_like_missing_ones(&world, &test, &test_vm).await;
    a_viewer_only_looks(&world).await;
    a_role_for_test_shows_nothing_of_prod(&world, &test_vm).await;
    an_approver_decides_in_own_environments_only(&world).await;
    nobody_decides_the_own_request_in_prod(&world).await;
    only_the_requester_cancels(&world).await;
    prod_machines_are_deleted_by_name_only(&world).await;
}

async fn somebody_elses_objects_look_like_missing_ones(world: &World, ticket: &str, vm: &str) {
    let mallory = world.as_(User::Mallory);
    let (system, service) = (world.system.as_str(), world.service.as_str());
    let event = world.event_of(ticket).await;
    let event = event.as_str();
    let cases = [
        (Method::GET, "/systems/{}".to_owned(), system, Value::Null),
        (
            Method::PATCH,
            "/systems/{}".to_owned(),
            system,
            json!({"description": "mine"}),
        ),
        (Method::GET, "/systems/{}/services".to_owned(), system, Value::Null),
        (
            Method::POST,
            "/systems/{}/services".to_owned(),
            system,
            json!({"name": "spy"}),
        ),
        (
            Method::GET,
            format!("/systems/{{}}/services/{service}"),
            system,
            Value::Null,
        ),
        (Method::GET, "/vms/{}".to_owned(), vm, Value::Null),
        (Method::GET, "/approvals/{}".to_owned(), ticket, Value::Null),
        (Method::POST, "/approvals/{}/cancel".to_owned(), ticket, json!({})),
        (Method::GET, "/events/{}".to_owned(), event, Value::Null),
        (Method::GET, "/tasks/{}".to_owned(), event, Value::Null),
    ];
    for (method, path, existing, body) in cases {
        let ask = async |id: &str| {
            let reply = call(&mallory, &method, &path.replace("{}", id), &body).await;
            (reply.status, reply.text.replace(id, "the id"))
        };
        let (status, said) = ask(existing).await;
        assert_eq!(status, 404, "{method} {path}: {said}");
        assert_eq!((status, said), ask(NOTHING).await, "{method} {path}");
    }
    let mut body = world.vm_body("dev");
    let existing = mallory.post("/vms", &body).await;
    body["service_id"] = json!(NOTHING);
    let missing = mallory.post("/vms", &body).await;
    assert_eq!(existing.text.replace(service, NOTHING), missing.text);
    existing.refused(404, "SERVICE_NOT_FOUND");
    for path in ["/systems", "/vms", "/approvals/mine", "/notifications"] {
        assert_eq!(total(&mallory, path).await, 0, "{path}");
    }
    assert_eq!(total(&world.as_(User::Alice), "/systems").await, 1);
}

async fn a_viewer_only_looks(world: &World) {
    let carol = world.as_(User::Carol);
    let refused = carol
        .post("/systems", &json!({"name": "mine"}))
        .await
        .refused(403, "FORBIDDEN");
    assert_eq!(refused["required_permission"], "system:write");
    let refused = carol
        .post("/vms", &world.vm_body("dev"))
        .await
        .refused(403, "FORBIDDEN");
    assert_eq!(refused["required_permission"], "vm:create");
    for path in ["/admin/users", "/admin/clusters", "/audit-logs", "/approvals"] {
        carol.get(path).await.refused(403, "FORBIDDEN");
    }
    assert_eq!(total(&carol, "/systems").await, 0, "she is a member of none");
}

async fn a_role_for_test_shows_nothing_of_prod(world: &World, test_vm: &str) {
    let ticket = world.request_vm("prod-shop").await;
    world.approve(&ticket).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    let prod_vm = world.vm_of(&ticket).await;
    let role = json!({
        "role_id": "role-viewer", "scope_type": "system", "scope_id": world.system, "allowed_environments": ["test"],
    });
    world.bind(world.id(User::Carol), role).await;

    let carol = world.as_(User::Carol);
    let seen = carol.get("/vms").await.ok(200);
    let seen: Vec<&Value> = seen["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|vm| &vm["id"])
        .collect();
    assert_eq!(seen, [&json!(test_vm)]);
    carol.get(&format!("/vms/{test_vm}")).await.ok(200);
    carol.get(&format!("/vms/{prod_vm}")).await.refused(404, "VM_NOT_FOUND");
    assert_eq!(total(&world.as_(User::Alice), "/vms").await, 2);

    let tester = world.enrol("tess", "role-operator", &["test"]).await;
    let tess = world.caller(&tester);
    let system = tess.post("/systems", &json!({"name": "lab"})).await.ok(201);
    let services = format!("/systems/{}/services", text(&system["id"]));
    let service = tess.post(&services, &json!({"name": "web"})).await.ok(201);
    let mut body = world.vm_body("prod-shop");
    body["service_id"] = service["id"].clone();
    let refused = tess.post("/vms", &body).await.refused(403, "NAMESPACE_ENV_FORBIDDEN");
    assert_eq!(refused, json!({"namespace": "prod-shop", "environment": "prod"}));
}

async fn an_approver_decides_in_own_environments_only(world: &World) {
    let dora = world.caller(&world.enrol("dora", "role-approver", &["test"]).await);
    let ticket = world.request_vm("prod-shop").await;
    let path = format!("/approvals/{ticket}");
    dora.get(&path).await.refused(404, "TICKET_NOT_FOUND");
    for decision in ["approve", "reject"] {
        let reply = dora.post(&format!("{path}/{decision}"), &decision_body(decision)).await;
        reply.refused(404, "TICKET_NOT_FOUND");
    }
    let seen = dora.get("/approvals").await.ok(200);
    let mut seen = seen["items"].as_array().into_iter().flatten();
    assert!(seen.all(|ticket| ticket["environment"] == "test"));
    let alice = world.as_(User::Alice);
    let refused = alice
        .post(&format!("{path}/approve"), &json!({}))
        .await
        .refused(403, "FORBIDDEN");
    assert_eq!(refused["required_permission"], "approval:approve");

    let rejection = decision_body("reject");
    world
        .as_(User::Bob)
        .post(&format!("{path}/reject"), &rejection)
        .await
        .ok(204);
    assert_eq!(
        world.transitions_of(&ticket).await,
        ["SUBMITTED", "PENDING_APPROVAL", "REJECTED"]
    );
    assert_eq!(world.event_status_of(&ticket).await, "CANCELLED");
    assert_eq!(world.audit_of(&ticket).await, ["vm.request", "approval.reject"]);
    let late = world.as_(User::Bob).post(&format!("{path}/approve"), &json!({})).await;
    assert_eq!(late.refused(409, "TICKET_NOT_PENDING")["status"], "REJECTED");
}

async fn nobody_decides_the_own_request_in_prod(world: &World) {
    let role = json!({"role_id": "role-approver", "allowed_environments": BOTH});
    world.bind(world.id(User::Alice), role).await;
    let alice = world.as_(User::Alice);
    let prod = world.request_vm("prod-shop").await;
    let path = format!("/approvals/{prod}/approve");
    let refused = alice
        .post(&path, &json!({}))
        .await
        .refused(403, "SELF_APPROVAL_FORBIDDEN");
    assert_eq!(refused, json!({"ticket_id": prod, "mode": "deny_prod"}));
    alice
        .post(&format!("/approvals/{prod}/cancel"), &json!({}))
        .await
        .ok(204);

    let test = world.request_vm("dev").await;
    alice
        .post(&format!("/approvals/{test}/approve"), &json!({}))
        .await
        .ok(204);
    world.wait_for_ticket(&test, "COMPLETED").await;
}

async fn only_the_requester_cancels(world: &World) {
    let ticket = world.request_vm("dev").await;
    let path = format!("/approvals/{ticket}/cancel");
    let refused = world.as_(User::Bob).post(&path, &json!({})).await;
    let refused = refused.refused(403, "TICKET_CANCEL_FORBIDDEN");
    assert_eq!(refused, json!({"ticket_id": ticket}));
    let invisible = world.as_(User::Mallory).post(&path, &json!({})).await;
    invisible.refused(404, "TICKET_NOT_FOUND");

    world
        .as_(User::Alice)
        .post(&path, &json!({"reason": "a mistake"}))
        .await
        .ok(204);
    assert_eq!(
        world.transitions_of(&ticket).await,
        ["SUBMITTED", "PENDING_APPROVAL", "CANCELLED"]
    );
    assert_eq!(world.audit_of(&ticket).await, ["vm.request", "approval.cancel"]);
    assert_eq!(world.event_status_of(&ticket).await, "CANCELLED");
    assert_eq!(world.facts_of(&ticket).await, ["REQUEST_CANCELLED COMPLETED"]);
    let again = world.as_(User::Alice).post(&path, &json!({})).await;
    assert_eq!(again.refused(409, "TICKET_NOT_PENDING")["status"], "CANCELLED");
}

async fn prod_machines_are_deleted_by_name_only(world: &World) {
    let prod = "SELECT id::text FROM vms WHERE namespace = 'prod-shop'";
    let vm = world.home.texts(prod).await.pop().expect("a machine in prod");
    world.wait_for_vm_status(&vm, "RUNNING").await;
    let alice = world.as_(User::Alice);
    let refused = alice.delete(&format!("/vms/{vm}?confirm=true")).await;
    let refused = refused.refused(400, "CONFIRMATION_REQUIRED");
    assert_eq!(
        [&refused["parameter"], &refused["environment"]],
        ["confirm_name", "prod"]
    );
    for attempts_left in [2, 1, 0] {
        let wrong = alice.delete(&format!("/vms/{vm}?confirm_name=wrong")).await;
        let wrong = wrong.refused(400, "CONFIRMATION_NAME_MISMATCH");
        assert_eq!(wrong["attempts_left"], attempts_left);
    }
    let right = format!("/vms/{vm}?confirm_name={}", text(&refused["entity_name"]));
    let limited = alice.delete(&right).await;
    assert_ne!(limited.header("retry-after"), "");
    assert_eq!(
        limited.refused(429, "RATE_LIMIT_EXCEEDED")["limit_type"],
        "delete_confirmation"
    );
    let admin = world.as_(User::Admin);
    let accepted = admin.delete(&right).await.ok(202);
    assert_eq!(accepted["status"], "PENDING_APPROVAL");
    let duplicate = admin.delete(&right).await.refused(409, "DUPLICATE_PENDING_REQUEST");
    assert_eq!(duplicate["existing_ticket_id"], accepted["ticket_id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_opens_only_what_its_password_and_state_allow() {
    let world = World::start().await;
    a_first_password_opens_nothing_but_its_change(&world).await;
    a_new_password_ends_the_other_sessions(&world).await;
    failed_logins_tell_nothing_and_are_slowed_down(&world).await;
}

async fn a_first_password_opens_nothing_but_its_change(world: &World) {
    let body = json!({"username": "newcomer", "password": PASSWORD});
    world.as_(User::Admin).post("/admin/users", &body).await.ok(201);
    let login = json!({"username": "NewComer", "password": PASSWORD});
    let session = world.anonymous().post("/auth/login", &login).await.ok(200);
    assert_eq!(session["force_password_change"], true);
    let newcomer = with_token(world, &text(&session["token"]));
    for path in ["/systems", "/vms", "/approvals/mine", "/notifications"] {
        newcomer.get(path).await.refused(403, "PASSWORD_CHANGE_REQUIRED");
    }
    let me = newcomer.get("/auth/me").await.ok(200);
    assert_eq!(me["force_password_change"], true);

    let change = async |old: &str, new: &str| {
        let body = json!({"old_password": old, "new_password": new});
        newcomer.post("/auth/change-password", &body).await
    };
    change("not it", "a fine new password")
        .await
        .refused(400, "INVALID_CURRENT_PASSWORD");
    for (weak, why) in [
        ("short", "TOO_SHORT"),
        ("the newcomer is here", "CONTAINS_USERNAME"),
        (PASSWORD, "REUSED"),
    ] {
        let refused = change(PASSWORD, weak).await;
        assert_eq!(refused.body["field_errors"][0]["code"], why);
        refused.refused(400, "PASSWORD_POLICY_VIOLATION");
    }
    change(PASSWORD, "a fine new password").await.ok(204);
    newcomer.get("/approvals/mine").await.ok(200);
    newcomer.get("/systems").await.refused(403, "FORBIDDEN");
}

async fn a_new_password_ends_the_other_sessions(world: &World) {
    let first = world.enrol("dora", "role-viewer", &["test"]).await;
    let other = with_token(world, &log_in(&world.anonymous(), "dora", PASSWORD).await);
    other.get("/systems").await.ok(200);
    let body = json!({"old_password": PASSWORD, "new_password": "another bicycle"});
    world.caller(&first).post("/auth/change-password", &body).await.ok(204);
    let refused = other.get("/systems").await.refused(401, "UNAUTHORIZED");
    assert_eq!(refused, json!({"reason": "revoked"}));
    world.caller(&first).get("/systems").await.ok(200);
    world.caller(&first).post("/auth/logout", &json!({})).await.ok(204);
    world.caller(&first).get("/systems").await.refused(401, "UNAUTHORIZED");
}

async fn failed_logins_tell_nothing_and_are_slowed_down(world: &World) {
    /// `security.login.max_failures_user`.
    const MAX_FAILURES: u32 = 5;
    world.enrol("frank", "role-viewer", &["test"]).await;
    let anybody = world.anonymous();
    let log_in = async |name: &str, password: &str| {
        let body = json!({"username": name, "password": password});
        anybody.post("/auth/login", &body).await
    };
    let unknown = log_in("nobody", "wrong").await;
    let wrong = log_in("frank", "wrong").await;
    assert_eq!((unknown.status, &unknown.text), (wrong.status, &wrong.text));
    wrong.refused(401, "INVALID_CREDENTIALS");
    for _ in 1..MAX_FAILURES {
        log_in("frank", "wrong").await.refused(401, "INVALID_CREDENTIALS");
    }
    let slowed = log_in("frank", PASSWORD).await;
    let seconds: u64 = slowed.header("retry-after").parse().expect("seconds");
    assert!((1..=31).contains(&seconds), "{seconds}");
    let slowed = slowed.refused(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(slowed["limit_type"], "login");
    assert_eq!(slowed["max_value"], MAX_FAILURES);
    log_in("carol", PASSWORD).await.ok(200);
}

fn with_token(world: &World, token: &str) -> Caller {
    Caller::new(&world.home.client, &world.server, Some(token.to_owned()))
}

fn decision_body(decision: &str) -> Value {
    match decision {
        "reject" => json!({"reason": "not this week"}),
        _ => json!({}),
    }
}

async fn call(caller: &Caller, method: &Method, path: &str, body: &Value) -> Reply {
    let request = caller.request(method.clone(), path);
    send(if body.is_null() { request } else { request.json(body) }).await
}

/// How many entries of a list a caller may see.
async fn total(caller: &Caller, path: &str) -> u64 {
    let listed = caller.get(path).await.ok(200);
    listed["pagination"]["total"].as_u64().expect("a total")
}
