//! An installation with two clusters, two namespaces, and people with roles.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use serde_json::{Value, json};
use shepherd_simulator::{Simulator, SimulatorConfig, Timing};

use crate::client::Caller;
use crate::server::{ALL_ROLES, Env, Home, PATIENCE, Replica, SEEDED_PASSWORD, eventually};

/// Everybody's password but the administrator's.
pub const PASSWORD: &str = "green bicycle bell 42";
const ADMIN_PASSWORD: &str = "loud harbour lamp 18";
/// A work item that was begun may wait for the recovery of its worker and for a retry.
const WORK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(180);
/// Both environments.
pub const BOTH: &[&str] = &["test", "prod"];
/// The history of a ticket that was approved and carried out.
pub const CARRIED_OUT: [&str; 5] = ["SUBMITTED", "PENDING_APPROVAL", "APPROVED", "EXECUTING", "COMPLETED"];

/// The people of every world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// Administers the platform.
    Admin,
    /// Operator in both environments; owns the System `shop`.
    Alice,
    /// Approver in both environments.
    Bob,
    /// Operator in both environments without any System.
    Mallory,
    /// Viewer in test.
    Carol,
}

/// Somebody who is logged in.
#[derive(Clone)]
pub struct Person {
    pub id: String,
    pub token: String,
}

/// A whole installation. Everything goes with it.
pub struct World {
    pub server: Replica,
    pub test: Simulator,
    pub prod: Simulator,
    people: BTreeMap<User, Person>,
    /// Alice's System `shop` and its Service `web`.
    pub system: String,
    pub service: String,
    templates: BTreeMap<String, String>,
    sizes: BTreeMap<String, String>,
    pub home: Home,
}

impl World {
    /// An installation whose one process does everything.
    pub async fn start() -> Self {
        Self::with(ALL_ROLES, &[]).await
    }

    /// An installation whose first process has these roles, API and controllers among them.
    pub async fn with(roles: &str, env: &Env<'_>) -> Self {
        Self::at(Home::new().await, roles, env).await
    }

    /// An installation in a place that has a schema and nothing in it.
    pub async fn at(home: Home, roles: &str, env: &Env<'_>) -> Self {
        let (test, prod) = tokio::join!(simulator("test-1"), simulator("prod-1"));
        home.seed().await;
        let server = Replica::start(&home, roles, env).await;
        let admin = administrator(&home, &server).await;
        let mut world = Self {
            server,
            test,
            prod,
            people: BTreeMap::from([(User::Admin, admin)]),
            system: String::new(),
            service: String::new(),
            templates: BTreeMap::new(),
            sizes: BTreeMap::new(),
            home,
        };
        world.register("test-1", "test", &world.test).await;
        world.register("prod-1", "prod", &world.prod).await;
        world.populate().await;
        world.templates = world.names("/templates").await;
        world.sizes = world.names("/instance-sizes").await;
        world.wait_for_clusters().await;
        world
    }

    /// Calls of a person at the first process.
    pub fn as_(&self, user: User) -> Caller {
        self.caller(&self.people[&user])
    }

    /// Calls of somebody else at the first process.
    pub fn caller(&self, person: &Person) -> Caller {
        Caller::new(&self.home.client, &self.server, Some(person.token.clone()))
    }

    /// Calls of nobody.
    pub fn anonymous(&self) -> Caller {
        Caller::new(&self.home.client, &self.server, None)
    }

    /// The id of a person.
    pub fn id(&self, user: User) -> &str {
        &self.people[&user].id
    }

    /// Another process on the same database.
    pub async fn start_replica(&self, roles: &str, env: &Env<'_>) -> Replica {
        Replica::start(&self.home, roles, env).await
    }

    /// The id of a seeded template.
    pub fn template(&self, name: &str) -> &str {
        &self.templates[name]
    }

    /// The id of a seeded size.
    pub fn size(&self, name: &str) -> &str {
        &self.sizes[name]
    }

    /// A new user who is logged in, with a role in some environments.
    pub async fn enrol(&self, name: &str, role: &str, environments: &[&str]) -> Person {
        let user = json!({"username": name, "password": PASSWORD, "force_password_change": false});
        let user = self.as_(User::Admin).post("/admin/users", &user).await.ok(201);
        let id = text(&user["id"]);
        self.bind(&id, json!({"role_id": role, "allowed_environments": environments}))
            .await;
        Person {
            id,
            token: log_in(&self.anonymous(), name, PASSWORD).await,
        }
    }

