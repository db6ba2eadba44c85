//! Certificates and tokens of one cluster, and the kubeconfigs made from them.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use crate::access::{Accounts, User};
use crate::config::CertificateAge;
use crate::host;
use crate::server::SimulatorError;

/// Certificates and tokens. They are kept with the state, so that a kubeconfig survives a restart.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    ca_pem: String,
    certificate_pem: String,
    key_pem: String,
    admin_token: String,
    restricted_token: String,
    /// Users made while the cluster runs; they end with it.
    #[serde(skip)]
    accounts: Accounts,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// A new authority, a server certificate for this machine signed by it, and fresh tokens.
    pub fn generate(name: &str, age: CertificateAge) -> Result<Self, SimulatorError> {
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, format!("{name} simulator CA"));
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        match age {
            CertificateAge::Valid => {}
            CertificateAge::Expired => {
                server.not_before = date_time_ymd(2020, 1, 1);
                server.not_after = date_time_ymd(2021, 1, 1);
            }
            CertificateAge::NotYetValid => server.not_before = date_time_ymd(2090, 1, 1),
        }
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &authority)?;

        Ok(Self {
            ca_pem: authority.pem(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            admin_token: host::new_token(),
            restricted_token: host::new_token(),
            accounts: Accounts::default(),
        })
    }

    /// The user behind an `Authorization` header.
    pub fn authenticate(&self, authorization: &str) -> Option<User> {
        let (scheme, token) = authorization.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        match token.trim() {
            token if token == self.admin_token => Some(User::Admin),
            token if token == self.restricted_token => Some(User::Restricted),
            token => self.accounts.find(token).map(User::Limited),
        }
    }

    /// The users made while the cluster runs.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// TLS for the server.
    ///
    /// ALPN is left to actix, which offers HTTP/1.1, and HTTP/2 only with its `http2` feature. That feature must
    /// stay off: websocket upgrades need HTTP/1.1.
    pub fn tls(&self) -> Result<ServerConfig, SimulatorError> {
        let certificate = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        Ok(config)
    }

    /// The token of the administrator.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// The token of the user who may do nothing.
    pub fn restricted_token(&self) -> &str {
        &self.restricted_token
    }

    /// A kubeconfig with everything inline and one context, which is the current one.
    pub fn kubeconfig(&self, name: &str, address: SocketAddr, user: &str, token: &str) -> String {
        // JSON strings are YAML strings, whatever the cluster is called.
        let cluster = serde_json::Value::from(name);
        let context = serde_json::Value::from(format!("{name}-{user}"));
        let user = serde_json::Value::from(user);
        let ca = STANDARD.encode(&self.ca_pem);
        let url = url_of(address);
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: {cluster}\n  \
               cluster:\n    \
                 server: {url}\n    \
                 certificate-authority-data: {ca}\n\
             users:\n\
             - name: {user}\n  \
               user:\n    \
                 token: {token}\n\
             contexts:\n\
             - name: {context}\n  \
               context:\n    \
                 cluster: {cluster}\n    \
                 user: {user}\n\
             current-context: {context}\n"
        )
    }
}

/// The URL clients use; an unspecified address is reached through loopback.
pub(crate) fn url_of(address: SocketAddr) -> String {
    if address.ip().is_unspecified() || address.is_ipv6() {
        format!("https://localhost:{}", address.port())
    } else {
        format!("https://{address}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_their_user() {
        let credentials = Credentials::generate("test", CertificateAge::Valid).unwrap();
        let admin = format!("Bearer {}", credentials.admin_token);
        assert_eq!(credentials.authenticate(&admin), Some(User::Admin));
        assert_eq!(credentials.authenticate("Bearer nonsense"), None);
        assert_eq!(credentials.authenticate(""), None);
        assert!(credentials.tls().is_ok());
    }

    #[test]
    fn the_kubeconfig_is_indented_as_yaml_wants() {
        let credentials = Credentials::generate("demo", CertificateAge::Valid).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 6443));
        let text = credentials.kubeconfig("demo", address, "simulator-admin", credentials.admin_token());
        assert!(text.contains("\n- name: \"demo\"\n  cluster:\n    server: https://127.0.0.1:6443\n    certificate"));
        assert!(text.contains("\ncurrent-context: \"demo-simulator-admin\"\n"));
    }
}
