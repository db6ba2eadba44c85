//! Roles: who may put them together, who gives and takes them, and the administrator who always remains.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, Reply, send};
use crate::server::{Home, Replica, SEEDED_PASSWORD};
use crate::world::{PASSWORD, Person, log_in, text};

const ADMIN_PASSWORD: &str = "loud harbour lamp 18";
const NOTHING: &str = "01983f0e-0000-7000-8000-000000000000";
/// How often two administrators take each other's role at the same time.
const ROUNDS: usize = 200;
/// The same for disabling each other, where a password has to be hashed in between.
const FEW_ROUNDS: usize = 20;

/// Two replicas of the API on one database.
struct Office {
    one: Replica,
    two: Replica,
    admin: Person,
    home: Home,
}

impl Office {
    async fn start() -> Self {
        let home = Home::new().await;
        home.seed().await;
        let (one, two) = tokio::join!(Replica::start(&home, "api", &[]), Replica::start(&home, "api", &[]));
        let nobody = Caller::new(&home.client, &one, None);
        let token = log_in(&nobody, "admin", SEEDED_PASSWORD).await;
        let admin = Caller::new(&home.client, &one, Some(token.clone()));
        let change = json!({"old_password": SEEDED_PASSWORD, "new_password": ADMIN_PASSWORD});
        admin.post("/auth/change-password", &change).await.ok(204);
        let id = text(&admin.get("/auth/me").await.ok(200)["id"]);
        Self {
            one,
            two,
            admin: Person { id, token },
            home,
        }
    }

    /// Calls at the first replica.
    fn as_(&self, person: &Person) -> Caller {
        Caller::new(&self.home.client, &self.one, Some(person.token.clone()))
    }

    /// Calls at the second replica.
    fn there(&self, person: &Person) -> Caller {
        self.as_(person).at(&self.two)
    }

    fn admin(&self) -> Caller {
        self.as_(&self.admin)
    }

    /// A new user who is logged in, with these bindings.
    async fn enrol(&self, name: &str, bindings: &[Value]) -> Person {
        let user = json!({"username": name, "password": PASSWORD, "force_password_change": false});
        let id = text(&self.admin().post("/admin/users", &user).await.ok(201)["id"]);
        for binding in bindings {
            bind(&self.admin(), &id, binding).await.ok(201);
        }
        let nobody = Caller::new(&self.home.client, &self.one, None);
        Person {
            id,
            token: log_in(&nobody, name, PASSWORD).await,
        }
    }

    /// A role of these permissions; answers its id.
    async fn role(&self, name: &str, permissions: &[&str]) -> String {
        let body = json!({"name": name, "permissions": permissions});
        text(&self.admin().post("/admin/roles", &body).await.ok(201)["id"])
    }

    /// Enabled users who administer the platform for good.
    async fn administrators(&self) -> Vec<String> {
        let query = "SELECT DISTINCT u.username FROM role_bindings b JOIN roles r ON r.id = b.role_id AND r.enabled \
                     JOIN users u ON u.id = b.user_id AND u.enabled \
                     WHERE 'platform:admin' = ANY(r.permissions) AND b.expires_at IS NULL ORDER BY 1";
        self.home.texts(query).await
    }

    async fn audited(&self, action: &str) -> i64 {
        self.home.count(&format!("audit_logs WHERE action = '{action}'")).await
    }
}

async fn bind(by: &Caller, user: &str, binding: &Value) -> Reply {
    by.post(&format!("/admin/users/{user}/role-bindings"), binding).await
}

async fn patch(by: &Caller, path: &str, body: &Value) -> Reply {
    send(by.request(Method::PATCH, path).json(body)).await
}