    /// Gives a role to a user.
    pub async fn bind(&self, user: &str, role: Value) {
        let path = format!("/admin/users/{user}/role-bindings");
        self.as_(User::Admin).post(&path, &role).await.ok(201);
    }

    /// The body of a request for a small machine for Alice's Service.
    pub fn vm_body(&self, namespace: &str) -> Value {
        json!({
            "service_id": self.service,
            "template_id": self.template("ubuntu-24-04"),
            "instance_size_id": self.size("small"),
            "namespace": namespace,
            "reason": "a place to work",
        })
    }

    /// Alice asks for a machine; answers the ticket.
    pub async fn request_vm(&self, namespace: &str) -> String {
        let accepted = self.as_(User::Alice).post("/vms", &self.vm_body(namespace)).await;
        text(&accepted.ok(202)["ticket_id"])
    }

    /// Alice asks for the deletion of a machine in test; answers the ticket.
    pub async fn request_deletion(&self, vm: &str) -> String {
        let path = format!("/vms/{vm}?confirm=true&reason=no%20longer%20needed");
        text(&self.as_(User::Alice).delete(&path).await.ok(202)["ticket_id"])
    }

    /// Bob approves.
    pub async fn approve(&self, ticket: &str) {
        let path = format!("/approvals/{ticket}/approve");
        self.as_(User::Bob).post(&path, &json!({})).await.ok(204);
    }

    /// Requests a machine, approves it and waits for it; answers its id.
    pub async fn running_vm(&self, namespace: &str) -> String {
        let ticket = self.request_vm(namespace).await;
        self.approve(&ticket).await;
        self.wait_for_ticket(&ticket, "COMPLETED").await;
        let vm = self.vm_of(&ticket).await;
        self.wait_for_vm_status(&vm, "RUNNING").await;
        vm
    }

    /// Alice asks for something to be done to a machine; answers the ticket.
    pub async fn operate(&self, path: &str, body: &Value) -> String {
        text(&self.as_(User::Alice).post(path, body).await.ok(202)["ticket_id"])
    }

    /// The same, and waits until it is done.
    pub async fn operated(&self, path: &str, body: &Value) -> String {
        let ticket = self.operate(path, body).await;
        self.wait_for_ticket(&ticket, "COMPLETED").await;
        ticket
    }

    /// The machine of an approved ticket.
    pub async fn vm_of(&self, ticket: &str) -> String {
        self.ticket_column(ticket, "vm_id").await
    }

    /// The work event of a ticket.
    pub async fn event_of(&self, ticket: &str) -> String {
        self.ticket_column(ticket, "event_id").await
    }

    /// One column of a ticket as text; empty when it is null.
    pub async fn ticket_column(&self, ticket: &str, column: &str) -> String {
        let query = format!("SELECT coalesce({column}::text, '') FROM approval_tickets WHERE id = '{ticket}'");
        self.home.texts(&query).await.pop().expect("the ticket should be there")
    }

    /// Waits until the machine has a status.
    pub async fn wait_for_vm_status(&self, vm: &str, status: &str) {
        let path = format!("/vms/{vm}");
        let alice = self.as_(User::Alice);
        eventually(&format!("machine {vm} is {status}"), PATIENCE, async || {
            let reply = alice.get(&path).await;
            (reply.status == 200 && reply.body["status"] == status).then_some(())
        })
        .await;
    }

    /// Waits until the ticket has a status.
    pub async fn wait_for_ticket(&self, ticket: &str, status: &str) {
        eventually(&format!("ticket {ticket} is {status}"), WORK_PATIENCE, async || {
            (self.ticket_column(ticket, "status").await == status).then_some(())
        })
        .await;
    }

    /// Waits until no job of an event is left.
    pub async fn wait_for_queue(&self) {
        eventually("the queue is empty", WORK_PATIENCE, async || {
            (self
                .home
                .count("graphile_worker.jobs WHERE task_identifier = 'event_job'")
                .await
                == 0)
                .then_some(())
        })
        .await;
    }

    /// The audit actions of a ticket, oldest first.
    pub async fn audit_of(&self, ticket: &str) -> Vec<String> {
        let query = format!("SELECT action FROM audit_logs WHERE ticket_id = '{ticket}' ORDER BY performed_at, id");
        self.home.texts(&query).await
    }

    /// The states a ticket went through.
    pub async fn transitions_of(&self, ticket: &str) -> Vec<String> {
        let query = format!("SELECT to_status FROM ticket_transitions WHERE ticket_id = '{ticket}' ORDER BY seq");
        self.home.texts(&query).await
    }

