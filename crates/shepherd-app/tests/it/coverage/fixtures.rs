//! One object of every kind, in either environment, and people who lack exactly one thing.

use std::collections::BTreeMap;

use futures::future::{join, join_all, join3};
use serde_json::json;
use shepherd_domain::access::{Permission, PermissionSet};
use strum::IntoEnumIterator;

use super::row::Row;
use crate::client::Caller;
use crate::world::{BOTH, PASSWORD, Person, User, World, log_in, text};

/// What parameters of paths and keys of bodies stand for.
pub type Ids = BTreeMap<&'static str, String>;

/// What the requests are about.
pub struct Fixtures {
    /// Objects in test, and those without environment.
    pub test: Ids,
    /// The same, with those of prod in the place of those of test.
    pub prod: Ids,
}

impl Fixtures {
    pub async fn create(world: &World) -> Self {
        // Both are placed before further requests wait, so that nothing is decided twice.
        let (test_vm, prod_vm) = join(world.running_vm("dev"), world.running_vm("prod-shop")).await;
        let mut test = common(world).await;
        let mut prod = test.clone();
        let both = [
            (&mut test, "test", "dev", test_vm, "test-1"),
            (&mut prod, "prod", "prod-shop", prod_vm, "prod-1"),
        ];
        for (ids, environment, namespace, vm, cluster) in both {
            let ticket = world.request_vm(namespace).await;
            let event = world.event_of(&ticket).await;
            let id_of = async |table: &str, name: &str| {
                one(world, &format!("SELECT id::text FROM {table} WHERE name = '{name}'")).await
            };
            ids.extend(beside(world, &vm, &ticket).await);
            ids.extend(compared(world, cluster, namespace).await);
            ids.insert("grant_id", console_grant(world, &vm, environment, &ticket).await);
            ids.extend([
                ("environment", environment.to_owned()),
                ("namespace", namespace.to_owned()),
                ("name", namespace.to_owned()),
                ("revision", "1".to_owned()),
                ("namespace_id", id_of("namespace_registry", namespace).await),
                ("cluster_id", id_of("clusters", cluster).await),
                ("vm_id", vm),
                ("ticket_id", ticket),
                ("event_id", event.clone()),
                ("task_id", event),
            ]);
        }
        world.wait_for_queue().await;
        for ids in [&mut test, &mut prod] {
            let event = withdrawn(world, &ids["ticket_id"]).await;
            ids.insert("job_id", crate::dead_letters::bury(&world.home, &event).await);
        }
        Self { test, prod }
    }
}

/// The event of a request like this one that was withdrawn: whatever becomes of the others, its job stays as it is.
async fn withdrawn(world: &World, ticket: &str) -> String {
    let insert = format!(
        "WITH event AS ( \
             INSERT INTO domain_events \
             SELECT (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid(), 'status', 'CANCELLED'))).* \
             FROM domain_events e JOIN approval_tickets t ON t.event_id = e.id WHERE t.id = '{ticket}' RETURNING id \
         ) \
         INSERT INTO approval_tickets ({COPIED}, id, event_id, number, status) \
         SELECT {COPIED}, gen_random_uuid(), event.id, next_ticket_number(), 'CANCELLED' \
         FROM approval_tickets, event WHERE approval_tickets.id = '{ticket}' RETURNING event_id::text"
    );
    one(world, &insert).await
}

/// What a copy of a ticket has in common with it.
const COPIED: &str = "request_type, environment, requester_id, reason, system_id, service_id, template_id, \
                      instance_size_id, namespace, context_snapshot";