/// Roles that every installation begins with.
const SEEDED: i64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_put_together_from_what_their_author_holds() {
    let office = Office::start().await;
    the_catalogue_says_what_comes_with_what(&office).await;
    a_role_names_known_permissions_under_a_name_of_its_own(&office).await;
    built_in_roles_stay_as_they_are(&office).await;
    a_role_somebody_has_cannot_go(&office).await;
    nobody_gives_more_than_they_hold(&office).await;
    who_reads_roles_of_one_system_sees_no_others(&office).await;
    who_manages_one_system_gives_nothing_elsewhere(&office).await;
    an_administrators_role_is_never_narrow(&office).await;
    bindings_are_made_once_and_replaced_when_expired(&office).await;
}

async fn the_catalogue_says_what_comes_with_what(office: &Office) {
    let listed = office.admin().get("/admin/permissions").await.ok(200);
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    assert_eq!(items.len(), 50);
    let write = items.iter().find(|item| item["key"] == "cluster:write");
    assert_eq!(write.map(|item| &item["implies"]), Some(&json!(["cluster:read"])));
    let eve = office.enrol("eve", &[json!({"role_id": "role-viewer"})]).await;
    let mine = office.as_(&eve).get("/me/permissions").await.ok(200);
    let first = json!({"permission": "system:read", "scope_type": "global", "allowed_environments": ["test"]});
    assert_eq!(mine["items"][0], first);
    assert_eq!(mine["items"].as_array().map(Vec::len), Some(3));
}

async fn a_role_names_known_permissions_under_a_name_of_its_own(office: &Office) {
    let admin = office.admin();
    let body = json!({"name": "Auditor", "permissions": ["audit:read", "audit:read", "config:read"]});
    let created = admin.post("/admin/roles", &body).await;
    let version = created.header("etag").to_owned();
    let role = created.ok(201);
    assert_eq!(role["permissions"], json!(["audit:read", "config:read"]));
    assert_eq!((&role["built_in"], &role["enabled"]), (&json!(false), &json!(true)));
    let taken = admin.post("/admin/roles", &body).await.refused(409, "ROLE_NAME_EXISTS");
    assert_eq!(taken["name"], "Auditor");
    let wild = json!({"name": "Wild", "permissions": ["vm:*", "vm:read", "audit:destroy"]});
    let unknown = admin
        .post("/admin/roles", &wild)
        .await
        .refused(400, "UNKNOWN_PERMISSION");
    assert_eq!(unknown["permissions"], json!(["vm:*", "audit:destroy"]));
    for empty in [
        json!({"name": "Empty", "permissions": []}),
        json!({"name": " ", "permissions": ["vm:read"]}),
    ] {
        admin
            .post("/admin/roles", &empty)
            .await
            .refused(400, "VALIDATION_FAILED");
    }
    let path = format!("/admin/roles/{}", text(&role["id"]));
    let request = admin
        .request(Method::PUT, &format!("{path}/permissions"))
        .header("If-Match", version.clone());
    let changed = send(request.json(&json!({"permissions": ["audit:export"]})))
        .await
        .ok(200);
    assert_eq!(changed["permissions"], json!(["audit:export"]));
    let stale = admin.request(Method::PATCH, &path).header("If-Match", version);
    send(stale.json(&json!({"enabled": false})))
        .await
        .refused(412, "PRECONDITION_FAILED");
    admin.delete(&path).await.ok(204);
    admin.get(&path).await.refused(404, "ROLE_NOT_FOUND");
    assert_eq!(
        (office.audited("role.create").await, office.audited("role.delete").await),
        (1 + SEEDED, 1)
    );
}

async fn built_in_roles_stay_as_they_are(office: &Office) {
    let admin = office.admin();
    let viewer = admin.get("/admin/roles/role-viewer").await.ok(200);
    for path in ["/admin/roles/role-viewer", "/admin/roles/role-platform-admin"] {
        patch(&admin, path, &json!({"enabled": false}))
            .await
            .refused(403, "BUILTIN_ROLE_IMMUTABLE");
        admin.delete(path).await.refused(403, "BUILTIN_ROLE_IMMUTABLE");
    }
    assert_eq!(admin.get("/admin/roles/role-viewer").await.ok(200), viewer);
    for claimed in ["built_in", "key", "id"] {
        let mut body = json!({"name": "Fake", "permissions": ["vm:read"]});
        body[claimed] = json!(true);
        admin
            .post("/admin/roles", &body)
            .await
            .refused(400, "INVALID_REQUEST_FIELD");
    }
    let bootstrap = json!({"role_id": "role-bootstrap", "allowed_environments": ["test", "prod"]});
    bind(&admin, &office.admin.id, &bootstrap)
        .await
        .refused(403, "ROLE_NOT_ASSIGNABLE");
}

