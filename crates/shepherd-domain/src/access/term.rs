//! How long a right is held.

use chrono::{DateTime, Utc};

/// Until when. A later end is greater, and no end is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    /// It ends by itself.
    Until(DateTime<Utc>),
    /// It stays until somebody takes it.
    Open,
}

impl Term {
    /// When it ends; `None` when it does not.
    pub fn end(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Until(end) => Some(end),
            Self::Open => None,
        }
    }
}

impl From<Option<DateTime<Utc>>> for Term {
    fn from(end: Option<DateTime<Utc>>) -> Self {
        end.map_or(Self::Open, Self::Until)
    }
}
