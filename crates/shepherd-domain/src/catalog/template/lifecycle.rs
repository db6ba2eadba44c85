//! The life of a template version.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::transition::{InvalidTransition, Transition, step};

/// The life of a template version.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum TemplateStatus {
    /// Being written.
    Draft,
    /// Offered for new machines; one per name.
    Active,
    /// No new machines.
    Deprecated,
    /// Hidden everywhere except by id.
    Archived,
}

impl TemplateStatus {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Offered for new machines.
    pub fn publish(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "publish", &[Self::Draft], Self::Active)
    }

    /// No longer offered; also what happens to the active version when another one of its name is published.
    pub fn deprecate(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "deprecate", &[Self::Active], Self::Deprecated)
    }

    /// Put away. A draft is removed instead.
    pub fn archive(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "archive", &[Self::Active, Self::Deprecated], Self::Archived)
    }

    /// The row may be deleted: nothing can refer to a version that was never offered.
    pub fn is_removable(self) -> bool {
        self.content_is_editable()
    }

    /// The spec and the field lists may be changed in place; of any other version a change makes a new one.
    pub fn content_is_editable(self) -> bool {
        match self {
            Self::Draft => true,
            Self::Active | Self::Deprecated | Self::Archived => false,
        }
    }

    /// The texts that people read may be changed in place.
    pub fn texts_are_editable(self) -> bool {
        match self {
            Self::Draft | Self::Active | Self::Deprecated => true,
            Self::Archived => false,
        }
    }
}
