//! The shape of a kubeconfig as far as it is looked at, and of the one that is stored.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use super::Refusal;

/// Bounds of parsing: generous for a kubeconfig of many contexts, far below what would hurt.
const MAX_EVENTS: usize = 100_000;
const MAX_DEPTH: usize = 32;
const MAX_ANCHORS: usize = 100;

/// A kubeconfig.
#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Document {
    #[serde(deserialize_with = "filled")]
    pub current_context: Option<String>,
    #[serde(deserialize_with = "list")]
    pub contexts: Vec<NamedContext>,
    #[serde(deserialize_with = "list")]
    pub clusters: Vec<NamedCluster>,
    #[serde(deserialize_with = "list")]
    pub users: Vec<NamedUser>,
}

/// An entry of `contexts`.
#[derive(Deserialize)]
pub(super) struct NamedContext {
    pub name: String,
    #[serde(default)]
    pub context: Option<Context>,
}

/// A context.
#[derive(Deserialize)]
pub(super) struct Context {
    #[serde(default, deserialize_with = "filled")]
    pub cluster: Option<String>,
    #[serde(default, deserialize_with = "filled")]
    pub user: Option<String>,
}

/// An entry of `clusters`.
#[derive(Deserialize)]
pub(super) struct NamedCluster {
    pub name: String,
    #[serde(default)]
    pub cluster: Option<Cluster>,
}

/// A cluster.
#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Cluster {
    #[serde(deserialize_with = "filled")]
    pub server: Option<String>,
    #[serde(deserialize_with = "filled")]
    pub certificate_authority: Option<String>,
    #[serde(deserialize_with = "filled")]
    pub certificate_authority_data: Option<String>,
    #[serde(deserialize_with = "filled")]
    pub tls_server_name: Option<String>,
    pub insecure_skip_tls_verify: Option<bool>,
    #[serde(deserialize_with = "filled")]
    pub proxy_url: Option<String>,
}

/// An entry of `users`.
#[derive(Deserialize)]
pub(super) struct NamedUser {
    pub name: String,
    #[serde(default)]
    pub user: Option<User>,
}

/// A user.
#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct User {
    pub exec: Option<IgnoredAny>,
    pub auth_provider: Option<IgnoredAny>,
    #[serde(deserialize_with = "filled")]
    pub username: Option<String>,
    #[serde(deserialize_with = "secret")]
    pub password: Option<Secret>,
    #[serde(deserialize_with = "secret")]
    pub token: Option<Secret>,
    #[serde(rename = "tokenFile", deserialize_with = "filled")]
    pub token_file: Option<String>,
    #[serde(deserialize_with = "filled")]
    pub client_certificate: Option<String>,
    #[serde(deserialize_with = "filled")]
    pub client_certificate_data: Option<String>,
    #[serde(deserialize_with = "filled")]
    pub client_key: Option<String>,
    #[serde(deserialize_with = "secret")]
    pub client_key_data: Option<Secret>,
    #[serde(rename = "as", deserialize_with = "filled")]
    pub impersonate: Option<String>,
    pub as_uid: Option<IgnoredAny>,
    pub as_groups: Option<IgnoredAny>,
    pub as_user_extra: Option<IgnoredAny>,
}

/// A value that is wiped from memory.
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    /// The value.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl Document {
    /// Parses YAML within bounds. Two equal keys in one mapping are an error.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_events: MAX_EVENTS,
                max_nodes: MAX_EVENTS,
                max_depth: MAX_DEPTH,
                max_anchors: MAX_ANCHORS,
                max_aliases: MAX_ANCHORS,
            },
            with_snippet: false,
        };
        // The parser's own words may quote the document.
        serde_saphyr::from_str_with_options(text, options).map_err(|_| Refusal::Syntax)
    }
}

/// A string; absent, null and empty are the same.
fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// A secret; absent, null and empty are the same.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(filled(deserializer)?.map(|text| Secret(Zeroizing::new(text))))
}

/// A list; absent and null are empty.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

/// What is kept of an accepted kubeconfig.
pub(super) struct Reduced<'a> {
    pub server: &'a str,
    pub certificate_authority_data: Option<&'a str>,
    pub tls_server_name: Option<&'a str>,
    pub insecure_skip_tls_verify: bool,
    pub token: Option<&'a str>,
    pub client_certificate_data: Option<&'a str>,
    pub client_key_data: Option<&'a str>,
}

// Names are made up anew: the original ones mean nothing to anybody but their author.
const NAME: &str = "cluster";

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Stored<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    current_context: &'static str,
    contexts: [StoredContext; 1],
    clusters: [StoredCluster<'a>; 1],
    users: [StoredUser<'a>; 1],
}

#[derive(Serialize)]
struct StoredContext {
    name: &'static str,
    context: StoredReferences,
}

#[derive(Serialize)]
struct StoredReferences {
    cluster: &'static str,
    user: &'static str,
}

#[derive(Serialize)]
struct StoredCluster<'a> {
    name: &'static str,
    cluster: StoredServer<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct StoredServer<'a> {
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority_data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_server_name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure_skip_tls_verify: bool,
}

#[derive(Serialize)]
struct StoredUser<'a> {
    name: &'static str,
    user: StoredCredentials<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct StoredCredentials<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate_data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key_data: Option<&'a str>,
}

impl Reduced<'_> {
    /// The kubeconfig that is stored. Every string is quoted, so that no reader takes one for something else.
    pub(super) fn to_yaml(&self) -> Result<Zeroizing<String>, Refusal> {
        let stored = Stored {
            api_version: "v1",
            kind: "Config",
            current_context: NAME,
            contexts: [StoredContext {
                name: NAME,
                context: StoredReferences {
                    cluster: NAME,
                    user: NAME,
                },
            }],
            clusters: [StoredCluster {
                name: NAME,
                cluster: StoredServer {
                    server: self.server,
                    certificate_authority_data: self.certificate_authority_data,
                    tls_server_name: self.tls_server_name,
                    insecure_skip_tls_verify: self.insecure_skip_tls_verify,
                },
            }],
            users: [StoredUser {
                name: NAME,
                user: StoredCredentials {
                    token: self.token,
                    client_certificate_data: self.client_certificate_data,
                    client_key_data: self.client_key_data,
                },
            }],
        };
        let options = serde_saphyr::ser_options! { quote_all: true };
        serde_saphyr::to_string_with_options(&stored, options)
            .map(Zeroizing::new)
            .map_err(|_| Refusal::Syntax)
    }
}
