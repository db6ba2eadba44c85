//! Accounts: who administers them, and how soon a change counts.

mod sessions;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, Reply, send};
use crate::server::{Home, Replica, SEEDED_PASSWORD};
use crate::world::{BOTH, PASSWORD, Person, log_in, text};

/// An id that nothing has.
const NOTHING: &str = "01983f0e-0000-7000-8000-000000000000";
const ADMIN_PASSWORD: &str = "loud harbour lamp 18";
/// What somebody who must change the password may do.
const OPEN_DURING_CHANGE: [&str; 3] = ["/auth/logout", "/auth/me", "/auth/change-password"];

/// Two replicas of the API on one database; the second asks for other passwords than the first.
struct Office {
    one: Replica,
    two: Replica,
    admin: Person,
    home: Home,
}

impl Office {
    /// The administrator is logged in and has not chosen a password yet.
    async fn start() -> Self {
        let home = Home::new().await;
        home.seed().await;
        let legacy = [
            ("SECURITY_PASSWORD_POLICY_MODE", "legacy".to_owned()),
            ("SECURITY_PASSWORD_POLICY_MIN_LENGTH", "12".to_owned()),
            ("SECURITY_PASSWORD_POLICY_REQUIRE_UPPERCASE", "true".to_owned()),
            ("SECURITY_PASSWORD_POLICY_REQUIRE_DIGIT", "true".to_owned()),
        ];
        let (one, two) = tokio::join!(Replica::start(&home, "api", &[]), Replica::start(&home, "api", &legacy));
        let nobody = Caller::new(&home.client, &one, None);
        let token = log_in(&nobody, "admin", SEEDED_PASSWORD).await;
        let admin = Caller::new(&home.client, &one, Some(token.clone()));
        let id = text(&admin.get("/auth/me").await.ok(200)["id"]);
        Self {
            one,
            two,
            admin: Person { id, token },
            home,
        }
    }

    async fn choose_a_password(&self) {
        let change = json!({"old_password": SEEDED_PASSWORD, "new_password": ADMIN_PASSWORD});
        self.admin().post("/auth/change-password", &change).await.ok(204);
    }

    fn admin(&self) -> Caller {
        self.caller(&self.admin.token)
    }

    /// Calls with a token at the first replica.
    fn caller(&self, token: &str) -> Caller {
        Caller::new(&self.home.client, &self.one, Some(token.to_owned()))
    }

    fn nobody(&self) -> Caller {
        Caller::new(&self.home.client, &self.one, None)
    }

    /// A new user without any role, logged in.
    async fn enrol(&self, name: &str) -> Person {
        let user = json!({"username": name, "password": PASSWORD, "force_password_change": false});
        let user = self.admin().post("/admin/users", &user).await.ok(201);
        Person {
            id: text(&user["id"]),
            token: log_in(&self.nobody(), name, PASSWORD).await,
        }
    }

    async fn bind(&self, user: &Person, role: &str) {
        let path = format!("/admin/users/{}/role-bindings", user.id);
        let role = json!({"role_id": role, "allowed_environments": BOTH});
        self.admin().post(&path, &role).await.ok(201);
    }

    /// An operator who owns a new System; answers its id as well.
    async fn owner(&self, name: &str, system: &str) -> (Person, String) {
        let owner = self.enrol(name).await;
        self.bind(&owner, "role-operator").await;
        let created = self
            .caller(&owner.token)
            .post("/systems", &json!({"name": system}))
            .await;
        (owner, text(&created.ok(201)["id"]))
    }

    /// A role for those who look after users, and its id.
    async fn helpdesk_role(&self, name: &str) -> String {
        let query = format!(
            "INSERT INTO roles (id, name, permissions) \
             VALUES (gen_random_uuid(), '{name}', '{{user:manage,session:manage}}') RETURNING id::text"
        );
        self.home.texts(&query).await.pop().expect("the role should be there")
    }

