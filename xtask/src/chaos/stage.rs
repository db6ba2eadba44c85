//! Everything that runs: database, clusters, replicas, and users who may ask for things.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use reqwest::Client;
use serde_json::{Value, json};
use shepherd_testkit::postgres::random_token;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::sync::Mutex;

use super::database::Database;
use super::replicas::Replicas;
use crate::compile::Executables;
use crate::fleet::Fleet;
use crate::workspace::Workspace;

/// Namespace of all machines.
pub(super) const NAMESPACE: &str = "chaos";
const CLUSTERS: u32 = 2;
const READY_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// How long a client waits for an answer before it asks again; shorter than what a stalled wire takes.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// What users ask for needs no approver here, as long as a cluster can take it.
const POLICIES: [&str; 3] = ["CREATE_VM", "MODIFY_VM", "DELETE_VM"];
const CLUSTERS_ARE_WELL: &str = "SELECT count(*) FROM clusters c JOIN cluster_watches w ON w.cluster_id = c.id \
     WHERE c.status = 'HEALTHY' AND w.state = 'LIVE' AND c.storage_classes <> '{}'";

/// Somebody who asks for machines, and what for.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) token: String,
    pub(super) service: String,
    pub(super) template: String,
    /// Two sizes, for modifications.
    pub(super) sizes: [String; 2],
}

/// What runs, and who works.
pub(super) struct Stage {
    pub(super) database: Database,
    pub(super) fleet: Mutex<Fleet>,
    pub(super) replicas: Mutex<Replicas>,
    pub(super) ports: Vec<u16>,
    pub(super) users: Vec<User>,
    /// The session of somebody who may decide everything.
    pub(super) approver: String,
    pub(super) http: Client,
}

impl Stage {
    pub(super) async fn prepare(
        workspace: &Workspace,
        built: &Executables,
        directory: PathBuf,
        users: usize,
    ) -> anyhow::Result<Self> {
        let shepherd = built.path("shepherd")?.canonicalize().context("find shepherd")?;
        let database = Database::start(&directory).await?;
        let fleet = Fleet::start_live_clusters(built.path("shepherd-fleet")?, &directory, CLUSTERS).await?;
        let environment = environment(workspace, &database)?;
        let first_password = format!("chaos-first-{}", random_token(8)?);
        for arguments in [["migrate", "up"].as_slice(), &["seed"]] {
            once(&shepherd, &directory, arguments, &environment, &first_password).await?;
        }
        let replicas = Replicas::start(shepherd, directory, environment)?;
        let mut stage = Self {
            database,
            ports: replicas.ports(),
            fleet: Mutex::new(fleet),
            replicas: Mutex::new(replicas),
            users: Vec::new(),
            approver: String::new(),
            http: client()?,
        };
        stage.populate(users, &first_password).await?;
        Ok(stage)
    }

    /// A session with the database, past the wire.
    pub(super) async fn connect(&self) -> anyhow::Result<PgConnection> {
        self.database.connect().await
    }

    /// Gives the clusters an order.
    pub(super) async fn order(&self, order: &str) -> anyhow::Result<Vec<String>> {
        let (_, said) = self.fleet.lock().await.obey(order).await?;
        Ok(said)
    }

    /// Ends everything.
    pub(super) async fn clear(self) {
        self.replicas.lock().await.clear().await;
        self.database.clear().await;
    }

    async fn populate(&mut self, users: usize, first_password: &str) -> anyhow::Result<()> {
        for number in 0..self.ports.len() {
            self.wait_until_ready(number).await?;
        }
        let admin = self.administrator(first_password).await?;
        for mut body in self.fleet.lock().await.registrations()? {
            body["environment"] = json!("test");
            self.post(&admin, "/admin/clusters", &body).await?;
        }
        let namespace = json!({"name": NAMESPACE, "environment": "test"});
        self.post(&admin, "/admin/namespaces", &namespace).await?;
        for operation in POLICIES {
            let policy = json!({
                "name": format!("chaos {operation}"), "operation": operation, "environment": "test", "matchers": {},
                "requires_approval": false, "priority": 1,
            });
            self.post(&admin, "/admin/approval-policies", &policy).await?;
        }
        let (template, sizes) = self.catalogue().await?;
        for number in 1..=users {
            let user = self.enrol(&admin, number, &template, &sizes).await?;
            self.users.push(user);
        }
        self.approver = admin;
        self.wait_for_clusters().await
    }