async fn a_role_somebody_has_cannot_go(office: &Office) {
    let role = office.role("Reader", &["vm:read"]).await;
    let person = office.enrol("fay", &[json!({"role_id": role})]).await;
    let path = format!("/admin/roles/{role}");
    let used = office.admin().delete(&path).await.refused(409, "ROLE_IN_USE");
    assert_eq!(used["reference_count"], 1);
    let bindings = format!("/admin/users/{}/role-bindings", person.id);
    let listed = office.admin().get(&bindings).await.ok(200);
    let binding = &listed["items"][0];
    assert_eq!(
        (&binding["role_name"], &binding["source"]),
        (&json!("Reader"), &json!("manual"))
    );
    let binding = format!("{bindings}/{}", text(&binding["id"]));
    assert_eq!(office.there(&person).get("/vms").await.status, 200);
    office.admin().delete(&binding).await.ok(204);
    office.there(&person).get("/vms").await.refused(403, "FORBIDDEN");
    office
        .admin()
        .delete(&binding)
        .await
        .refused(404, "ROLE_BINDING_NOT_FOUND");
    office.admin().delete(&path).await.ok(204);
}

async fn nobody_gives_more_than_they_hold(office: &Office) {
    let clerk_role = office.role("Clerk", &["rbac:manage", "vm:read"]).await;
    let clerk = office.enrol("cleo", &[json!({"role_id": clerk_role})]).await;
    let cleo = office.as_(&clerk);
    let admin_binding = json!({"role_id": "role-platform-admin"});
    bind(&cleo, &clerk.id, &admin_binding)
        .await
        .refused(403, "GRANT_CEILING_EXCEEDED");
    let viewer = json!({"role_id": "role-viewer"});
    let missing = bind(&cleo, &clerk.id, &viewer)
        .await
        .refused(403, "GRANT_CEILING_EXCEEDED");
    assert_eq!(missing["missing_permissions"], json!(["system:read", "service:read"]));
    // What is held in test alone is given in test alone, and no role can be written from it: roles know no environment.
    let reader = office.role("OnlyVms", &["vm:read"]).await;
    let prod = json!({"role_id": reader, "allowed_environments": ["prod"]});
    bind(&cleo, &clerk.id, &prod)
        .await
        .refused(403, "GRANT_CEILING_EXCEEDED");
    bind(&cleo, &clerk.id, &json!({"role_id": reader})).await.ok(201);
    let body = json!({"name": "Mine", "permissions": ["vm:read"]});
    cleo.post("/admin/roles", &body)
        .await
        .refused(403, "GRANT_CEILING_EXCEEDED");
    let path = format!("/admin/roles/{clerk_role}");
    patch(&cleo, &path, &json!({"permissions": ["platform:admin"]}))
        .await
        .refused(403, "GRANT_CEILING_EXCEEDED");
    let admins = format!("/admin/role-bindings?user_id={}", office.admin.id);
    let binding = text(&cleo.get(&admins).await.ok(200)["items"][0]["id"]);
    let path = format!("/admin/users/{}/role-bindings/{binding}", office.admin.id);
    cleo.delete(&path).await.refused(403, "GRANT_CEILING_EXCEEDED");
}

