//! Which kubeconfigs are stored at all: those that reach one API server with inline credentials, and nothing else.
//!
//! A kubeconfig is reduced to its current context first; what other contexts, clusters and users hold is dropped
//! unread. What is left is refused when it runs programs, reads files, goes through others or points inside this
//! host. The answer to a refusal names the reason and nothing of the content.

mod address;
mod document;

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use shepherd_domain::{ErrorCode, Problem};
use shepherd_ports::clusters::{AcceptedKubeconfig, KubeconfigIntake};
use zeroize::Zeroizing;

use document::{Cluster, Document, Reduced, User};

/// Longest kubeconfig that is looked at, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Checks kubeconfigs before they are stored.
pub struct Intake {
    allow_insecure_clusters: bool,
    allowlist: RwLock<Vec<IpNet>>,
}

/// The `reason` of INVALID_KUBECONFIG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Syntax,
    NoCurrentContext,
    ExecPlugin,
    AuthProviderPlugin,
    FileReference,
    InsecureTls,
    InsecureUrl,
    BasicAuth,
    Proxy,
    Impersonation,
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::NoCurrentContext => "no_current_context",
            Self::ExecPlugin => "exec_plugin",
            Self::AuthProviderPlugin => "auth_provider_plugin",
            Self::FileReference => "file_reference",
            Self::InsecureTls => "insecure_tls",
            Self::InsecureUrl => "insecure_url",
            Self::BasicAuth => "basic_auth",
            Self::Proxy => "proxy",
            Self::Impersonation => "impersonation",
        }
    }
}

impl Intake {
    /// `allow_insecure_clusters` is the configuration's half of the permission to skip TLS verification; addresses of
    /// `allowlist` are accepted although they are loopback, link-local or the like.
    pub fn new(allow_insecure_clusters: bool, allowlist: Vec<IpNet>) -> Self {
        Self {
            allow_insecure_clusters,
            allowlist: RwLock::new(allowlist),
        }
    }

    /// Accepts the addresses of another list from now on.
    pub fn set_allowlist(&self, allowlist: Vec<IpNet>) {
        *self.allowlist.write().unwrap_or_else(PoisonError::into_inner) = allowlist;
    }

    fn reduce(&self, kubeconfig: &str, allow_insecure_tls: bool) -> Result<AcceptedKubeconfig, Refusal> {
        if kubeconfig.len() > MAX_BYTES {
            return Err(Refusal::Syntax);
        }
        let (cluster, user) = current(Document::parse(kubeconfig)?)?;
        check_user(&user)?;
        let insecure = self.check_cluster(&cluster, allow_insecure_tls)?;
        let server = {
            let allowlist = self.allowlist.read().unwrap_or_else(PoisonError::into_inner);
            address::check(cluster.server.as_deref().ok_or(Refusal::Syntax)?, &allowlist)?
        };
        let certificate_authority = cluster
            .certificate_authority_data
            .as_deref()
            .map(|data| pem(data, "CERTIFICATE-----"))
            .transpose()?;
        let client_certificate = user
            .client_certificate_data
            .as_deref()
            .map(|data| pem(data, "CERTIFICATE-----"))
            .transpose()?;
        let client_key = user
            .client_key_data
            .as_ref()
            .map(|data| pem(data.text(), "PRIVATE KEY-----"))
            .transpose()?;
        if client_certificate.is_some() != client_key.is_some() {
            return Err(Refusal::Syntax);
        }
        let reduced = Reduced {
            server: &server,
            certificate_authority_data: certificate_authority.as_ref().map(|data| data.as_str()),
            tls_server_name: cluster.tls_server_name.as_deref().map(header_safe).transpose()?,
            insecure_skip_tls_verify: insecure,
            token: user.token.as_ref().map(|token| header_safe(token.text())).transpose()?,
            client_certificate_data: client_certificate.as_ref().map(|data| data.as_str()),
            client_key_data: client_key.as_ref().map(|data| data.as_str()),
        }
        .to_yaml()?;
        Ok(AcceptedKubeconfig {
            reduced,
            api_server_url: server,
        })
    }

