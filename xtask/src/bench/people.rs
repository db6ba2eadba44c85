//! Who sends the requests: the seeded administrator, and users made through the API as an administrator would.

use anyhow::Context as _;
use serde_json::{Value, json};
use shepherd_testkit::postgres::random_token;

use super::bed::{Bed, Served};
use super::http::{Connection, request};

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub(super) struct Person {
    /// The user's id, where it was made here.
    pub(super) id: String,
    pub(super) token: String,
}

/// Logs in as the seeded administrator, whose first password has to be changed.
pub(super) async fn administrator(bed: &Bed<'_>, served: &Served) -> anyhow::Result<Person> {
    let mut connection = Connection::open(served.port).await?;
    let first = bed.first_password();
    let token = log_in(&mut connection, "admin", first).await?;
    let password = format!("bench-second-{}", random_token(8)?);
    let change = json!({"old_password": first, "new_password": password}).to_string();
    let reply = connection
        .send(&request("POST", "/auth/change-password", Some(&token), Some(&change)))
        .await?;
    anyhow::ensure!(
        reply.status < 300,
        "the password cannot be changed: {}",
        String::from_utf8_lossy(&reply.body)
    );
    Ok(Person {
        id: String::new(),
        token: log_in(&mut connection, "admin", &password).await?,
    })
}

/// Creates a user who holds one role in both environments, and logs in as that user.
pub(super) async fn user(served: &Served, administrator: &Person, name: &str, role: &str) -> anyhow::Result<Person> {
    let mut connection = Connection::open(served.port).await?;
    let password = format!("bench-user-{}", random_token(8)?);
    let body = json!({"username": name, "password": password, "force_password_change": false});
    let created = post(&mut connection, administrator, "/admin/users", &body).await?;
    let id = text(&created, "id")?;
    let binding = json!({"role_id": role, "allowed_environments": ["test", "prod"]});
    let path = format!("/admin/users/{id}/role-bindings");
    post(&mut connection, administrator, &path, &binding).await?;
    Ok(Person {
        id,
        token: log_in(&mut connection, name, &password).await?,
    })
}

async fn post(connection: &mut Connection, person: &Person, path: &str, body: &Value) -> anyhow::Result<Value> {
    let request = request("POST", path, Some(&person.token), Some(&body.to_string()));
    connection
        .send(&request)
        .await?
        .json(201)
        .with_context(|| format!("POST {path}"))
}

async fn log_in(connection: &mut Connection, username: &str, password: &str) -> anyhow::Result<String> {
    let body = json!({"username": username, "password": password}).to_string();
    let reply = connection
        .send(&request("POST", "/auth/login", None, Some(&body)))
        .await?;
    text(&reply.json(200).context("log in")?, "token")
}

/// A text of an answer.
pub(super) fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    let text = answer[field].as_str();
    text.map(str::to_owned)
        .with_context(|| format!("an answer has a field {field}"))
}