    /// What was recorded about a user, but for logins; oldest first.
    async fn recorded(&self, user: &Person) -> Vec<String> {
        let query = format!(
            "SELECT action FROM audit_logs WHERE resource_type = 'user' AND resource_id = '{}' \
             AND action NOT LIKE 'user.login%' ORDER BY performed_at, id",
            user.id
        );
        self.home.texts(&query).await
    }
}

async fn patch(caller: &Caller, user: &str, change: &Value) -> Reply {
    let request = caller.request(Method::PATCH, &format!("/admin/users/{user}"));
    send(request.json(change)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_administered_from_above_and_changes_count_at_once() {
    let office = Office::start().await;
    a_forced_change_opens_nothing_else(&office).await;
    office.choose_a_password().await;
    every_replica_asks_for_what_it_was_told_to_ask_for(&office).await;
    a_disabled_user_is_out_everywhere(&office).await;
    a_password_from_above_ends_all_sessions(&office).await;
    texts_are_changed_cleared_and_guarded(&office).await;
    nobody_acts_on_those_who_hold_more(&office).await;
    users_are_found_by_those_who_manage_somebody(&office).await;
    one_administrator_remains(&office).await;
}

async fn a_forced_change_opens_nothing_else(office: &Office) {
    let admin = office.admin();
    let document = admin.get("/openapi.json").await.ok(200);
    let mut closed = 0;
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let path = path.strip_prefix("/api/v1").expect("every path has the base path");
        let parts = path.split('/');
        let address: Vec<&str> = parts
            .map(|part| if part.starts_with('{') { NOTHING } else { part })
            .collect();
        for (method, operation) in item.as_object().into_iter().flatten() {
            if operation["security"] == json!([]) || OPEN_DURING_CHANGE.contains(&path) {
                continue;
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            let reply = send(admin.request(method, &address.join("/"))).await;
            let answer = (reply.status, reply.code());
            assert_eq!(
                answer,
                (403, "PASSWORD_CHANGE_REQUIRED"),
                "{}",
                operation["operationId"]
            );
            closed += 1;
        }
    }
    assert!(closed > 40, "only {closed} operations were asked");
    admin.get("/auth/me").await.ok(200);
}

async fn every_replica_asks_for_what_it_was_told_to_ask_for(office: &Office) {
    let strict = office.admin().at(&office.two);
    let create = async |caller: &Caller, name: &str, password: &str| {
        let body = json!({"username": name, "password": password});
        caller.post("/admin/users", &body).await
    };
    let missing = |class: &str| json!({"field": "password", "code": "MISSING_CLASS", "params": {"class": class}});
    let refused = create(&strict, "pia", "lamps in the harbour").await;
    assert_eq!(
        refused.body["field_errors"],
        json!([missing("uppercase"), missing("digit")])
    );
    refused.refused(400, "PASSWORD_POLICY_VIOLATION");
    let refused = create(&strict, "pia", "Lamps 17").await;
    let short = json!([{"field": "password", "code": "TOO_SHORT", "params": {"min_length": 12}}]);
    assert_eq!(refused.body["field_errors"], short);
    create(&office.admin(), "pia", "lamps in the harbour").await.ok(201);
    create(&strict, "per", "17 Lamps in the harbour").await.ok(201);

    let token = log_in(&office.nobody(), "pia", "lamps in the harbour").await;
    let pia = office.caller(&token);
    let change = json!({"old_password": "lamps in the harbour", "new_password": "boats in the harbour"});
    let refused = pia.at(&office.two).post("/auth/change-password", &change).await;
    refused.refused(400, "PASSWORD_POLICY_VIOLATION");
    pia.post("/auth/change-password", &change).await.ok(204);
}

async fn a_disabled_user_is_out_everywhere(office: &Office) {
    let admin = office.admin();
    let (dora, system) = office.owner("dora", "shop").await;
    let here = office.caller(&dora.token);
    let there = here.at(&office.two);
    for replica in [&here, &there] {
        replica.get("/systems").await.ok(200);
    }
    let disabled = patch(&admin, &dora.id, &json!({"enabled": false})).await.ok(200);
    assert_eq!(disabled["enabled"], false);
    let warning = json!([{
        "code": "SYSTEM_WITHOUT_ENABLED_OWNER", "params": {"system_ids": [system], "names": ["shop"]},
    }]);
    assert_eq!(disabled["warnings"], warning);
    for replica in [&there, &here] {
        let refused = replica.get("/systems").await.refused(401, "UNAUTHORIZED");
        assert_eq!(refused["reason"], "revoked");
    }
    let login = json!({"username": "dora", "password": PASSWORD});
    let refused = office.nobody().post("/auth/login", &login).await;
    refused.refused(401, "INVALID_CREDENTIALS");

    let enabled = patch(&admin, &dora.id, &json!({"enabled": true})).await.ok(200);
    assert_eq!(
        (&enabled["enabled"], &enabled["warnings"]),
        (&json!(true), &Value::Null)
    );
    here.get("/systems").await.refused(401, "UNAUTHORIZED");
    let again = office.caller(&log_in(&office.nobody(), "dora", PASSWORD).await);
    again.get("/systems").await.ok(200);

    let path = format!("/admin/users/{}", dora.id);
    let refused = admin.delete(&path).await.refused(409, "LAST_OWNER_CANNOT_BE_REMOVED");
    assert_eq!(refused, json!({"system_ids": [system]}));
    again.get("/systems").await.ok(200);
    let removal = format!("/systems/{system}?confirm_name=shop");
    admin.delete(&removal).await.ok(204);
    admin.delete(&path).await.ok(204);
    admin.get(&path).await.refused(404, "USER_NOT_FOUND");
    admin.delete(&path).await.refused(404, "USER_NOT_FOUND");
    let refused = again.at(&office.two).get("/systems").await;
    refused.refused(401, "UNAUTHORIZED");
    let recorded = ["user.create", "user.update", "user.update", "user.delete"];
    assert_eq!(office.recorded(&dora).await, recorded);
}

async fn a_password_from_above_ends_all_sessions(office: &Office) {
    const GIVEN: &str = "a word from above";
    let admin = office.admin();
    let eve = office.enrol("eve").await;
    let other = log_in(&office.nobody(), "eve", PASSWORD).await;
    office.caller(&eve.token).get("/auth/sessions").await.ok(200);

    let change = json!({"password": GIVEN, "email": "eve@example.org"});
    patch(&admin, &eve.id, &change).await.ok(200);
    for token in [&eve.token, &other] {
        let caller = office.caller(token).at(&office.two);
        caller.get("/auth/me").await.refused(401, "UNAUTHORIZED");
    }
    let log_in = async |password: &str| {
        let body = json!({"username": "eve", "password": password});
        office.nobody().post("/auth/login", &body).await
    };
    log_in(PASSWORD).await.refused(401, "INVALID_CREDENTIALS");
    assert_eq!(log_in(GIVEN).await.ok(200)["force_password_change"], true);
    // The same one again: the answer does not tell that it was.
    let kept = json!({"password": GIVEN, "force_password_change": false});
    patch(&admin, &eve.id, &kept).await.ok(200);
    assert_eq!(log_in(GIVEN).await.ok(200)["force_password_change"], false);

    let details = format!(
        "SELECT params->>'fields' FROM audit_logs WHERE action = 'user.update' AND resource_id = '{}' \
         ORDER BY performed_at, id",
        eve.id
    );
    let fields = [
        r#"["email", "password", "force_password_change"]"#,
        r#"["password", "force_password_change"]"#,
    ];
    assert_eq!(office.home.texts(&details).await, fields);
    let recorded = [
        "user.create",
        "user.update",
        "user.password_change",
        "user.update",
        "user.password_change",
    ];
    assert_eq!(office.recorded(&eve).await, recorded);
    let told = "audit_logs WHERE audit_logs::text LIKE '%eve@example%' OR audit_logs::text LIKE '%from above%'";
    assert_eq!(office.home.count(told).await, 0);

    let own = patch(&admin, &office.admin.id, &json!({"password": GIVEN})).await;
    own.refused(403, "FORBIDDEN");
    a_provider_keeps_its_passwords(office, &eve).await;
}

async fn a_provider_keeps_its_passwords(office: &Office, user: &Person) {
    let provided = format!(
        "WITH p AS (INSERT INTO auth_providers (id, name, auth_type, config, secrets, default_role_id, created_by) \
             SELECT gen_random_uuid(), 'corp', 'oidc', '{{}}', '\\x', id, 'test' FROM roles WHERE key = 'role-viewer' \
             RETURNING id) \
         UPDATE users SET password_hash = NULL, auth_provider_id = p.id FROM p WHERE users.id = '{}' \
         RETURNING p.id::text",
        user.id
    );
    let provider = office.home.texts(&provided).await;
    let admin = office.admin();
    for change in [
        json!({"password": "another word"}),
        json!({"force_password_change": true}),
    ] {
        let refused = patch(&admin, &user.id, &change).await.refused(400, "NOT_LOCAL_USER");
        assert_eq!(refused, json!({"auth_provider": "corp"}));
    }
    let seen = admin.get(&format!("/admin/users/{}", user.id)).await.ok(200);
    assert_eq!(seen["auth_provider_id"], json!(provider[0]));
}

async fn texts_are_changed_cleared_and_guarded(office: &Office) {
    let admin = office.admin();
    let fay = office.enrol("fay").await;
    office.enrol("fox").await;
    let path = format!("/admin/users/{}", fay.id);
    let seen = admin.get(&path).await;
    let etag = seen.header("etag").to_owned();
    let version: i64 = etag.trim_matches('"').parse().expect("a version");
    let guarded = async |tag: &str, change: &Value| {
        let request = admin.request(Method::PATCH, &path).header("if-match", tag);
        send(request.json(change)).await
    };
    let texts = json!({"email": "fay@example.org", "display_name": "Fay"});
    let changed = guarded(&etag, &texts).await;
    assert_ne!(changed.header("etag"), etag);
    let changed = changed.ok(200);
    assert_eq!(
        (&changed["email"], &changed["display_name"]),
        (&texts["email"], &texts["display_name"])
    );
    let stale = guarded(&etag, &json!({"display_name": "Fox"})).await;
    let stale = stale.refused(412, "PRECONDITION_FAILED");
    assert_eq!(stale["current_version"], version + 1);
    let nothing_new = guarded(&format!("\"{}\"", version + 1), &texts).await;
    assert_eq!(nothing_new.header("etag"), format!("\"{}\"", version + 1));
    let cleared = patch(&admin, &fay.id, &json!({"email": null})).await.ok(200);
    assert_eq!(
        (&cleared["email"], &cleared["display_name"]),
        (&Value::Null, &json!("Fay"))
    );

    let taken = json!({"email": "FAY@example.org"});
    patch(&admin, &fay.id, &taken).await.ok(200);
    let found = admin.get("/admin/users?q=fox").await.ok(200);
    let fox = text(&found["items"][0]["id"]);
    let refused = patch(&admin, &fox, &json!({"email": "fay@example.org"})).await;
    assert_eq!(refused.refused(409, "USER_NAME_OR_EMAIL_EXISTS")["field"], "email");
    for (change, code) in [
        (json!({"email": "nowhere"}), "VALIDATION_FAILED"),
        (json!({"display_name": "x".repeat(256)}), "VALIDATION_FAILED"),
        (json!({"username": "other"}), "INVALID_REQUEST_FIELD"),
    ] {
        patch(&admin, &fox, &change).await.refused(400, code);
    }
    let unknown = patch(&admin, NOTHING, &json!({"enabled": false})).await;
    assert_eq!(unknown.refused(404, "USER_NOT_FOUND")["id"], NOTHING);
    let recorded = ["user.create", "user.update", "user.update", "user.update"];
    assert_eq!(office.recorded(&fay).await, recorded);
}

async fn nobody_acts_on_those_who_hold_more(office: &Office) {
    let role = office.helpdesk_role("Helpdesk").await;
    let hana = office.enrol("hana").await;
    office.bind(&hana, &role).await;
    let operator = office.enrol("otto").await;
    office.bind(&operator, "role-operator").await;
    let newcomer = office.enrol("nils").await;
    let helpdesk = office.caller(&hana.token);

    for target in [&office.admin, &operator] {
        let changes = [
            json!({"email": "mine@example.org"}),
            json!({"display_name": "Mine"}),
            json!({"enabled": false}),
            json!({"password": "now it is mine"}),
            json!({"force_password_change": true}),
        ];
        for change in changes {
            let refused = patch(&helpdesk, &target.id, &change).await;
            refused.refused(403, "GRANT_CEILING_EXCEEDED");
        }
        let refused = helpdesk.delete(&format!("/admin/users/{}", target.id)).await;
        refused.refused(403, "GRANT_CEILING_EXCEEDED");
        office.caller(&target.token).get("/auth/me").await.ok(200);
    }
    let change = json!({"display_name": "Nils", "enabled": false});
    patch(&helpdesk, &newcomer.id, &change).await.ok(200);
    patch(&helpdesk, &hana.id, &json!({"display_name": "Hana"}))
        .await
        .ok(200);
    let own = helpdesk.delete(&format!("/admin/users/{}", hana.id)).await;
    own.refused(409, "CANNOT_DELETE_SELF");
    helpdesk.delete(&format!("/admin/users/{}", newcomer.id)).await.ok(204);

    let limited = office.enrol("lars").await;
    let binding = format!(
        "INSERT INTO role_bindings (id, user_id, role_id, scope_type, scope_id, source, created_by) \
         VALUES (gen_random_uuid(), '{}', '{role}', 'system', gen_random_uuid(), 'manual', 'test') RETURNING id::text",
        limited.id
    );
    office.home.texts(&binding).await;
    let limited = office.caller(&limited.token);
    limited.get("/admin/users").await.refused(403, "FORBIDDEN");
    let refused = patch(&limited, &hana.id, &json!({"display_name": "Lars"})).await;
    refused.refused(403, "FORBIDDEN");
}

async fn users_are_found_by_those_who_manage_somebody(office: &Office) {
    let viewer = office.enrol("vera").await;
    office.bind(&viewer, "role-operator").await;
    let refused = office.caller(&viewer.token).get("/users/search?q=ve").await;
    assert_eq!(refused.refused(403, "FORBIDDEN")["required_permission"], "user:manage");

    let (owner, _) = office.owner("olga", "bank").await;
    let olga = office.caller(&owner.token);
    let found = olga.get("/users/search?q=VER").await.ok(200);
    assert_eq!(found, json!({"items": [{"id": viewer.id, "username": "vera"}]}));
    for query in ["", "?q=", "?q=v", "?q=%20v%20"] {
        let refused = olga.get(&format!("/users/search{query}")).await;
        assert_eq!(refused.body["field_errors"][0]["field"], "q");
        refused.refused(400, "VALIDATION_FAILED");
    }
    office.admin().get("/users/search?q=ve").await.ok(200);
}

async fn one_administrator_remains(office: &Office) {
    let admin = office.admin();
    let out = json!({"enabled": false});
    let refused = patch(&admin, &office.admin.id, &out).await;
    refused.refused(409, "LAST_PLATFORM_ADMIN");
    let root = office.enrol("root").await;
    office.bind(&root, "role-platform-admin").await;
    let other = office.caller(&root.token).at(&office.two);
    let replies = join_all([patch(&admin, &root.id, &out), patch(&other, &office.admin.id, &out)]).await;
    let mut answers: Vec<(u16, &str)> = replies.iter().map(|reply| (reply.status, reply.code())).collect();
    answers.sort_unstable();
    assert_eq!(answers[0], (200, ""), "{answers:?}");
    let late = [(409, "LAST_PLATFORM_ADMIN"), (401, "UNAUTHORIZED")];
    assert!(late.contains(&answers[1]), "{answers:?}");
    let enabled = "users WHERE username IN ('admin', 'root') AND enabled";
    assert_eq!(office.home.count(enabled).await, 1);
}