async fn who_reads_roles_of_one_system_sees_no_others(office: &Office) {
    let admin = office.admin();
    let shop = text(&admin.post("/systems", &json!({"name": "shop"})).await.ok(201)["id"]);
    let lab = text(&admin.post("/systems", &json!({"name": "lab"})).await.ok(201)["id"]);
    let on = |system: &str, role: &str| json!({"role_id": role, "scope_type": "system", "scope_id": system});
    let sam = office.enrol("sam", &[on(&shop, "role-system-admin")]).await;
    let una = office.enrol("una", &[on(&lab, "role-viewer")]).await;
    let listed = office.as_(&sam).get("/admin/role-bindings").await.ok(200);
    assert_eq!(listed["pagination"]["total"], 1, "only the own one, on the own System");
    let hers = format!("/admin/users/{}/role-bindings", una.id);
    assert_eq!(office.as_(&sam).get(&hers).await.ok(200)["items"], json!([]));
    let binding = text(&admin.get(&hers).await.ok(200)["items"][0]["id"]);
    let unbind = office.as_(&sam).delete(&format!("{hers}/{binding}")).await;
    let missing = office.as_(&sam).delete(&format!("{hers}/{NOTHING}")).await;
    assert_eq!(unbind.text.replace(&binding, NOTHING), missing.text);
    unbind.refused(404, "ROLE_BINDING_NOT_FOUND");
    bind(&office.as_(&sam), &una.id, &on(&lab, "role-viewer"))
        .await
        .refused(403, "GRANT_CEILING_EXCEEDED");
    bind(&office.as_(&sam), &una.id, &on(&shop, "role-viewer"))
        .await
        .ok(201);
    bind(&admin, &una.id, &on(NOTHING, "role-viewer"))
        .await
        .refused(404, "SYSTEM_NOT_FOUND");
}

/// What somebody else may do everywhere, and could give away by the ceiling, stays where the right to manage ends.
async fn who_manages_one_system_gives_nothing_elsewhere(office: &Office) {
    let admin = office.admin();
    let bank = text(&admin.post("/systems", &json!({"name": "bank"})).await.ok(201)["id"]);
    let yard = text(&admin.post("/systems", &json!({"name": "yard"})).await.ok(201)["id"]);
    let viewer = json!({"role_id": "role-viewer"});
    let on = |system: &str| json!({"role_id": "role-viewer", "scope_type": "system", "scope_id": system});
    let manager = json!({"role_id": "role-system-admin", "scope_type": "system", "scope_id": bank});
    let readable = json!({"role_id": office.role("Registrar", &["rbac:read"]).await});
    let tom = office.enrol("tom", &[viewer.clone(), readable, manager]).await;
    let vic = office.enrol("vic", std::slice::from_ref(&viewer)).await;
    let ted = office.enrol("ted", &[]).await;
    let tom = office.as_(&tom);
    for elsewhere in [&viewer, &on(&yard)] {
        let refused = bind(&tom, &ted.id, elsewhere).await.refused(403, "FORBIDDEN");
        assert_eq!(refused["required_permission"], "rbac:manage");
    }
    let theirs = format!("/admin/users/{}/role-bindings", vic.id);
    let binding = text(&tom.get(&theirs).await.ok(200)["items"][0]["id"]);
    let refused = tom.delete(&format!("{theirs}/{binding}")).await;
    refused.refused(403, "FORBIDDEN");
    let own = text(&bind(&tom, &ted.id, &on(&bank)).await.ok(201)["id"]);
    let own = format!("/admin/users/{}/role-bindings/{own}", ted.id);
    tom.delete(&own).await.ok(204);
    let body = json!({"name": "Theirs", "permissions": ["vm:read"]});
    tom.post("/admin/roles", &body).await.refused(403, "FORBIDDEN");
}

