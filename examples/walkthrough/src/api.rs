//! The HTTP API: sessions, requests, and the errors it answers with.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::demo::User;

/// How long anything may take that the platform does by itself.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);

/// Somebody who is logged in.
pub(crate) struct Session {
    http: Client,
    base: String,
    token: String,
}

/// An error of the API: a code that never changes, and its parameters.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    #[serde(default)]
    params: Value,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.params)
    }
}

impl std::error::Error for Refusal {}

impl Session {
    /// Logs in. A session is a bearer token that is sent with every request.
    pub(crate) async fn log_in(url: &str, user: &User) -> anyhow::Result<Self> {
        let mut session = Self {
            http: client()?,
            base: format!("{url}/api/v1"),
            token: String::new(),
        };
        let who = json!({"username": user.username, "password": user.password});
        let answer = session.post("/auth/login", who).await?;
        session.token = text(&answer, "token")?;
        Ok(session)
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None, None).await
    }

    /// Null sends no body, for what takes none.
    pub(crate) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let body = Some(body).filter(|body| !body.is_null());
        self.send(Method::POST, path, body, None).await
    }

    /// A request that may be sent again, for example after a time-out: with the same key it is carried out once.
    pub(crate) async fn post_once(&self, path: &str, key: &str, body: Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, Some(body), Some(key)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::DELETE, path, None, None).await
    }

    /// Asks until the answer is what is waited for. Polling is the contract of the API; nothing is missed by it.
    pub(crate) async fn wait_for(
        &self,
        path: &str,
        what: &str,
        mut is_it: impl FnMut(&Value) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).await?;
            if is_it(&answer)? {
                return Ok(answer);
            }
            if Instant::now() > deadline {
                bail!("waited in vain until {what}: {answer}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>, key: Option<&str>) -> anyhow::Result<Value> {
        let name = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| name.clone())?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| name.clone())?;
        read(status, &text).with_context(|| format!("{name} was answered {status}"))
    }
}

/// The body of a success; null when there is none.
fn read(status: StatusCode, text: &str) -> anyhow::Result<Value> {
    if !status.is_success() {
        let refusal: Refusal = serde_json::from_str(text).with_context(|| text.to_owned())?;
        return Err(refusal.into());
    }
    match text {
        "" => Ok(Value::Null),
        text => serde_json::from_str(text).context("the answer is no JSON"),
    }
}

/// A client for plain HTTP on this machine: no proxy, and no certificate authorities, which a bare machine may not have.
fn client() -> anyhow::Result<Client> {
    // It still wants to know whose cryptography it would use; a second call finds the first one's choice.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().tls_certs_only([]);
    client
        .timeout(Duration::from_secs(30))
        .build()
        .context("make an HTTP client")
}

/// A field that is always there.
pub(crate) fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    let found = answer[field].as_str();
    let found = found.with_context(|| format!("the answer has no {field}: {answer}"))?;
    Ok(found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_known_by_its_code() {
        let body = r#"{"code": "VM_NOT_FOUND", "params": {"id": "x"}}"#;
        let error = read(StatusCode::NOT_FOUND, body).unwrap_err();
        assert_eq!(error.to_string(), r#"VM_NOT_FOUND {"id":"x"}"#);
        assert_eq!(error.downcast_ref::<Refusal>().unwrap().code, "VM_NOT_FOUND");
    }

    #[test]
    fn an_answer_may_be_empty() {
        assert_eq!(read(StatusCode::NO_CONTENT, "").unwrap(), Value::Null);
        assert!(read(StatusCode::OK, "<html>").is_err());
    }
}
