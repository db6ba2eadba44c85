//! The example's binary as a process, and the few calls of its API that the tests need.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use shepherd_testkit::leash::{Leash, LeashedProcess};
use shepherd_testkit::postgres::TestDatabase;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_notification-sender-example");
const SEEDED_PASSWORD: &str = "quiet harbour lamp 17";
const PASSWORD: &str = "another harbour lamp 18";
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until `probe` finds something.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// An installation with a database and a directory of its own.
pub struct Product {
    client: Client,
    directory: TempDir,
    database: TestDatabase,
}

impl Product {
    pub async fn unseeded() -> Self {
        // The API under test speaks plain HTTP; the client still wants to know whose cryptography it would use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE);
        Self {
            client: client.build().unwrap(),
            directory: tempfile::tempdir().unwrap(),
            database: TestDatabase::create().await,
        }
    }

    pub async fn seeded() -> Self {
        let product = Self::unseeded().await;
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../seed");
        let seeds = seeds.display().to_string();
        let environment = [("SEED_DIR", seeds.as_str()), ("SEED_ADMIN_PASSWORD", SEEDED_PASSWORD)];
        product.run(&["seed"], &environment).await;
        product
    }

    /// Runs a command that has to succeed.
    pub async fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) {
        let (succeeded, said) = self.output(arguments, environment).await;
        assert!(succeeded, "{arguments:?}: {said}");
    }

    /// Runs a command that has to fail; answers what it says.
    pub async fn fail(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let (succeeded, said) = self.output(arguments, environment).await;
        assert!(!succeeded, "{arguments:?}: {said}");
        said
    }

    async fn output(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
        let mut command = Command::new(BINARY);
        self.prepare(&mut command);
        command.args(arguments).envs(environment.iter().copied());
        let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        let said = [stdout, stderr].concat();
        (status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Starts the whole product; answers when it is ready.
    pub async fn serve(&self, environment: &[(&str, &str)]) -> Serving {
        let leash = Leash::terminating(Duration::from_secs(10));
        let log = self.directory.path().join("serve.log");
        let file = std::fs::File::create(&log).unwrap();
        let port = free_port();
        let mut command = leash.command(BINARY);
        self.prepare(&mut command);
        command
            .arg("serve")
            .env("SERVER_PORT", port.to_string())
            .env("METRICS_PORT", free_port().to_string())
            .envs(environment.iter().copied())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        let mut serving = Serving {
            client: self.client.clone(),
            base: format!("http://127.0.0.1:{port}/api/v1"),
            process: LeashedProcess::spawn("the example", command, &leash).unwrap(),
            log,
        };
        serving.wait_until_ready().await;
        serving
    }

    fn prepare(&self, command: &mut Command) {
        command
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DATABASE_URL", self.database.url())
            .env("DATABASE_MIN_CONNS", "1")
            .env("DATABASE_MAX_CONNS", "10")
            .env("SERVER_BIND", "127.0.0.1")
            .env("SERVER_SHUTDOWN_TIMEOUT", "5s")
            // The chat of the test listens on this machine, where nothing is posted to otherwise.
            .env("SECURITY_OUTBOUND_ALLOWLIST", "127.0.0.1/32");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A running product. It ends with this value at the latest.
pub struct Serving {
    client: Client,
    base: String,
    process: LeashedProcess,
    log: PathBuf,
}

impl Serving {
    async fn wait_until_ready(&mut self) {
        let url = format!("{}/health/ready", self.base);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            let ended = self.process.exit_status().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(&self.log).unwrap();
                panic!("the example does not serve ({ended:?}):\n{log}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub async fn stop(self) {
        self.process.stop().await;
    }

    /// Changes a seeded password and logs in with the new one; answers the token.
    pub async fn log_in_first(&self, username: &str) -> String {
        let first = self.log_in_with(username, SEEDED_PASSWORD).await;
        let change = json!({"old_password": SEEDED_PASSWORD, "new_password": PASSWORD});
        let request = self.client.post(self.url("/auth/change-password"));
        send(request.bearer_auth(first).json(&change)).await;
        self.log_in(username).await
    }

    /// Logs in; answers the token.
    pub async fn log_in(&self, username: &str) -> String {
        self.log_in_with(username, PASSWORD).await
    }

    async fn log_in_with(&self, username: &str, password: &str) -> String {
        let body = json!({"username": username, "password": password});
        let session = send(self.client.post(self.url("/auth/login")).json(&body)).await;
        session["token"].as_str().unwrap().to_owned()
    }

    /// Creates a user without any rights; answers the id.
    pub async fn create_user(&self, token: &str, username: &str) -> String {
        let body = json!({"username": username, "password": PASSWORD, "force_password_change": false});
        let request = self.client.post(self.url("/admin/users"));
        let created = send(request.bearer_auth(token).json(&body)).await;
        created["id"].as_str().unwrap().to_owned()
    }

    pub async fn get(&self, token: &str, path: &str) -> Value {
        send(self.client.get(self.url(path)).bearer_auth(token)).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// The body of a success; null when there is none.
async fn send(request: RequestBuilder) -> Value {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).unwrap_or_default()
}