async fn an_administrators_role_is_never_narrow(office: &Office) {
    let admin = office.admin();
    let role = office.role("Deputy", &["vm:read"]).await;
    let person = office.enrol("dan", &[json!({"role_id": role})]).await;
    let path = format!("/admin/roles/{role}");
    let all = json!({"permissions": ["platform:admin"]});
    let refused = patch(&admin, &path, &all).await.refused(403, "ROLE_NOT_ASSIGNABLE");
    assert_eq!(refused["role"], "Deputy");
    let bindings = format!("/admin/users/{}/role-bindings", person.id);
    let binding = text(&admin.get(&bindings).await.ok(200)["items"][0]["id"]);
    admin.delete(&format!("{bindings}/{binding}")).await.ok(204);
    patch(&admin, &path, &all).await.ok(200);
    let bound = bind(&admin, &person.id, &json!({"role_id": role})).await.ok(201);
    assert_eq!(bound["allowed_environments"], json!(["test", "prod"]));
    let binding = format!("{bindings}/{}", text(&bound["id"]));
    admin.delete(&binding).await.ok(204);
}

async fn bindings_are_made_once_and_replaced_when_expired(office: &Office) {
    let admin = office.admin();
    let person = office.enrol("ria", &[]).await;
    let body = json!({"role_id": "role-viewer", "expires_at": "2099-01-01T00:00:00Z"});
    let first = text(&bind(&admin, &person.id, &body).await.ok(201)["id"]);
    let refused = bind(&admin, &person.id, &body)
        .await
        .refused(409, "ROLE_BINDING_EXISTS");
    assert_eq!(refused["existing_id"], json!(first));
    let approver = json!({"role_id": "role-approver"});
    let path = format!("/admin/users/{}/role-bindings", person.id);
    let keyed = || {
        let request = admin.request(Method::POST, &path).header("idempotency-key", "once");
        request.json(&approver)
    };
    let made = send(keyed()).await.ok(201);
    let again = send(keyed()).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.ok(201), made);
    admin.delete(&format!("{path}/{}", text(&made["id"]))).await.ok(204);
    office
        .home
        .texts(&format!(
            "WITH aged AS (UPDATE role_bindings SET expires_at = now() - interval '1 minute' WHERE id = '{first}' \
             RETURNING id) SELECT id::text FROM aged"
        ))
        .await;
    office.there(&person).get("/vms").await.refused(403, "FORBIDDEN");
    let second = text(&bind(&admin, &person.id, &body).await.ok(201)["id"]);
    assert_ne!(first, second);
    assert_eq!(office.there(&person).get("/vms").await.status, 200);
    for bad in [
        json!({"role_id": "role-viewer", "expires_at": "2001-01-01T00:00:00Z"}),
        json!({"role_id": "role-viewer", "scope_type": "system"}),
        json!({"role_id": "role-viewer", "scope_id": NOTHING}),
    ] {
        bind(&admin, &person.id, &bad).await.refused(400, "VALIDATION_FAILED");
    }
    bind(&admin, NOTHING, &json!({"role_id": "role-viewer"}))
        .await
        .refused(404, "USER_NOT_FOUND");
    bind(&admin, &person.id, &json!({"role_id": "role-emperor"}))
        .await
        .refused(404, "ROLE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_administrators_who_remove_each_other_at_once_one_remains() {
    let office = Office::start().await;
    let role = json!({"role_id": "role-platform-admin"});
    let (ada, ben) = (
        office.enrol("ada", std::slice::from_ref(&role)).await,
        office.enrol("ben", std::slice::from_ref(&role)).await,
    );
    step_down(&office, &office.admin.clone()).await;
    assert_eq!(office.administrators().await, ["ada", "ben"]);

    for round in 0..ROUNDS {
        let (of_ada, of_ben) = (
            binding_of(&office, &ada, &ada).await,
            binding_of(&office, &ada, &ben).await,
        );
        let (ada_calls, ben_calls) = (office.as_(&ada), office.there(&ben));
        let (by_ada, by_ben) = tokio::join!(ada_calls.delete(&of_ben), ben_calls.delete(&of_ada));
        let survivor = survivor(&by_ada, &by_ben, round);
        let (winner, loser) = if survivor == "ada" { (&ada, &ben) } else { (&ben, &ada) };
        assert_eq!(office.administrators().await, [survivor], "round {round}");
        bind(&office.as_(winner), &loser.id, &role).await.ok(201);
    }

    for round in 0..FEW_ROUNDS {
        let (ada, ben) = (relog(&office, "ada", &ada).await, relog(&office, "ben", &ben).await);
        let off = json!({"enabled": false});
        let (path_ada, path_ben) = (format!("/admin/users/{}", ada.id), format!("/admin/users/{}", ben.id));
        let (ada_calls, ben_calls) = (office.as_(&ada), office.there(&ben));
        let (by_ada, by_ben) = tokio::join!(patch(&ada_calls, &path_ben, &off), patch(&ben_calls, &path_ada, &off));
        let survivor = survivor(&by_ada, &by_ben, round);
        assert_eq!(office.administrators().await, [survivor], "round {round}");
        let (winner, loser) = if survivor == "ada" { (&ada, &ben) } else { (&ben, &ada) };
        let path = format!("/admin/users/{}", loser.id);
        patch(&office.as_(winner), &path, &json!({"enabled": true}))
            .await
            .ok(200);
    }
    the_last_one_can_neither_leave_nor_be_removed(&office, &ada, &ben).await;
}

