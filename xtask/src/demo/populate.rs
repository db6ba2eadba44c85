//! Fills a running product through its API: an administrator who has changed their password, clusters, namespaces,
//! users. Everything that is there already is left alone, so that a kept demo goes on.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::api::Api;
use super::place::{User, Users};
use super::stack::Cluster;
use crate::progress::Step;

/// How long the clusters may take to be found healthy.
const HEALTHY_LIMIT: Duration = Duration::from_secs(90);
const NAMESPACES: [(&str, &str); 2] = [("dev", "test"), ("prod-shop", "prod")];

pub(super) async fn run(url: &str, clusters: &[Cluster], users: &Users, step: &Step) -> anyhow::Result<()> {
    let admin = log_in_as_admin(&Api::new(url)?, users).await?;
    for cluster in clusters {
        step.detail(cluster.name);
        register(&admin, cluster).await?;
    }
    for (name, environment) in NAMESPACES {
        let reply = admin
            .post("/admin/namespaces", json!({"name": name, "environment": environment}))
            .await?;
        if !reply.is_conflict() {
            reply.success()?;
        }
    }
    create_user(&admin, &users.approver, "Ada Approver", "role-approver").await?;
    create_user(&admin, &users.requester, "Rita Requester", "role-operator").await?;
    create_user(&admin, &users.outsider, "Otto Outsider", "role-operator").await?;
    wait_until_healthy(&admin, clusters, step).await
}

/// Logs in, changing the seeded password first where nobody has yet.
async fn log_in_as_admin(api: &Api, users: &Users) -> anyhow::Result<Api> {
    let User { username, password } = &users.admin;
    if let Some(session) = api.log_in(username, password).await? {
        return Ok(session);
    }
    let first = api
        .log_in(username, &users.initial_admin_password)
        .await?
        .context("the seeded administrator cannot log in; remove target/demo and start again")?;
    let change = json!({"old_password": users.initial_admin_password, "new_password": password});
    first.post("/auth/change-password", change).await?.success()?;
    api.log_in(username, password)
        .await?
        .context("the administrator's new password is not accepted")
}

/// Registers a cluster; a known one gets the credentials of the simulator that runs now.
async fn register(admin: &Api, cluster: &Cluster) -> anyhow::Result<()> {
    let kubeconfig = std::fs::read(&cluster.kubeconfig).context("read the simulator's kubeconfig")?;
    let kubeconfig = STANDARD.encode(kubeconfig);
    let listed = admin.get("/admin/clusters?per_page=100").await?;
    let known = items(&listed).find(|known| known["name"] == cluster.name);
    let (path, body) = match known {
        Some(known) => {
            let id = known["id"].as_str().context("a cluster has an id")?;
            (
                format!("/admin/clusters/{id}/rotate-credential"),
                json!({"kubeconfig": kubeconfig}),
            )
        }
        None => (
            "/admin/clusters".to_owned(),
            json!({
                "name": cluster.name,
                "display_name": format!("Demo cluster ({})", cluster.environment),
                "environment": cluster.environment,
                "kubeconfig": kubeconfig,
            }),
        ),
    };
    admin.post(&path, body).await?.success()?;
    Ok(())
}

async fn create_user(admin: &Api, user: &User, display_name: &str, role: &str) -> anyhow::Result<()> {
    let body = json!({
        "username": user.username,
        "password": user.password,
        "email": format!("{}@demo.example", user.username),
        "display_name": display_name,
        "force_password_change": false,
    });
    let reply = admin.post("/admin/users", body).await?;
    if reply.is_conflict() {
        return Ok(());
    }
    let created = reply.success()?;
    let id = created["id"].as_str().context("a user has an id")?;
    let binding = json!({"role_id": role, "allowed_environments": ["test", "prod"]});
    admin
        .post(&format!("/admin/users/{id}/role-bindings"), binding)
        .await?
        .success()?;
    Ok(())
}

async fn wait_until_healthy(admin: &Api, clusters: &[Cluster], step: &Step) -> anyhow::Result<()> {
    let deadline = Instant::now() + HEALTHY_LIMIT;
    loop {
        let listed = admin.get("/admin/clusters?per_page=100").await?;
        let ill: Vec<String> = items(&listed)
            .filter(|cluster| clusters.iter().any(|ours| cluster["name"] == ours.name))
            .filter(|cluster| cluster["status"] != "HEALTHY")
            .map(|cluster| {
                format!(
                    "{} is {} {}",
                    cluster["name"], cluster["status"], cluster["status_reason"]
                )
            })
            .collect();
        if ill.is_empty() {
            return Ok(());
        }
        step.detail(&ill.join(", "));
        if Instant::now() > deadline {
            bail!("a cluster did not become healthy: {}", ill.join(", "));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}