    /// The facts that followed from a ticket's work event, with their states, sorted.
    pub async fn facts_of(&self, ticket: &str) -> Vec<String> {
        let event = self.event_of(ticket).await;
        let query = format!(
            "SELECT event_type || ' ' || status FROM domain_events WHERE causation_id = '{event}' ORDER BY event_type"
        );
        self.home.texts(&query).await
    }

    /// The state of a ticket's work event.
    pub async fn event_status_of(&self, ticket: &str) -> String {
        let event = self.event_of(ticket).await;
        let query = format!("SELECT status FROM domain_events WHERE id = '{event}'");
        self.home.texts(&query).await.pop().expect("the event should be there")
    }

    async fn register(&self, name: &str, environment: &str, cluster: &Simulator) {
        let kubeconfig = STANDARD.encode(cluster.kubeconfig());
        let body = json!({"name": name, "kubeconfig": kubeconfig, "environment": environment});
        self.as_(User::Admin).post("/admin/clusters", &body).await.ok(201);
    }

    async fn populate(&mut self) {
        let admin = self.as_(User::Admin);
        for (name, environment) in [("dev", "test"), ("prod-shop", "prod")] {
            let body = json!({"name": name, "environment": environment});
            admin.post("/admin/namespaces", &body).await.ok(201);
        }
        let people: [(User, &str, &str, &[&str]); 4] = [
            (User::Alice, "alice", "role-operator", BOTH),
            (User::Bob, "bob", "role-approver", BOTH),
            (User::Mallory, "mallory", "role-operator", BOTH),
            (User::Carol, "carol", "role-viewer", &["test"]),
        ];
        let world = &*self;
        let enrolments = people
            .map(|(user, name, role, environments)| async move { (user, world.enrol(name, role, environments).await) });
        let enrolled: Vec<(User, Person)> = join_all(enrolments).await;
        self.people.extend(enrolled);

        let alice = self.as_(User::Alice);
        let system = alice.post("/systems", &json!({"name": "shop"})).await.ok(201);
        self.system = text(&system["id"]);
        let path = format!("/systems/{}/services", self.system);
        let service = alice.post(&path, &json!({"name": "web"})).await.ok(201);
        self.service = text(&service["id"]);
        // Operators do not delete; the owner of a System gets the right to do it there.
        let role = json!({
            "role_id": "role-system-admin", "scope_type": "system", "scope_id": self.system, "allowed_environments": BOTH,
        });
        self.bind(self.id(User::Alice), role).await;
    }

    async fn names(&self, path: &str) -> BTreeMap<String, String> {
        let listed = self.as_(User::Admin).get(path).await.ok(200);
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|item| (text(&item["name"]), text(&item["id"])))
            .collect()
    }

    async fn wait_for_clusters(&self) {
        let admin = self.as_(User::Admin);
        eventually("both clusters are HEALTHY", PATIENCE, async || {
            let listed = admin.get("/admin/clusters?status=HEALTHY").await;
            (listed.body["pagination"]["total"] == 2).then_some(())
        })
        .await;
    }
}

/// The text of a JSON string.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().expect("a text should be there").to_owned()
}

/// How often each machine of a namespace was made on a cluster.
pub fn creations(cluster: &Simulator, namespace: &str) -> BTreeMap<String, u32> {
    let prefix = format!("/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachines/");
    let mut made = BTreeMap::new();
    for request in cluster.cluster().requests() {
        let created = request.method == "PATCH" && request.status == 201 && !request.query.contains("dryRun");
        if let Some(name) = request.path.strip_prefix(&prefix).filter(|_| created) {
            *made.entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    made
}

/// Logs in; answers the token.
pub async fn log_in(caller: &Caller, name: &str, password: &str) -> String {
    let body = json!({"username": name, "password": password});
    text(&caller.post("/auth/login", &body).await.ok(200)["token"])
}

async fn simulator(name: &str) -> Simulator {
    let config = SimulatorConfig {
        name: name.to_owned(),
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    };
    Simulator::start(config).await.unwrap()
}

async fn administrator(home: &Home, server: &Replica) -> Person {
    let nobody = Caller::new(&home.client, server, None);
    let token = log_in(&nobody, "admin", SEEDED_PASSWORD).await;
    let admin = Caller::new(&home.client, server, Some(token.clone()));
    let change = json!({"old_password": SEEDED_PASSWORD, "new_password": ADMIN_PASSWORD});
    admin.post("/auth/change-password", &change).await.ok(204);
    let me = admin.get("/auth/me").await.ok(200);
    Person {
        id: text(&me["id"]),
        token,
    }
}