async fn the_last_one_can_neither_leave_nor_be_removed(office: &Office, ada: &Person, ben: &Person) {
    let ada = relog(office, "ada", ada).await;
    step_down(office, &relog(office, "ben", ben).await).await;
    let calls = office.as_(&ada);
    let binding = binding_of(office, &ada, &ada).await;
    calls.delete(&binding).await.refused(409, "LAST_PLATFORM_ADMIN");
    let account = format!("/admin/users/{}", ada.id);
    patch(&calls, &account, &json!({"enabled": false}))
        .await
        .refused(409, "LAST_PLATFORM_ADMIN");
    calls.delete(&account).await.refused(409, "CANNOT_DELETE_SELF");
    // A binding that ends by itself is no replacement.
    let brief = json!({"role_id": "role-platform-admin", "expires_at": "2099-01-01T00:00:00Z"});
    bind(&calls, &ben.id, &brief).await.ok(201);
    calls.delete(&binding).await.refused(409, "LAST_PLATFORM_ADMIN");
    assert_eq!(office.administrators().await, ["ada"]);
}

/// Who is left; the other one's attempt was refused as the last, or came too late to be permitted at all.
fn survivor(by_ada: &Reply, by_ben: &Reply, round: usize) -> &'static str {
    let done = |reply: &Reply| matches!(reply.status, 200 | 204);
    let late = |reply: &Reply| matches!(reply.code(), "LAST_PLATFORM_ADMIN" | "FORBIDDEN" | "UNAUTHORIZED");
    match (done(by_ada), done(by_ben)) {
        (true, false) => {
            assert!(late(by_ben), "round {round}: {}", by_ben.text);
            "ada"
        }
        (false, true) => {
            assert!(late(by_ada), "round {round}: {}", by_ada.text);
            "ben"
        }
        (both, _) => panic!("round {round}: both {both}: {} {}", by_ada.text, by_ben.text),
    }
}

/// The path of the lasting binding of an administrator.
async fn binding_of(office: &Office, asked_by: &Person, of: &Person) -> String {
    let path = format!("/admin/users/{}/role-bindings", of.id);
    let listed = office.as_(asked_by).get(&path).await.ok(200);
    format!("{path}/{}", text(&listed["items"][0]["id"]))
}

async fn step_down(office: &Office, person: &Person) {
    let binding = binding_of(office, person, person).await;
    office.as_(person).delete(&binding).await.ok(204);
}

/// The same person with a session that lives.
async fn relog(office: &Office, name: &str, person: &Person) -> Person {
    let nobody = Caller::new(&office.home.client, &office.one, None);
    Person {
        id: person.id.clone(),
        token: log_in(&nobody, name, PASSWORD).await,
    }
}
