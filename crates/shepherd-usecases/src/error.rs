//! How a use case fails.

use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::transition::InvalidTransition;
use shepherd_ports::RepositoryError;
use shepherd_ports::authentication::{PasswordError, TokenError};
use shepherd_ports::crypto::CipherError;

/// Either something the caller may know, or something only the log may.
#[derive(Debug, thiserror::Error)]
pub enum UseCaseError {
    /// For the caller.
    #[error("{0}")]
    Problem(#[from] Problem),
    /// The store failed.
    #[error("the store failed")]
    Repository(#[from] RepositoryError),
    /// A secret could not be sealed or opened.
    #[error("sealing failed")]
    Cipher(#[from] CipherError),
    /// A password could not be hashed.
    #[error("hashing failed")]
    Password(#[from] PasswordError),
    /// A token could not be signed.
    #[error("signing failed")]
    Token(#[from] TokenError),
    /// A stored value does not have the shape that was written.
    #[error("a stored {what} is damaged")]
    Stored {
        /// What it is.
        what: &'static str,
        /// How it is damaged.
        #[source]
        source: serde_json::Error,
    },
    /// A rule of ours was broken by ourselves.
    #[error("{0}")]
    Broken(&'static str),
}

impl UseCaseError {
    /// Whether it is a defect of ours or of a row, and so the same the next time.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Stored { .. } | Self::Broken(_) | Self::Repository(RepositoryError::Other(_))
        )
    }

    /// INVALID_STATE_TRANSITION for an entity.
    pub fn invalid_transition<S>(entity: &str, error: &InvalidTransition<S>) -> Self
    where
        S: std::fmt::Debug + std::fmt::Display + 'static,
    {
        let allowed: Vec<String> = error.allowed.iter().map(ToString::to_string).collect();
        Problem::new(ErrorCode::InvalidStateTransition)
            .with("entity", entity)
            .with("current_status", error.from.to_string())
            .with("operation", error.operation)
            .with("allowed", allowed)
            .into()
    }
}
