//! Every operation that changes something says so in the audit log: exactly the rows it should, in the transaction
//! of the change, with who did it and where from.
//!
//! The table [`AUDITED`] has one entry per operation that changes something; the document and the table must name the
//! same operations, and the walk performs each of them. That refused requests leave nothing is looked at in
//! [`crate::coverage`].

mod platform;
mod table;

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use self::table::{AUDITED, AUDITED_READS, SILENT};
use crate::client::{Caller, send};
use crate::coverage::differences;
use crate::openapi::names;
use crate::world::{PASSWORD, Person, User, World, log_in, text};

const AGENT: &str = "audited/1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_leaves_exactly_its_audit_rows() {
    let world = World::start().await;
    let mut walk = Walk {
        world: &world,
        performed: BTreeSet::new(),
        sent: 0,
    };
    walk.the_table_and_the_document_agree().await;
    walk.own_sessions().await;
    walk.users_and_roles().await;
    walk.systems().await;
    walk.requests().await;
    walk.inbox().await;
    walk.audit_log().await;
    walk.rate_limits().await;
    walk.approval_policies().await;
    walk.external_approvals().await;
    walk.reconciliation().await;
    walk.infrastructure().await;
    let listed: BTreeSet<&str> = all_entries().map(|(name, _)| name).collect();
    let forgotten: Vec<_> = listed.difference(&walk.performed).collect();
    assert!(forgotten.is_empty(), "nobody performed {forgotten:?}");
}

/// Every entry of the three tables, with what it leaves.
fn all_entries() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    const NO_ROWS: &[&str] = &[];
    let silent = SILENT.iter().map(|(name, _)| (*name, NO_ROWS));
    AUDITED.iter().chain(AUDITED_READS).copied().chain(silent)
}

/// Somebody, and the id the audit log should tell.
struct Actor {
    id: String,
    caller: Caller,
}

struct Walk<'a> {
    world: &'a World,
    performed: BTreeSet<&'static str>,
    sent: u32,
}

