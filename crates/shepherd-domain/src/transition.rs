//! The shape every state machine shares.

use std::fmt;

/// A permitted move from one state to another. Only the state machines of this crate make one, so a repository
/// that takes a `Transition` cannot be asked for a move the tables do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition<S> {
    from: S,
    to: S,
}

impl<S: Copy> Transition<S> {
    pub(crate) const fn new(from: S, to: S) -> Self {
        Self { from, to }
    }

    /// The state the row must be in.
    pub const fn from(&self) -> S {
        self.from
    }

    /// The state the row will be in.
    pub const fn to(&self) -> S {
        self.to
    }
}

/// A move that the state machine forbids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} is not possible from {from}")]
pub struct InvalidTransition<S: fmt::Debug + fmt::Display + 'static> {
    /// The state the object was in.
    pub from: S,
    /// What was asked for.
    pub operation: &'static str,
    /// The states from which it would have been possible.
    pub allowed: &'static [S],
}

/// The move from one state to another, if it is allowed from there.
pub(crate) fn step<S>(
    from: S,
    operation: &'static str,
    allowed: &'static [S],
    to: S,
) -> Result<Transition<S>, InvalidTransition<S>>
where
    S: Copy + PartialEq + fmt::Debug + fmt::Display + 'static,
{
    if allowed.contains(&from) {
        Ok(Transition::new(from, to))
    } else {
        Err(InvalidTransition {
            from,
            operation,
            allowed,
        })
    }
}
