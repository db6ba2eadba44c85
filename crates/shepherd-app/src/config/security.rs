//! Sessions, passwords, logins, and the secrets of the installation.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use shepherd_domain::password::{PasswordMode, PasswordPolicy};

use super::Secret;

/// `session.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// From login to the end.
    #[serde(with = "humantime_serde")]
    pub lifetime: Duration,
    /// Without a request.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Per user.
    pub max_per_user: u32,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(24 * 3600),
            idle_timeout: Duration::from_secs(1800),
            max_per_user: 10,
        }
    }
}

/// `security.*`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityConfig {
    /// 32 bytes, base64; from the environment only, else from the database.
    pub encryption_key: Option<Secret>,
    /// At least 32 characters; from the environment only, else from the database.
    pub session_secret: Option<Secret>,
    /// Further secrets that verify session tokens, during a roll-over.
    pub jwt_verification_keys: Vec<Secret>,
    /// Limits of login failures.
    pub login: LoginConfig,
    /// What a new password must satisfy.
    pub password_policy: PasswordPolicyConfig,
    /// Networks that clusters may live in although they are loopback or link-local, and that webhooks may go to although
    /// they are not public; to them also without TLS. Link-local addresses stay closed to webhooks.
    pub outbound_allowlist: Vec<IpNet>,
    /// Whether clusters may be registered with `insecure-skip-tls-verify`.
    pub allow_insecure_clusters: bool,
}

/// `security.password_policy.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordPolicyConfig {
    /// `nist` or `legacy`; the four requirements below count in `legacy` only.
    pub mode: PasswordMode,
    /// Least characters, 8 to 128.
    pub min_length: usize,
    /// An upper-case letter.
    pub require_uppercase: bool,
    /// A lower-case letter.
    pub require_lowercase: bool,
    /// A digit.
    pub require_digit: bool,
    /// A character that is neither letter nor digit.
    pub require_special: bool,
}

impl Default for PasswordPolicyConfig {
    fn default() -> Self {
        let policy = PasswordPolicy::default();
        Self {
            mode: policy.mode,
            min_length: policy.min_length,
            require_uppercase: policy.require_uppercase,
            require_lowercase: policy.require_lowercase,
            require_digit: policy.require_digit,
            require_special: policy.require_special,
        }
    }
}

/// `security.login.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoginConfig {
    /// Per user name.
    pub max_failures_user: u32,
    /// Per address.
    pub max_failures_ip: u32,
    /// How long failures count.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self {
            max_failures_user: 5,
            max_failures_ip: 20,
            window: Duration::from_secs(900),
        }
    }
}
