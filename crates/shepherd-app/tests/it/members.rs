//! Members of Systems: who lets whom in, who stays, and how soon it counts.

mod expiry;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, Reply, send};
use crate::server::{Home, Replica, SEEDED_PASSWORD};
use crate::world::{BOTH, PASSWORD, Person, log_in, text};

/// An id that nothing has.
const NOTHING: &str = "01983f0e-0000-7000-8000-000000000000";
const ADMIN_PASSWORD: &str = "loud harbour lamp 18";

/// Two replicas of the API on one database, the second of which works as well. Olga owns the System `shop`.
struct Team {
    one: Replica,
    two: Replica,
    admin: Person,
    olga: Person,
    system: String,
    home: Home,
}

impl Team {
    async fn start() -> Self {
        let home = Home::new().await;
        home.seed().await;
        let (one, two) = tokio::join!(
            Replica::start(&home, "api", &[]),
            Replica::start(&home, "api,worker", &[])
        );
        let nobody = Caller::new(&home.client, &one, None);
        let token = log_in(&nobody, "admin", SEEDED_PASSWORD).await;
        let admin = Caller::new(&home.client, &one, Some(token.clone()));
        let change = json!({"old_password": SEEDED_PASSWORD, "new_password": ADMIN_PASSWORD});
        admin.post("/auth/change-password", &change).await.ok(204);
        let id = text(&admin.get("/auth/me").await.ok(200)["id"]);
        let admin = Person { id, token };
        let mut team = Self {
            one,
            two,
            olga: admin.clone(),
            admin,
            system: String::new(),
            home,
        };
        team.olga = team.enrol("olga").await;
        let shop = team.as_(&team.olga).post("/systems", &json!({"name": "shop"})).await;
        team.system = text(&shop.ok(201)["id"]);
        team
    }

    /// Calls at the first replica.
    fn as_(&self, person: &Person) -> Caller {
        Caller::new(&self.home.client, &self.one, Some(person.token.clone()))
    }

    /// Calls at the second replica.
    fn there(&self, person: &Person) -> Caller {
        self.as_(person).at(&self.two)
    }

    /// An operator who is logged in and a member of nothing.
    async fn enrol(&self, name: &str) -> Person {
        let admin = self.as_(&self.admin);
        let user = json!({"username": name, "password": PASSWORD, "force_password_change": false});
        let id = text(&admin.post("/admin/users", &user).await.ok(201)["id"]);
        let role = json!({"role_id": "role-operator", "allowed_environments": BOTH});
        let bindings = format!("/admin/users/{id}/role-bindings");
        admin.post(&bindings, &role).await.ok(201);
        let nobody = Caller::new(&self.home.client, &self.one, None);
        Person {
            id,
            token: log_in(&nobody, name, PASSWORD).await,
        }
    }

    /// The same as a member of the System.
    async fn member(&self, name: &str, role: &str) -> Person {
        let person = self.enrol(name).await;
        self.add(&self.olga, &person, role).await.ok(201);
        person
    }

    async fn add(&self, by: &Person, who: &Person, role: &str) -> Reply {
        let body = json!({"user_id": who.id, "role": role});
        self.as_(by).post(&self.members(), &body).await
    }

    async fn change(&self, by: &Person, who: &Person, role: &str) -> Reply {
        let request = self.as_(by).request(Method::PATCH, &self.membership(who));
        send(request.json(&json!({"role": role}))).await
    }

    async fn remove(&self, by: &Person, who: &Person) -> Reply {
        self.as_(by).delete(&self.membership(who)).await
    }

    fn shop(&self) -> String {
        format!("/systems/{}", self.system)
    }

    fn members(&self) -> String {
        format!("/systems/{}/members", self.system)
    }

    fn membership(&self, of: &Person) -> String {
        format!("{}/{}", self.members(), of.id)
    }