    async fn wait_until_ready(&self, number: usize) -> anyhow::Result<()> {
        let url = self.url(number, "/health/ready");
        let started = Instant::now();
        while started.elapsed() < READY_LIMIT {
            let answer = self.http.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("replica {} did not become ready; see its log", number + 1)
    }

    async fn wait_for_clusters(&self) -> anyhow::Result<()> {
        let mut session = self.connect().await?;
        let started = Instant::now();
        while started.elapsed() < READY_LIMIT {
            let well: i64 = sqlx::query_scalar(AssertSqlSafe(CLUSTERS_ARE_WELL))
                .fetch_one(&mut session)
                .await?;
            if well == i64::from(CLUSTERS) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("the clusters did not become healthy")
    }

    /// The address of an operation at one replica.
    pub(super) fn url(&self, number: usize, path: &str) -> String {
        let port = self.ports[number % self.ports.len()];
        format!("http://127.0.0.1:{port}/api/v1{path}")
    }

    async fn administrator(&self, first_password: &str) -> anyhow::Result<String> {
        let token = self.log_in("admin", first_password).await?;
        let password = format!("chaos-second-{}", random_token(8)?);
        let change = json!({"old_password": first_password, "new_password": password});
        self.post(&token, "/auth/change-password", &change).await?;
        self.log_in("admin", &password).await
    }

    async fn enrol(&self, admin: &str, number: usize, template: &str, sizes: &[String; 2]) -> anyhow::Result<User> {
        let (name, password) = (format!("user-{number}"), format!("chaos-user-{}", random_token(8)?));
        let body = json!({"username": name, "password": password, "force_password_change": false});
        let id = text(&self.post(admin, "/admin/users", &body).await?, "id")?;
        let binding = json!({"role_id": "role-system-admin", "allowed_environments": ["test"]});
        self.post(admin, &format!("/admin/users/{id}/role-bindings"), &binding)
            .await?;
        let token = self.log_in(&name, &password).await?;
        let system = self
            .post(&token, "/systems", &json!({"name": format!("sys{number}")}))
            .await?;
        let path = format!("/systems/{}/services", text(&system, "id")?);
        let service = self.post(&token, &path, &json!({"name": "web"})).await?;
        Ok(User {
            name,
            token,
            service: text(&service, "id")?,
            template: template.to_owned(),
            sizes: sizes.clone(),
        })
    }

    async fn catalogue(&self) -> anyhow::Result<(String, [String; 2])> {
        let mut session = self.connect().await?;
        let (template, small, medium): (String, String, String) = sqlx::query_as(
            "SELECT (SELECT id::text FROM templates WHERE status = 'active' ORDER BY name LIMIT 1), \
             (SELECT id::text FROM instance_sizes WHERE name = 'small'), \
             (SELECT id::text FROM instance_sizes WHERE name = 'medium')",
        )
        .fetch_one(&mut session)
        .await
        .context("read the catalogue of the seeds")?;
        Ok((template, [small, medium]))
    }

    async fn log_in(&self, name: &str, password: &str) -> anyhow::Result<String> {
        let body = json!({"username": name, "password": password});
        let answer = self.http.post(self.url(0, "/auth/login")).json(&body).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{name} cannot log in: {status}");
        text(&answer.json().await?, "token")
    }

    /// Asks for something that has to succeed, before anything goes wrong.
    async fn post(&self, token: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(self.url(0, path)).bearer_auth(token).json(body);
        let answer = request.send().await.with_context(|| format!("POST {path}"))?;
        let status = answer.status();
        let said = answer.text().await?;
        ensure!(status.is_success(), "POST {path} was answered {status}: {said}");
        // Not every answer has a body.
        Ok(serde_json::from_str(&said).unwrap_or_default())
    }
}

/// What every process is told. Dead workers and lost leases are noticed soon, and clusters are not spared.
fn environment(workspace: &Workspace, database: &Database) -> anyhow::Result<Vec<(&'static str, String)>> {
    let settings = [
        ("SECURITY_OUTBOUND_ALLOWLIST", "127.0.0.1/32"),
        ("SECURITY_LOGIN_MAX_FAILURES_IP", "1000"),
        ("SERVER_API_RATE_PER_USER", "10000/s, burst 10000"),
        ("DATABASE_MAX_CONNS", "15"),
        ("DATABASE_MIN_CONNS", "1"),
        ("QUEUE_HEARTBEAT", "1s"),
        ("QUEUE_RECOVERY_THRESHOLD", "5s"),
        ("K8S_HEALTH_INTERVAL", "2s"),
        ("K8S_CALL_TIMEOUT", "5s"),
        ("K8S_BREAKER_OPEN", "5s"),
        ("K8S_QPS", "200"),
        ("K8S_BURST", "400"),
    ];
    let mut environment: Vec<(&'static str, String)> = settings.map(|(name, value)| (name, value.to_owned())).into();
    environment.push(("DATABASE_URL", database.url_of_wire()?));
    environment.push(("SEED_DIR", workspace.root().join("seed").display().to_string()));
    Ok(environment)
}

/// Runs a command of the product to its end.
async fn once(
    program: &Path,
    directory: &Path,
    arguments: &[&str],
    environment: &[(&'static str, String)],
    password: &str,
) -> anyhow::Result<()> {
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("SEED_ADMIN_PASSWORD", password)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("run shepherd")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("shepherd {} failed:\n{}", arguments.join(" "), errors.trim());
    }
    Ok(())
}

fn client() -> anyhow::Result<Client> {
    // Plain HTTP on this machine; the client still wants to know whose cryptography it would use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(ANSWER_LIMIT)
        .build()
        .context("make an HTTP client")
}

/// A text of an answer.
pub(super) fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    let text = answer[field].as_str();
    text.map(str::to_owned)
        .with_context(|| format!("an answer has a field {field}: {answer}"))
}