    /// Whether TLS verification is skipped, if the cluster passes.
    fn check_cluster(&self, cluster: &Cluster, allow_insecure_tls: bool) -> Result<bool, Refusal> {
        if cluster.certificate_authority.is_some() {
            return Err(Refusal::FileReference);
        }
        if cluster.proxy_url.is_some() {
            return Err(Refusal::Proxy);
        }
        let insecure = cluster.insecure_skip_tls_verify.unwrap_or(false);
        if insecure && !(allow_insecure_tls && self.allow_insecure_clusters) {
            return Err(Refusal::InsecureTls);
        }
        Ok(insecure)
    }
}

impl KubeconfigIntake for Intake {
    fn accept(&self, kubeconfig: &str, allow_insecure_tls: bool) -> Result<AcceptedKubeconfig, Problem> {
        self.reduce(kubeconfig, allow_insecure_tls)
            .map_err(|refusal| Problem::new(ErrorCode::InvalidKubeconfig).with("reason", refusal.reason()))
    }
}

/// Cluster and user of the current context. A context without a user is anonymous.
fn current(document: Document) -> Result<(Cluster, User), Refusal> {
    unique(document.contexts.iter().map(|entry| entry.name.as_str()))?;
    unique(document.clusters.iter().map(|entry| entry.name.as_str()))?;
    unique(document.users.iter().map(|entry| entry.name.as_str()))?;
    let wanted = document.current_context.ok_or(Refusal::NoCurrentContext)?;
    let context = document
        .contexts
        .into_iter()
        .find(|entry| entry.name == wanted)
        .and_then(|entry| entry.context)
        .ok_or(Refusal::NoCurrentContext)?;
    let cluster = document
        .clusters
        .into_iter()
        .find(|entry| Some(&entry.name) == context.cluster.as_ref())
        .and_then(|entry| entry.cluster);
    let user = match &context.user {
        Some(user) => document
            .users
            .into_iter()
            .find(|entry| entry.name == *user)
            .map(|entry| entry.user.unwrap_or_default())
            .ok_or(Refusal::Syntax)?,
        None => User::default(),
    };
    Ok((cluster.ok_or(Refusal::Syntax)?, user))
}

/// Two entries of one name mean different things to different readers.
fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Refusal::Syntax);
        }
    }
    Ok(())
}

fn check_user(user: &User) -> Result<(), Refusal> {
    if user.exec.is_some() {
        return Err(Refusal::ExecPlugin);
    }
    if user.auth_provider.is_some() {
        return Err(Refusal::AuthProviderPlugin);
    }
    if user.username.is_some() || user.password.is_some() {
        return Err(Refusal::BasicAuth);
    }
    if user.token_file.is_some() || user.client_certificate.is_some() || user.client_key.is_some() {
        return Err(Refusal::FileReference);
    }
    if user.impersonate.is_some() || user.as_uid.is_some() || user.as_groups.is_some() || user.as_user_extra.is_some() {
        return Err(Refusal::Impersonation);
    }
    Ok(())
}

/// Base64 of PEM with a block of this kind, in one line.
fn pem(data: &str, block: &str) -> Result<Zeroizing<String>, Refusal> {
    let compact = Zeroizing::new(data.split_ascii_whitespace().collect::<String>());
    let decoded = Zeroizing::new(STANDARD.decode(compact.as_bytes()).map_err(|_| Refusal::Syntax)?);
    let text = std::str::from_utf8(&decoded).map_err(|_| Refusal::Syntax)?;
    if text.contains("-----BEGIN ") && text.contains("-----END ") && text.contains(block) {
        Ok(compact)
    } else {
        Err(Refusal::Syntax)
    }
}

/// Text that can stand in a header or a TLS handshake.
fn header_safe(text: &str) -> Result<&str, Refusal> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err(Refusal::Syntax)
    }
}

#[cfg(test)]
mod tests;
