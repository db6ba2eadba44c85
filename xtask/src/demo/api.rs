//! A small client of the HTTP API, for filling a demo the way an administrator would.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

/// A session with the API, or the way to one.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: Client,
    base: String,
    token: Option<String>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    request: String,
}

impl Reply {
    /// The body of a success.
    pub(crate) fn success(self) -> anyhow::Result<Value> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        bail!("{} was answered {}: {}", self.request, self.status, self.body)
    }

    /// Whether what should be created is there already.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status == StatusCode::CONFLICT
    }
}

impl Api {
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        // The API is plain HTTP on this machine: no proxy, and no certificates, which a bare machine may not have. The
        // client still wants to know whose cryptography it would use. A second call finds the first one's choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(Duration::from_secs(30))
            .build()
            .context("make an HTTP client")?;
        Ok(Self {
            http,
            base: format!("{url}/api/v1"),
            token: None,
        })
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/health/ready", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// A session of the given user; `None` when the password is not theirs.
    pub(crate) async fn log_in(&self, username: &str, password: &str) -> anyhow::Result<Option<Self>> {
        let reply = self
            .post("/auth/login", json!({"username": username, "password": password}))
            .await?;
        if reply.status == StatusCode::UNAUTHORIZED {
            return Ok(None);
        }
        let session = reply.success()?;
        let token = session["token"].as_str().context("a login answers with a token")?;
        Ok(Some(Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }))
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None).await?.success()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Reply> {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Reply> {
        let name = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| format!("send {name}"))?;
        let status = answer.status();
        let text = answer
            .text()
            .await
            .with_context(|| format!("read the answer to {name}"))?;
        Ok(Reply {
            status,
            // Not every answer has a body, and what a broken server says is worth showing too.
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
            request: name,
        })
    }
}