/// The rows of a snapshot, a clone and a migration of a machine, as its operations would leave them.
async fn beside(world: &World, vm: &str, ticket: &str) -> [(&'static str, String); 4] {
    let id = async |table: &str, columns: &str, values: &str| {
        let insert = format!(
            "INSERT INTO {table} (id, created_by, k8s_name, {columns}) \
             VALUES (gen_random_uuid(), 'system:test', 'covered', {values}) RETURNING id::text"
        );
        one(world, &insert).await
    };
    [
        (
            "snapshot_id",
            id("vm_snapshots", "vm_id, name", &format!("'{vm}', 'known'")).await,
        ),
        (
            "clone_id",
            id("vm_clones", "source_vm_id, ticket_id", &format!("'{vm}', '{ticket}'")).await,
        ),
        (
            "migration_id",
            id(
                "vm_migrations",
                "vm_id, ticket_id, phase",
                &format!("'{vm}', '{ticket}', 'SUCCEEDED'"),
            )
            .await,
        ),
        ("batch_id", batch_of(world, ticket).await),
    ]
}

/// The right of somebody to open the console of a machine.
async fn console_grant(world: &World, vm: &str, environment: &str, ticket: &str) -> String {
    let insert = format!(
        "INSERT INTO console_grants (id, vm_id, user_id, environment, ticket_id, granted_by, granted_at, expires_at) \
         VALUES (gen_random_uuid(), '{vm}', gen_random_uuid(), '{environment}', '{ticket}', 'system:test', now(), \
             now() + interval '1 hour') RETURNING id::text"
    );
    one(world, &insert).await
}

/// The batch that a waiting ticket would be the parent of; none of its children can be retried or withdrawn.
async fn batch_of(world: &World, ticket: &str) -> String {
    let batch = format!(
        "INSERT INTO batch_approval_tickets (id, number, batch_type, environment, child_count, pending_count, \
             request_hash, created_by) \
         SELECT id, next_batch_number(now()), 'BATCH_CREATE', environment, 1, 1, '', requester_id \
         FROM approval_tickets WHERE id = '{ticket}' RETURNING id::text"
    );
    one(world, &batch).await
}

/// A machine that a scan of a cluster found, and a run of the reconciler on it that has ended.
async fn compared(world: &World, cluster: &str, namespace: &str) -> [(&'static str, String); 2] {
    let adoption = format!(
        "INSERT INTO pending_adoptions (id, cluster_id, namespace, resource_name, k8s_uid, system, service, instance, \
             resource_spec, labels, last_seen_at) \
         SELECT gen_random_uuid(), id, '{namespace}', 'lost', 'uid', 'shop', 'web', '77', '{{}}', '{{}}', now() \
         FROM clusters WHERE name = '{cluster}' RETURNING id::text"
    );
    let run = format!(
        "INSERT INTO reconciler_runs (id, mode, cluster_id, status, started_by, heartbeat_at, finished_at) \
         SELECT gen_random_uuid(), 'dry-run', id, 'COMPLETED', 'system:test', now(), now() \
         FROM clusters WHERE name = '{cluster}' RETURNING id::text"
    );
    [
        ("adoption_id", one(world, &adoption).await),
        ("run_id", one(world, &run).await),
    ]
}

/// What has no environment.
async fn common(world: &World) -> Ids {
    let admin = world.as_(User::Admin);
    let victim = world.enrol("victor", "role-viewer", &["test"]).await.id;
    let logged_in = world.enrol("sam", "role-viewer", &["test"]).await.id;
    let newcomer = world.enrol("nina", "role-viewer", &["test"]).await.id;
    join_system(world, &victim, "viewer").await;
    let create = async |path: &str, body: serde_json::Value| text(&admin.post(path, &body).await.ok(201)["id"]);
    let hook = json!({"name": "archive", "url": "https://127.0.0.1:9/audit", "enabled": false});
    let hold = json!({"name": "case 1", "filter": {"action": "vm.create"}});
    let board = json!({"name": "board", "system_type": "webhook", "webhook_url": "https://127.0.0.1:9/board"});
    let role = json!({"name": "unused", "permissions": ["system:read"]});
    let policy = json!({"name": "known", "operation": "STOP_VM", "environment": "test", "enabled": false});
    Ids::from([
        ("system_id", world.system.clone()),
        ("service_id", world.service.clone()),
        ("template_id", world.template("ubuntu-24-04").to_owned()),
        ("instance_size_id", world.size("small").to_owned()),
        ("binding_id", newest(world, "role_bindings", &victim).await),
        ("user_id", victim),
        ("session_id", newest(world, "user_sessions", &logged_in).await),
        ("new_member", newcomer),
        (
            "notification_id",
            newest(world, "notifications", world.id(User::Alice)).await,
        ),
        ("role_id", create("/admin/roles", role).await),
        ("policy_id", create("/admin/approval-policies", policy).await),
        ("webhook_id", create("/admin/audit-logs/webhooks", hook).await),
        ("hold_id", create("/admin/audit-logs/legal-holds", hold).await),
        (
            "external_system_id",
            create("/admin/external-approval-systems", board).await,
        ),
    ])
}

async fn newest(world: &World, table: &str, user: &str) -> String {
    let query = format!("SELECT id::text FROM {table} WHERE user_id = '{user}' ORDER BY created_at DESC, id LIMIT 1");
    one(world, &query).await
}

async fn one(world: &World, query: &str) -> String {
    let found = world.home.texts(query).await.pop();
    found.unwrap_or_else(|| panic!("nothing found by {query}"))
}

/// Makes somebody a member of Alice's System.
async fn join_system(world: &World, user: &str, role: &str) {
    let path = format!("/systems/{}/members", world.system);
    let body = json!({"user_id": user, "role": role});
    world.as_(User::Admin).post(&path, &body).await.ok(201);
}

/// People who may do everything but for one thing.
pub struct People {
    /// By the permissions they lack, and everything that implies one of these.
    lacking: BTreeMap<Vec<Permission>, Caller>,
    /// Every permission but platform:admin; owner of another System.
    pub stranger: Caller,
    /// The same in test only; admin of Alice's System.
    pub tester: Caller,
    /// Every permission; viewer of Alice's System.
    pub viewer: Caller,
    /// Every permission; member of Alice's System.
    pub member: Caller,
}

impl People {
    pub async fn enrol(world: &World, table: &[Row]) -> Self {
        let everything = role(world, "everything", &[]).await;
        let (stranger, tester) = join(
            world.enrol("stranger", &everything, BOTH),
            world.enrol("tester", &everything, &["test"]),
        )
        .await;
        let (viewer, member) = join(
            world.enrol("viewer", &everything, BOTH),
            world.enrol("member", &everything, BOTH),
        )
        .await;
        join3(
            join_system(world, &tester.id, "admin"),
            join_system(world, &viewer.id, "viewer"),
            join_system(world, &member.id, "member"),
        )
        .await;
        let stranger = world.caller(&stranger);
        stranger.post("/systems", &json!({"name": "lab"})).await.ok(201);
        Self {
            lacking: lacking(world, table).await,
            stranger,
            tester: world.caller(&tester),
            viewer: world.caller(&viewer),
            member: world.caller(&member),
        }
    }

    /// Somebody who lacks all of these.
    pub fn without(&self, permissions: &[Permission]) -> &Caller {
        &self.lacking[permissions]
    }
}

async fn lacking(world: &World, table: &[Row]) -> BTreeMap<Vec<Permission>, Caller> {
    let mut wanted: Vec<&[Permission]> = table.iter().map(|row| row.any_of).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted.retain(|permissions| !permissions.is_empty());
    let enrolments = wanted.into_iter().enumerate().map(|(number, permissions)| async move {
        let role = role(world, &format!("lacking-{number}"), permissions).await;
        let person = world.enrol(&format!("lacking-{number}"), &role, BOTH).await;
        (permissions.to_vec(), world.caller(&person))
    });
    join_all(enrolments).await.into_iter().collect()
}

/// A role with every permission but platform:admin, these, and those that imply one of these; answers its id.
async fn role(world: &World, name: &str, without: &[Permission]) -> String {
    let gives = |permission: Permission| {
        let given: PermissionSet = [permission].into_iter().collect();
        without.iter().any(|missing| given.contains(*missing))
    };
    let permissions: Vec<&str> = Permission::iter()
        .filter(|permission| *permission != Permission::PlatformAdmin && !gives(*permission))
        .map(Permission::as_str)
        .collect();
    let body = json!({"name": name, "permissions": permissions});
    text(&world.as_(User::Admin).post("/admin/roles", &body).await.ok(201)["id"])
}

/// Somebody with two sessions: the second one is what the first may end.
pub struct Passerby {
    pub caller: Caller,
    pub other_session: String,
}

impl Passerby {
    pub async fn arrive(world: &World, name: &str) -> Self {
        let person: Person = world.enrol(name, "role-viewer", &["test"]).await;
        log_in(&world.anonymous(), name, PASSWORD).await;
        Self {
            caller: world.caller(&person),
            other_session: newest(world, "user_sessions", &person.id).await,
        }
    }
}
