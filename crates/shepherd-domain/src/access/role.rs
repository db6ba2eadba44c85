//! Built-in roles, and the roles a person can have on a System.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// The role of a person on a System, weakest first.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
    IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum ResourceRole {
    /// Sees.
    Viewer,
    /// Creates Services, requests and operates machines, deletes own machines.
    Member,
    /// Edits, deletes and manages members up to admin.
    Admin,
    /// Everything, owners included.
    Owner,
}

/// What is done to an object of a System.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter)]
pub enum ResourceAction {
    /// See it.
    View,
    /// Create a Service, request a machine.
    Create,
    /// Power, modify, console, snapshot, migrate.
    Operate,
    /// Change System and Service texts.
    Update,
    /// Delete a System or Service; request deletion of a machine.
    Delete,
    /// Manage members up to admin.
    Members,
    /// Grant, change or remove owners.
    Owners,
}

impl ResourceAction {
    /// The weakest role that may always do it.
    pub fn least_role(self) -> ResourceRole {
        match self {
            Self::View => ResourceRole::Viewer,
            Self::Create | Self::Operate => ResourceRole::Member,
            Self::Update | Self::Delete | Self::Members => ResourceRole::Admin,
            Self::Owners => ResourceRole::Owner,
        }
    }
}

impl ResourceRole {
    /// Whether the role allows the action; a member may delete own machines.
    pub fn allows(self, action: ResourceAction, own: bool) -> bool {
        self >= action.least_role() || (self == Self::Member && action == ResourceAction::Delete && own)
    }
}

/// The roles every installation has. They are seeded when absent and never edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumString, EnumIter, IntoStaticStr)]
#[expect(missing_docs, reason = "the keys are the specification's and say it all")]
pub enum BuiltInRole {
    #[strum(serialize = "role-bootstrap")]
    Bootstrap,
    #[strum(serialize = "role-platform-admin")]
    PlatformAdmin,
    #[strum(serialize = "role-system-admin")]
    SystemAdmin,
    #[strum(serialize = "role-approver")]
    Approver,
    #[strum(serialize = "role-operator")]
    Operator,
    #[strum(serialize = "role-viewer")]
    Viewer,
}

impl BuiltInRole {
    /// The stable key.
    pub fn key(self) -> &'static str {
        self.into()
    }
}
