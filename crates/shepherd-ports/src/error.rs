//! What can go wrong with the store.

use std::error::Error;

type Source = Box<dyn Error + Send + Sync>;

/// An error of a repository or query.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A unique index refused the row; the caller knows which rule the constraint carries out.
    #[error("unique constraint {constraint} refused the row")]
    Unique {
        /// Name of the constraint.
        constraint: String,
    },
    /// A foreign key refused the change.
    #[error("foreign key {constraint} refused the change")]
    ForeignKey {
        /// Name of the constraint.
        constraint: String,
    },
    /// A lock, a serialization failure or the pool made the caller wait too long; trying again may help.
    #[error("the database is busy")]
    Busy(#[source] Source),
    /// The database cannot be reached.
    #[error("the database is unavailable")]
    Unavailable(#[source] Source),
    /// Anything else.
    #[error("the database refused the statement")]
    Other(#[source] Source),
}

impl RepositoryError {
    /// Whether this foreign key refused the change.
    pub fn is_foreign_key(&self, name: &str) -> bool {
        matches!(self, Self::ForeignKey { constraint } if constraint == name)
    }

    /// Whether this unique constraint refused the row.
    pub fn is_unique(&self, name: &str) -> bool {
        matches!(self, Self::Unique { constraint } if constraint == name)
    }
}
