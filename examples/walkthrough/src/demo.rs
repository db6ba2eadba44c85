//! What a demo says about itself: its address, and the passwords of its users.

use std::path::Path;

use serde::Deserialize;

/// A running demo.
#[derive(Deserialize)]
pub(crate) struct Demo {
    pub(crate) url: String,
    pub(crate) users: Users,
}

/// The people of a demo.
#[derive(Deserialize)]
pub(crate) struct Users {
    /// Administers everything.
    pub(crate) admin: User,
    /// Decides requests.
    pub(crate) approver: User,
    /// Asks for machines.
    pub(crate) requester: User,
}

/// How somebody logs in.
#[derive(Deserialize)]
pub(crate) struct User {
    pub(crate) username: String,
    pub(crate) password: String,
}

impl Demo {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?)
    }
}