impl Walk<'_> {
    fn is(&self, user: User) -> Actor {
        Actor {
            id: self.world.id(user).to_owned(),
            caller: self.world.as_(user),
        }
    }

    async fn the_table_and_the_document_agree(&self) {
        let document = self.world.anonymous().get("/openapi.json").await.ok(200);
        let reads: BTreeSet<&str> = AUDITED_READS.iter().map(|(name, _)| *name).collect();
        let mut operations = names(&document);
        operations.retain(|name| !name.starts_with("GET ") || reads.contains(name.as_str()));
        let listed = all_entries().map(|(name, _)| name.to_owned()).collect();
        let differences = differences("audit actions", &listed, &operations);
        assert!(differences.is_empty(), "\n{}", differences.join("\n"));
    }

    /// Performs an operation, which succeeds, and looks for the rows that its entry lists.
    async fn does(&mut self, actor: &Actor, operation: &'static str, path: &str, body: Value) -> Value {
        let (_, expected) = all_entries()
            .find(|(name, _)| *name == operation)
            .unwrap_or_else(|| panic!("{operation} has no entry in the table of audit actions"));
        self.performed.insert(operation);
        self.leaves(actor, operation, path, body, expected).await
    }

    /// Performs an operation and looks for exactly these rows.
    async fn leaves(&mut self, actor: &Actor, operation: &str, path: &str, body: Value, expected: &[&str]) -> Value {
        self.sent += 1;
        let request_id = format!("audited-{}", self.sent);
        let method: Method = operation.split(' ').next().unwrap_or_default().parse().unwrap();
        let request = actor
            .caller
            .request(method, path)
            .header("x-request-id", &request_id)
            .header("user-agent", AGENT);
        let reply = send(if body.is_null() { request } else { request.json(&body) }).await;
        assert!((200..300).contains(&reply.status), "{operation}: {}", reply.text);
        let found = self.rows_of(&request_id, &actor.id).await;
        assert_eq!(found, expected, "{operation}");
        reply.body
    }

    /// The rows of a request: action, kind of object, and whatever about them is not as it should be.
    async fn rows_of(&self, request_id: &str, actor: &str) -> Vec<String> {
        let query = format!(
            "SELECT action || ' on ' || resource_type \
                 || CASE WHEN outcome = 'success' THEN '' ELSE ', ' || outcome END \
                 || CASE WHEN performed_by = '{actor}' THEN '' ELSE ', by ' || performed_by END \
                 || CASE WHEN ip IS NULL THEN ', from nowhere' ELSE '' END \
                 || CASE WHEN user_agent = '{AGENT}' THEN '' ELSE ', with ' || coalesce(user_agent, 'nothing') END \
             FROM audit_logs WHERE request_id = '{request_id}' ORDER BY action, resource_type"
        );
        self.world.home.texts(&query).await
    }

    async fn own_sessions(&mut self) {
        let person = self.world.enrol("tom", "role-viewer", &["test"]).await;
        let nobody = Actor {
            id: person.id.clone(),
            caller: self.world.anonymous(),
        };
        let tom = self.person(&person);
        let credentials = json!({"username": "tom", "password": PASSWORD});
        self.does(&nobody, "POST /auth/login", "/auth/login", credentials).await;
        let path = format!("/auth/sessions/{}", self.newest_session(&tom.id).await);
        self.does(&tom, "DELETE /auth/sessions/{session_id}", &path, Value::Null)
            .await;
        log_in(&nobody.caller, "tom", PASSWORD).await;
        let operation = "POST /auth/sessions/revoke-all";
        self.does(&tom, operation, "/auth/sessions/revoke-all", json!({})).await;
        let change = json!({"old_password": PASSWORD, "new_password": "another bicycle bell"});
        self.does(&tom, "POST /auth/change-password", "/auth/change-password", change)
            .await;
        self.does(&tom, "POST /auth/logout", "/auth/logout", Value::Null).await;
    }

    async fn users_and_roles(&mut self) {
        let admin = self.is(User::Admin);
        let body = json!({"username": "uma", "password": PASSWORD, "force_password_change": false});
        let user = text(&self.does(&admin, "POST /admin/users", "/admin/users", body).await["id"]);
        let path = format!("/admin/users/{user}");
        let body = json!({"display_name": "Uma"});
        self.does(&admin, "PATCH /admin/users/{user_id}", &path, body).await;
        self.sessions_of(&admin, &user).await;

        let bindings = format!("{path}/role-bindings");
        let operation = "POST /admin/users/{user_id}/role-bindings";
        let body = json!({"role_id": "role-viewer"});
        let binding = text(&self.does(&admin, operation, &bindings, body).await["id"]);
        let operation = "DELETE /admin/users/{user_id}/role-bindings/{binding_id}";
        self.does(&admin, operation, &format!("{bindings}/{binding}"), Value::Null)
            .await;
        self.does(&admin, "DELETE /admin/users/{user_id}", &path, Value::Null)
            .await;

        let body = json!({"name": "audited", "permissions": ["system:read"]});
        let role = text(&self.does(&admin, "POST /admin/roles", "/admin/roles", body).await["id"]);
        let path = format!("/admin/roles/{role}");
        let body = json!({"description": "audited"});
        self.does(&admin, "PATCH /admin/roles/{role_id}", &path, body).await;
        let operation = "PUT /admin/roles/{role_id}/permissions";
        let body = json!({"permissions": ["system:read", "vm:read"]});
        self.does(&admin, operation, &format!("{path}/permissions"), body).await;
        self.does(&admin, "DELETE /admin/roles/{role_id}", &path, Value::Null)
            .await;
    }

    async fn sessions_of(&mut self, admin: &Actor, user: &str) {
        let anonymous = self.world.anonymous();
        log_in(&anonymous, "uma", PASSWORD).await;
        let path = format!("/admin/sessions/{}", self.newest_session(user).await);
        let operation = "DELETE /admin/sessions/{session_id}";
        self.does(admin, operation, &path, Value::Null).await;
        log_in(&anonymous, "uma", PASSWORD).await;
        let path = format!("/admin/users/{user}/sessions/revoke-all");
        let operation = "POST /admin/users/{user_id}/sessions/revoke-all";
        self.does(admin, operation, &path, Value::Null).await;
    }

    async fn systems(&mut self) {
        let admin = self.is(User::Admin);
        let body = json!({"name": "audited"});
        let system = text(&self.does(&admin, "POST /systems", "/systems", body).await["id"]);
        let path = format!("/systems/{system}");
        let body = json!({"description": "audited"});
        self.does(&admin, "PATCH /systems/{system_id}", &path, body).await;

        let members = format!("{path}/members");
        let carol = self.world.id(User::Carol).to_owned();
        let body = json!({"user_id": carol, "role": "viewer"});
        self.does(&admin, "POST /systems/{system_id}/members", &members, body)
            .await;
        let member = format!("{members}/{carol}");
        let operation = "PATCH /systems/{system_id}/members/{user_id}";
        self.does(&admin, operation, &member, json!({"role": "member"})).await;
        let operation = "DELETE /systems/{system_id}/members/{user_id}";
        self.does(&admin, operation, &member, Value::Null).await;

        let services = format!("{path}/services");
        let operation = "POST /systems/{system_id}/services";
        let service = text(&self.does(&admin, operation, &services, json!({"name": "web"})).await["id"]);
        let service = format!("{services}/{service}");
        let operation = "PATCH /systems/{system_id}/services/{service_id}";
        let body = json!({"description": "audited"});
        self.does(&admin, operation, &service, body).await;
        let operation = "DELETE /systems/{system_id}/services/{service_id}";
        self.does(&admin, operation, &format!("{service}?confirm=true"), Value::Null)
            .await;
        let confirmed = format!("{path}?confirm_name=audited");
        self.does(&admin, "DELETE /systems/{system_id}", &confirmed, Value::Null)
            .await;
    }

    async fn modified_specs(&mut self, bob: &Actor, ticket: &str) {
        let detail = bob.caller.get(&format!("/approvals/{ticket}")).await.ok(200);
        let path = format!("/admin/approvals/{ticket}");
        let operation = "POST /admin/approvals/{ticket_id}/preview";
        self.does(bob, operation, &format!("{path}/preview"), json!({})).await;
        let path = format!("{path}/modified-spec");
        let mut spec = detail["original_spec"].clone();
        spec["disk_gb"] = json!(30);
        let body = json!({"modified_spec": spec, "modification_reason": "more room"});
        let operation = "PUT /admin/approvals/{ticket_id}/modified-spec";
        self.does(bob, operation, &path, body).await;
        let operation = "DELETE /admin/approvals/{ticket_id}/modified-spec";
        self.does(bob, operation, &path, Value::Null).await;
    }

    async fn requests(&mut self) {
        let world = self.world;
        let (alice, bob) = (self.is(User::Alice), self.is(User::Bob));
        let body = world.vm_body("dev");
        let wanted = text(&self.does(&alice, "POST /vms", "/vms", body).await["ticket_id"]);
        let body = world.vm_body("prod-shop");
        let regretted = self.does(&alice, "POST /vms/request", "/vms/request", body).await;
        let path = format!("/approvals/{}/cancel", text(&regretted["ticket_id"]));
        let operation = "POST /approvals/{ticket_id}/cancel";
        self.does(&alice, operation, &path, json!({})).await;
        let path = format!("/approvals/{}/reject", world.request_vm("prod-shop").await);
        let body = json!({"reason": "not this week"});
        self.does(&bob, "POST /approvals/{ticket_id}/reject", &path, body).await;

        self.modified_specs(&bob, &wanted).await;
        let operation = "POST /approvals/{ticket_id}/approve";
        let path = format!("/approvals/{wanted}/approve");
        self.does(&bob, operation, &path, json!({})).await;
        world.wait_for_ticket(&wanted, "COMPLETED").await;
        let vm = world.vm_of(&wanted).await;
        world.wait_for_vm_status(&vm, "RUNNING").await;
        let body = world.vm_body("dev");
        self.does(&alice, "POST /vms/validate", "/vms/validate", body).await;
        let body = json!({"disk_gb": 40, "reason": "more room"});
        self.does(&alice, "PATCH /vms/{vm_id}", &format!("/vms/{vm}"), body)
            .await;
        let path = format!("/vms/{vm}/initial-password");
        self.does(&alice, "POST /vms/{vm_id}/initial-password", &path, Value::Null)
            .await;
        self.console(&alice, &vm).await;
        self.operations(&alice, &vm).await;
        self.dead_letters(&vm).await;
        self.bulk_approval(&bob).await;
        self.batch_changes(&vm).await;
        let path = format!("/vms/{vm}?confirm=true");
        let deletion = self.does(&alice, "DELETE /vms/{vm_id}", &path, Value::Null).await;
        let path = format!("/approvals/{}/approve", text(&deletion["ticket_id"]));
        let expected = ["approval.approve on approval_ticket", "vm.delete_approved on vm"];
        self.leaves(&bob, operation, &path, json!({}), &expected).await;
    }

    async fn bulk_approval(&mut self, bob: &Actor) {
        let ticket = self.world.request_vm("dev").await;
        let operation = "POST /admin/approvals/bulk-approve";
        let body = json!({"ticket_ids": [ticket]});
        self.does(bob, operation, "/admin/approvals/bulk-approve", body).await;
        self.world.wait_for_ticket(&ticket, "COMPLETED").await;
    }

    /// A deletion is withdrawn; a restart that was carried out is made to look as if it had failed, and is tried again.
    async fn batch_changes(&mut self, vm: &str) {
        let world = self.world;
        let admin = self.is(User::Admin);
        let exempt = format!(
            "INSERT INTO rate_limit_exemptions (user_id, exempted_by) VALUES ('{}', 'system:test') \
             ON CONFLICT DO NOTHING RETURNING user_id::text",
            admin.id
        );
        world.home.texts(&exempt).await;
        let body =
            |operation: &str| json!({"operation": operation, "reason": "to be audited", "items": [{"vm_id": vm}]});
        let deletion = self.does(&admin, "POST /approvals/batch", "/approvals/batch", body("DELETE"));
        let path = format!("/vms/batch/{}/cancel", text(&deletion.await["batch_id"]));
        admin.caller.post(&path, &json!({})).await.ok(200);
        let deletion = self.does(&admin, "POST /vms/batch", "/vms/batch", body("DELETE"));
        let deletion = text(&deletion.await["batch_id"]);
        let operation = "POST /vms/batch/{batch_id}/cancel";
        let path = format!("/vms/batch/{deletion}/cancel");
        self.does(&admin, operation, &path, json!({})).await;

        let restart = self.does(&admin, "POST /vms/batch/power", "/vms/batch/power", body("RESTART"));
        let restart = text(&restart.await["batch_id"]);
        let child = format!("SELECT id::text FROM approval_tickets WHERE parent_ticket_id = '{restart}'");
        let child = world.home.texts(&child).await.pop().expect("a child");
        world.wait_for_ticket(&child, "COMPLETED").await;
        let event = world.event_of(&child).await;
        for fail in [
            format!("UPDATE approval_tickets SET status = 'FAILED' WHERE id = '{child}' RETURNING id::text"),
            format!("UPDATE domain_events SET status = 'FAILED' WHERE id = '{event}' RETURNING id::text"),
        ] {
            world.home.texts(&fail).await;
        }
        let operation = "POST /vms/batch/{batch_id}/retry";
        let path = format!("/vms/batch/{restart}/retry");
        self.does(&admin, operation, &path, json!({"ticket_ids": [child]}))
            .await;
        world.wait_for_ticket(&child, "COMPLETED").await;
        world.wait_for_vm_status(vm, "RUNNING").await;
    }

    /// A start that was carried out is made to look as if it had been given up; it is tried again.
    async fn dead_letters(&mut self, vm: &str) {
        let world = self.world;
        let admin = self.is(User::Admin);
        let fail = format!(
            "UPDATE approval_tickets SET status = 'FAILED' WHERE request_type = 'START_VM' AND vm_id = '{vm}' \
             RETURNING id::text"
        );
        let ticket = world.home.texts(&fail).await.pop().expect("a ticket");
        let event = world.event_of(&ticket).await;
        let fail = format!("UPDATE domain_events SET status = 'FAILED' WHERE id = '{event}' RETURNING id::text");
        world.home.texts(&fail).await;
        let job = crate::dead_letters::bury(&world.home, &event).await;
        let operation = "POST /admin/dead-letters/{job_id}/retry";
        let path = format!("/admin/dead-letters/{job}/retry");
        self.does(&admin, operation, &path, Value::Null).await;
        world.wait_for_ticket(&ticket, "COMPLETED").await;

        let job = crate::dead_letters::bury(&world.home, "00000000-0000-7000-8000-000000000000").await;
        let operation = "DELETE /admin/dead-letters/{job_id}";
        self.does(&admin, operation, &format!("/admin/dead-letters/{job}"), Value::Null)
            .await;
    }

    /// Access that is given, and taken back.
    async fn console(&mut self, alice: &Actor, vm: &str) {
        let admin = self.is(User::Admin);
        let path = format!("/vms/{vm}/console/request");
        let operation = "POST /vms/{vm_id}/console/request";
        self.does(alice, operation, &path, json!({})).await;
        let query = format!("SELECT id::text FROM console_grants WHERE vm_id = '{vm}'");
        let grant = self.world.home.texts(&query).await.pop().expect("a grant");
        let operation = "DELETE /admin/console-grants/{grant_id}";
        let path = format!("/admin/console-grants/{grant}");
        self.does(&admin, operation, &path, Value::Null).await;
    }

    /// What is done to a machine that runs; in the end it runs again.
    async fn operations(&mut self, alice: &Actor, vm: &str) {
        let world = self.world;
        let path = |rest: &str| format!("/vms/{vm}/{rest}");
        let snapshot = json!({"name": "audited"});
        self.done(alice, "POST /vms/{vm_id}/snapshots", &path("snapshots"), snapshot)
            .await;
        self.done(alice, "POST /vms/{vm_id}/restart", &path("restart"), json!({}))
            .await;
        world.wait_for_vm_status(vm, "RUNNING").await;
        self.migrations(alice, vm).await;
        let clone = json!({"reason": "to be audited"});
        self.does(alice, "POST /vms/{vm_id}/clone", &path("clone"), clone).await;

        self.done(alice, "POST /vms/{vm_id}/stop", &path("stop"), json!({}))
            .await;
        world.wait_for_vm_status(vm, "STOPPED").await;
        let query = format!("SELECT id::text FROM vm_snapshots WHERE vm_id = '{vm}'");
        let snapshot = world.home.texts(&query).await.pop().expect("a snapshot");
        let operation = "POST /snapshots/{snapshot_id}/restore";
        let restore = format!("/snapshots/{snapshot}/restore");
        let ticket = text(&self.does(alice, operation, &restore, json!({})).await["ticket_id"]);
        alice
            .caller
            .post(&format!("/approvals/{ticket}/cancel"), &json!({}))
            .await
            .ok(204);
        let operation = "DELETE /snapshots/{snapshot_id}";
        let delete = format!("/snapshots/{snapshot}?confirm=true");
        self.done(alice, operation, &delete, Value::Null).await;
        self.done(alice, "POST /vms/{vm_id}/start", &path("start"), json!({}))
            .await;
        world.wait_for_vm_status(vm, "RUNNING").await;
    }

    /// The cluster holds the migration back until it is called off.
    async fn migrations(&mut self, alice: &Actor, vm: &str) {
        let world = self.world;
        let query = format!("SELECT name FROM vms WHERE id = '{vm}'");
        let name = world.home.texts(&query).await.pop().expect("a machine");
        world.test.cluster().freeze("dev", &name);
        let path = format!("/vms/{vm}/migrate");
        let migration = self.does(alice, "POST /vms/{vm_id}/migrate", &path, json!({})).await;
        let ticket = text(&migration["ticket_id"]);
        let query = format!("SELECT id::text FROM vm_migrations WHERE ticket_id = '{ticket}'");
        let id = world.home.texts(&query).await.pop().expect("a migration");
        let operation = "POST /migrations/{migration_id}/cancel";
        self.does(alice, operation, &format!("/migrations/{id}/cancel"), Value::Null)
            .await;
        world.wait_for_ticket(&ticket, "FAILED").await;
        world.test.cluster().thaw("dev", &name);
        world.wait_for_vm_status(vm, "RUNNING").await;
    }

    /// Performs an operation whose ticket is approved by the policy, and waits until it is carried out.
    async fn done(&mut self, actor: &Actor, operation: &'static str, path: &str, body: Value) {
        let accepted = self.does(actor, operation, path, body).await;
        self.world
            .wait_for_ticket(&text(&accepted["ticket_id"]), "COMPLETED")
            .await;
    }

    async fn inbox(&mut self) {
        let alice = self.is(User::Alice);
        let query = format!("SELECT id::text FROM notifications WHERE user_id = '{}'", alice.id);
        let notification = self.world.home.texts(&query).await.pop().expect("a notification");
        let path = format!("/notifications/{notification}/read");
        let operation = "PATCH /notifications/{notification_id}/read";
        self.does(&alice, operation, &path, Value::Null).await;
        let operation = "POST /notifications/mark-all-read";
        self.does(&alice, operation, "/notifications/mark-all-read", Value::Null)
            .await;
    }

    fn person(&self, person: &Person) -> Actor {
        Actor {
            id: person.id.clone(),
            caller: self.world.caller(person),
        }
    }

    async fn newest_session(&self, user: &str) -> String {
        let query =
            format!("SELECT id::text FROM user_sessions WHERE user_id = '{user}' ORDER BY created_at DESC, id LIMIT 1");
        self.world.home.texts(&query).await.pop().expect("a session")
    }
}
