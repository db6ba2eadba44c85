//! Passwords, of users and of guests, and session tokens.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ids::{SessionId, UserId};
use zeroize::Zeroizing;

/// Hashes and verifies passwords, away from the threads that serve requests.
#[async_trait]
pub trait PasswordHasher: Send + Sync {
    /// A new hash with the current parameters.
    async fn hash(&self, password: Zeroizing<String>) -> Result<String, PasswordError>;
    /// Whether the password belongs to the hash. Without a hash the same work is done against a dummy one and the
    /// answer is `false`, so that the time taken tells nothing about the account.
    async fn verify(&self, password: Zeroizing<String>, hash: Option<String>) -> Result<bool, PasswordError>;
    /// Whether the hash was made with other parameters than the current ones.
    fn needs_rehash(&self, hash: &str) -> bool;
}

/// Hashes passwords the way guests keep them, away from the threads that serve requests.
#[async_trait]
pub trait GuestPasswordHasher: Send + Sync {
    /// A new salted hash as crypt(3) reads it: `$6$…`.
    async fn hash(&self, password: Zeroizing<String>) -> Result<String, PasswordError>;
}

/// The hashing itself failed; never that a password was wrong.
#[derive(Debug, thiserror::Error)]
#[error("password hashing failed: {0}")]
pub struct PasswordError(pub String);

/// What a session token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    /// The user.
    pub user: UserId,
    /// The session, also the token id.
    pub session: SessionId,
    /// When it was issued.
    pub issued_at: DateTime<Utc>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours.
    #[error("the token is invalid")]
    Invalid,
    /// It was, and has ended.
    #[error("the token has expired")]
    Expired,
}

/// Issues and verifies session tokens.
pub trait TokenIssuer: Send + Sync {
    /// Signs a token.
    ///
    /// # Errors
    /// When the key cannot sign.
    fn issue(&self, claims: TokenClaims) -> Result<String, TokenError>;
    /// Verifies signature, algorithm, issuer and times, with 30 s leeway against `now`.
    ///
    /// # Errors
    /// See [`TokenError`].
    fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<TokenClaims, TokenError>;
}
