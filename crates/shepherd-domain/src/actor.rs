//! Who did something: a user, or a component of the platform.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::UserId;

/// The text of an actor column: a user id, or `system:<component>`.
///
/// Actor columns carry no foreign key, so history survives the deletion of a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActorId(String);

impl ActorId {
    /// The actor of automatic decisions.
    pub const POLICY: &'static str = "system:policy";

    /// A user acting in person.
    pub fn user(id: UserId) -> Self {
        Self(id.to_string())
    }

    /// A component of the platform, for example `worker` or `seed`.
    pub fn system(component: &str) -> Self {
        Self(format!("system:{component}"))
    }

    /// An actor as it was stored.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The user behind the actor, or `None` for a component.
    pub fn as_user(&self) -> Option<UserId> {
        self.0.parse().ok()
    }

    /// The stored text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<UserId> for ActorId {
    fn from(id: UserId) -> Self {
        Self::user(id)
    }
}