    /// User names and roles, as the second replica lists them.
    async fn listed(&self) -> Vec<String> {
        let listed = self.there(&self.admin).get(&self.members()).await.ok(200);
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|member| format!("{} {}", text(&member["username"]), text(&member["role"])))
            .collect()
    }

    /// What was recorded about a member: who did what, oldest first.
    async fn recorded(&self, who: &Person) -> Vec<String> {
        let query = format!(
            "SELECT action || ' ' || action_code || ' by ' || performed_by_name FROM audit_logs \
             WHERE resource_type = 'system_member' AND resource_id = '{}' AND parent_type = 'system' \
                 AND parent_id = '{}' ORDER BY performed_at, id",
            who.id, self.system
        );
        self.home.texts(&query).await
    }

    /// A moment as the API reads it.
    async fn moment(&self, offset: &str) -> String {
        let sql = format!(
            "SELECT to_char((now() + interval '{offset}') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
        );
        self.home.texts(&sql).await.pop().expect("a moment")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_and_admins_decide_who_works_on_a_system_and_it_counts_at_once() {
    let team = Team::start().await;
    others_find_nothing(&team).await;
    owners_and_admins_manage_members(&team).await;
    owners_are_the_business_of_owners(&team).await;
    wrong_requests_are_told_apart(&team).await;
    a_removed_member_sees_nothing_anywhere(&team).await;
    everybody_may_leave(&team).await;
}

async fn others_find_nothing(team: &Team) {
    let mallory = team.as_(&team.enrol("mallory").await);
    let olga = team.olga.id.as_str();
    let cases = [
        (Method::GET, "/systems/{}/members".to_owned(), Value::Null),
        (
            Method::POST,
            "/systems/{}/members".to_owned(),
            json!({"user_id": olga, "role": "emperor"}),
        ),
        (
            Method::PATCH,
            format!("/systems/{{}}/members/{olga}"),
            json!({"role": "emperor"}),
        ),
        (Method::DELETE, format!("/systems/{{}}/members/{olga}"), Value::Null),
    ];
    for (method, path, body) in cases {
        let ask = async |system: &str| {
            let request = mallory.request(method.clone(), &path.replace("{}", system));
            let reply = send(if body.is_null() { request } else { request.json(&body) }).await;
            (reply.status, reply.text.replace(system, "the id"))
        };
        let (status, said) = ask(&team.system).await;
        assert_eq!(status, 404, "{method} {path}: {said}");
        assert!(said.contains("SYSTEM_NOT_FOUND"), "{said}");
        assert_eq!((status, said), ask(NOTHING).await, "{method} {path}");
    }
    let own = format!("/systems/{}/members/{}", team.system, team.admin.id);
    mallory.delete(&own).await.refused(404, "SYSTEM_NOT_FOUND");
}

async fn owners_and_admins_manage_members(team: &Team) {
    let adam = team.member("adam", "admin").await;
    let mona = team.member("mona", "member").await;
    let vera = team.member("vera", "viewer").await;
    let listed = ["olga owner", "adam admin", "mona member", "vera viewer"];
    assert_eq!(team.listed().await, listed);
    let roles = [
        (&team.admin, "owner"),
        (&team.olga, "owner"),
        (&adam, "admin"),
        (&mona, "member"),
        (&vera, "viewer"),
    ];
    for (person, role) in roles {
        let shop = team.there(person).get(&team.shop()).await.ok(200);
        assert_eq!((&shop["my_role"], &shop["warnings"]), (&json!(role), &Value::Null));
        team.there(person).get(&team.members()).await.ok(200);
    }

    let nick = team.enrol("nick").await;
    for person in [&vera, &mona] {
        for refused in [
            team.add(person, &nick, "viewer").await,
            team.change(person, &vera, "member").await,
            team.remove(person, &adam).await,
        ] {
            assert_eq!(refused.refused(403, "FORBIDDEN"), json!({"required_role": "admin"}));
        }
    }
    let added = team.add(&adam, &nick, "viewer").await;
    let location = format!("/api/v1{}", team.membership(&nick));
    assert_eq!(
        (added.header("location"), added.header("etag")),
        (location.as_str(), "\"1\"")
    );
    let added = added.ok(201);
    let shown = [&added["user_id"], &added["username"], &added["role"]];
    assert_eq!(shown, [&json!(nick.id), &json!("nick"), &json!("viewer")]);
    assert_eq!(added["expires_at"], Value::Null);
    for role in ["admin", "member"] {
        let changed = team.change(&adam, &nick, role).await.ok(200);
        assert_eq!(changed["role"], role);
        let shop = team.there(&nick).get(&team.shop()).await.ok(200);
        assert_eq!(shop["my_role"], role);
    }
    team.change(&adam, &nick, "member").await.ok(200);
    team.remove(&adam, &nick).await.ok(204);
    let recorded = [
        "system.member_add ACCESS_GRANTED by adam",
        "system.member_update ACCESS_GRANTED by adam",
        "system.member_update ACCESS_GRANTED by adam",
        "system.member_remove ACCESS_REVOKED by adam",
    ];
    assert_eq!(team.recorded(&nick).await, recorded, "what is so already is no change");
    let details = format!(
        "SELECT params FROM audit_logs WHERE action = 'system.member_update' AND resource_id = '{}' \
         ORDER BY performed_at, id LIMIT 1",
        nick.id
    );
    let details = team.home.sql(&details).await;
    let expected = json!({"username": "nick", "role": "admin", "previous_role": "viewer"});
    assert_eq!(details[0]["params"], expected);
}

async fn owners_are_the_business_of_owners(team: &Team) {
    let ceiling = json!({"role": "owner", "scope": "system"});
    let ada = team.member("ada", "admin").await;
    let paul = team.enrol("paul").await;
    for refused in [
        team.add(&ada, &paul, "owner").await,
        team.change(&ada, &ada, "owner").await,
        team.change(&ada, &team.olga, "viewer").await,
        team.change(&ada, &team.olga, "owner").await,
        team.remove(&ada, &team.olga).await,
    ] {
        assert_eq!(refused.refused(403, "GRANT_CEILING_EXCEEDED"), ceiling);
    }

    let last = json!({"system_ids": [team.system]});
    for person in [&team.olga, &team.admin] {
        for refused in [
            team.change(person, &team.olga, "admin").await,
            team.remove(person, &team.olga).await,
        ] {
            assert_eq!(refused.refused(409, "LAST_OWNER_CANNOT_BE_REMOVED"), last);
        }
    }
    assert_eq!(
        team.recorded(&team.olga).await,
        [""; 0],
        "the creation is recorded as such"
    );

    team.add(&team.olga, &paul, "owner").await.ok(201);
    let removals = [
        team.as_(&team.olga).request(Method::DELETE, &team.membership(&paul)),
        team.there(&paul).request(Method::DELETE, &team.membership(&team.olga)),
    ];
    let replies = join_all(removals.map(send)).await;
    let mut answers: Vec<(u16, &str)> = replies.iter().map(|reply| (reply.status, reply.code())).collect();
    answers.sort_unstable();
    assert_eq!(answers[0], (204, ""), "{replies:?}");
    let late = [(409, "LAST_OWNER_CANNOT_BE_REMOVED"), (404, "SYSTEM_NOT_FOUND")];
    assert!(late.contains(&answers[1]), "{replies:?}");
    let owners = team
        .listed()
        .await
        .into_iter()
        .filter(|member| member.ends_with("owner"));
    assert_eq!(owners.count(), 1);

    // A platform administrator is an owner everywhere and sets it right again.
    if team.as_(&team.olga).get(&team.shop()).await.status == 404 {
        team.add(&team.admin, &team.olga, "owner").await.ok(201);
        team.remove(&team.admin, &paul).await.ok(204);
    }
    team.add(&team.olga, &paul, "viewer").await.ok(201);
    team.change(&team.olga, &paul, "owner").await.ok(200);
    team.change(&paul, &team.olga, "member").await.ok(200);
    let refused = team.change(&team.olga, &paul, "member").await;
    assert_eq!(refused.refused(403, "FORBIDDEN")["required_role"], "admin");
    team.change(&paul, &team.olga, "owner").await.ok(200);
    team.remove(&team.olga, &paul).await.ok(204);
}

async fn wrong_requests_are_told_apart(team: &Team) {
    let olga = team.as_(&team.olga);
    let nora = team.enrol("nora").await;
    for role in ["emperor", "Owner", " viewer"] {
        let refused = team.add(&team.olga, &nora, role).await.refused(400, "INVALID_ROLE");
        assert_eq!(refused, json!({"role": role}));
        let refused = team.change(&team.olga, &team.olga, role).await;
        refused.refused(400, "INVALID_ROLE");
    }
    let post = async |body: Value| olga.post(&team.members(), &body).await;
    let refused = post(json!({"user_id": NOTHING, "role": "viewer"})).await;
    assert_eq!(refused.refused(404, "USER_NOT_FOUND"), json!({"id": NOTHING}));
    let (past, later, never) = (
        team.moment("-1 second").await,
        team.moment("1 hour").await,
        team.moment("101 years").await,
    );
    for (role, end) in [("viewer", &past), ("owner", &later), ("viewer", &never)] {
        let refused = post(json!({"user_id": nora.id, "role": role, "expires_at": end})).await;
        let error = &refused.body["field_errors"][0];
        assert_eq!([&error["field"], &error["code"]], ["expires_at", "OUT_OF_RANGE"]);
        refused.refused(400, "VALIDATION_FAILED");
    }
    for (body, code) in [
        (json!({"user_id": nora.id}), "VALIDATION_FAILED"),
        (json!({"role": "viewer"}), "VALIDATION_FAILED"),
        (json!({"user_id": "nora", "role": "viewer"}), "VALIDATION_FAILED"),
        (json!({"user_id": nora.id, "role": ""}), "VALIDATION_FAILED"),
        (
            json!({"user_id": nora.id, "role": "viewer", "expires_at": "soon"}),
            "VALIDATION_FAILED",
        ),
        (
            json!({"user_id": nora.id, "role": "viewer", "granted_by": "me"}),
            "INVALID_REQUEST_FIELD",
        ),
    ] {
        post(body).await.refused(400, code);
    }
    for refused in [
        team.change(&team.olga, &nora, "viewer").await,
        team.remove(&team.olga, &nora).await,
    ] {
        assert_eq!(refused.refused(404, "MEMBER_NOT_FOUND"), json!({"id": nora.id}));
    }
    let until = json!({"role": "member", "expires_at": later});
    let request = olga.request(Method::PATCH, &team.membership(&team.olga)).json(&until);
    send(request).await.refused(400, "INVALID_REQUEST_FIELD");

    let key = "the first day";
    let body = json!({"user_id": nora.id, "role": "viewer"});
    for replayed in ["", "true"] {
        let request = olga
            .request(Method::POST, &team.members())
            .header("idempotency-key", key);
        let reply = send(request.json(&body)).await;
        assert_eq!(reply.header("idempotency-replayed"), replayed);
        assert_eq!(reply.ok(201)["user_id"], json!(nora.id));
    }
    let refused = post(body).await.refused(409, "MEMBER_ALREADY_EXISTS");
    assert_eq!(refused, json!({"existing_id": nora.id}));
    let guarded = async |tag: &str| {
        let request = olga
            .request(Method::PATCH, &team.membership(&nora))
            .header("if-match", tag);
        send(request.json(&json!({"role": "member"}))).await
    };
    let stale = guarded("\"7\"").await.refused(412, "PRECONDITION_FAILED");
    assert_eq!(stale, json!({"current_version": 1}));
    let changed = guarded("\"1\"").await;
    assert_eq!(changed.header("etag"), "\"2\"");
    changed.ok(200);
    assert_eq!(team.recorded(&nora).await.len(), 2);
}

async fn a_removed_member_sees_nothing_anywhere(team: &Team) {
    let rosa = team.member("rosa", "member").await;
    for caller in [team.as_(&rosa), team.there(&rosa)] {
        caller.get(&team.shop()).await.ok(200);
        caller.get(&format!("{}/services", team.shop())).await.ok(200);
    }
    team.remove(&team.olga, &rosa).await.ok(204);
    for caller in [team.there(&rosa), team.as_(&rosa)] {
        caller.get(&team.shop()).await.refused(404, "SYSTEM_NOT_FOUND");
        caller.get(&team.members()).await.refused(404, "SYSTEM_NOT_FOUND");
        let systems = caller.get("/systems").await.ok(200);
        assert_eq!(systems["pagination"]["total"], 0);
    }
    team.remove(&team.olga, &rosa).await.refused(404, "MEMBER_NOT_FOUND");
}

async fn everybody_may_leave(team: &Team) {
    for role in ["viewer", "member", "admin", "owner"] {
        let leaver = team.member(&format!("leaving-{role}"), role).await;
        team.remove(&leaver, &leaver).await.ok(204);
        let gone = team.there(&leaver).get(&team.shop()).await;
        gone.refused(404, "SYSTEM_NOT_FOUND");
        let recorded = team.recorded(&leaver).await;
        let expected = format!("system.member_remove ACCESS_REVOKED by leaving-{role}");
        assert_eq!(recorded.last(), Some(&expected));
    }
    // A role on the System is no membership, and is not left by this way.
    let guest = team.enrol("guest").await;
    let role = json!({
        "role_id": "role-viewer", "scope_type": "system", "scope_id": team.system, "allowed_environments": BOTH,
    });
    let bindings = format!("/admin/users/{}/role-bindings", guest.id);
    team.as_(&team.admin).post(&bindings, &role).await.ok(201);
    team.remove(&guest, &guest).await.refused(404, "MEMBER_NOT_FOUND");
}
