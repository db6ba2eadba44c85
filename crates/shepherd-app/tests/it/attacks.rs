//! What attackers try, as they would try it: over the wire, against the shipped binary, on two replicas.

mod accounts;
mod guessing;
mod inputs;
mod tokens;

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, Reply, send};
use crate::server::{Env, Home, Replica, SEEDED_PASSWORD};
use crate::world::{PASSWORD, Person, log_in, text};

/// An id that nothing has.
const NOTHING: &str = "01983f0e-0000-7000-8000-000000000000";
const ADMIN_PASSWORD: &str = "loud harbour lamp 18";

/// Two replicas of the API on one database, and an administrator.
struct Target {
    one: Replica,
    two: Replica,
    admin: Person,
    home: Home,
}

impl Target {
    /// Both replicas have this environment.
    async fn start(env: &Env<'_>) -> Self {
        let home = Home::new().await;
        home.seed().await;
        let (one, two) = tokio::join!(Replica::start(&home, "api", env), Replica::start(&home, "api", env));
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

    /// Replicas that do not slow anybody down.
    async fn patient() -> Self {
        Self::start(&[
            ("SECURITY_LOGIN_MAX_FAILURES_USER", "10000".to_owned()),
            ("SECURITY_LOGIN_MAX_FAILURES_IP", "10000".to_owned()),
        ])
        .await
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

    /// A new user with a role in both environments, logged in.
    async fn enrol(&self, name: &str, role: Option<&str>) -> Person {
        let user = json!({"username": name, "password": PASSWORD, "force_password_change": false});
        let id = text(&self.admin().post("/admin/users", &user).await.ok(201)["id"]);
        if let Some(role) = role {
            let path = format!("/admin/users/{id}/role-bindings");
            let binding = json!({"role_id": role, "allowed_environments": ["test", "prod"]});
            self.admin().post(&path, &binding).await.ok(201);
        }
        let token = log_in(&self.nobody(), name, PASSWORD).await;
        Person { id, token }
    }

    /// Changes something as the administrator.
    async fn patch(&self, path: &str, body: &Value) -> Reply {
        send(self.admin().request(Method::PATCH, path).json(body)).await
    }
}

/// Tries to log in.
async fn try_login(caller: &Caller, name: &str, password: &str) -> Reply {
    let body = json!({"username": name, "password": password});
    caller.post("/auth/login", &body).await
}

/// How many attempts out of some had this status.
fn how_many(replies: &[Reply], status: u16) -> usize {
    replies.iter().filter(|reply| reply.status == status).count()
}
