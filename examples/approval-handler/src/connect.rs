//! Tells a demo about this program, as an administrator would: a system to hand tickets to, and a policy that says which.

use std::path::Path;

use anyhow::{Context as _, bail};
use reqwest::Client;
use serde_json::{Value, json};

use crate::client;

const SYSTEM: &str = "example-board";
const POLICY: &str = "new machines go to the board";

pub(crate) async fn run(demo: &Path, board: &str, secret: &str) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(demo).with_context(|| format!("{}: does `cargo xtask demo` run?", demo.display()))?;
    let demo: Value = serde_json::from_str(&text)?;
    let url = demo["url"].as_str().context("a demo has an address")?;
    let mut api = Api {
        http: client::for_address(url)?,
        base: format!("{url}/api/v1"),
        token: String::new(),
    };
    let admin = &demo["users"]["admin"];
    let who = json!({"username": admin["username"], "password": admin["password"]});
    let session = api.post("/auth/login", &who).await?;
    api.token = session["token"].as_str().unwrap_or_default().to_owned();

    let system = json!({
        "name": SYSTEM, "system_type": "webhook", "webhook_url": board, "webhook_secret": secret,
        "poll_interval_seconds": 5, "enabled": true,
    });
    let created = api.post("/admin/external-approval-systems", &system).await?;
    let id = &created["id"];
    let path = format!(
        "/admin/external-approval-systems/{}/test",
        id.as_str().unwrap_or_default()
    );
    let tested = api.post(&path, &Value::Null).await?;
    if tested["success"] != true {
        bail!(
            "created the system {SYSTEM}, which a test does not reach: {}",
            tested["message"]
        );
    }
    println!("created the system {SYSTEM}; a test reaches it");
    let policy = json!({
        "name": POLICY, "operation": "CREATE_VM", "environment": "all", "requires_approval": true,
        "external_system_id": id,
    });
    api.post("/admin/approval-policies", &policy).await?;
    println!("created the policy \"{POLICY}\"");
    Ok(())
}

/// The API, as the administrator.
struct Api {
    http: Client,
    base: String,
    token: String,
}

impl Api {
    /// Null sends no body, for what takes none.
    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let mut request = self.http.post(format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| path.to_owned())?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{path} was answered {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| text.clone())
    }
}
