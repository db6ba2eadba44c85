//! Which requests wait for an approver: the operations matrix, the policies that change it per case, and who may not
//! approve (requests.md §1, §8, §9).

mod explain;
mod glob;
mod matchers;
mod matrix;
mod winner;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};

use crate::environment::Environment;
use crate::ids::{ExternalSystemId, PolicyId};
use crate::ticket::RequestType;

pub use explain::{Candidate, Explanation, explain};
pub use glob::{InvalidGlob, MAX_GLOB, NamespaceGlob};
pub use matchers::{MAX_LIST, MatcherName, Matchers, PolicyFacts};
pub use matrix::{Decision, default_decision};
pub use winner::{Rule, decide};

/// Most characters of a policy's name.
pub const MAX_NAME: usize = 63;
/// Most characters of a policy's description.
pub const MAX_DESCRIPTION: usize = 1024;
/// Highest priority; the lowest is its negative.
pub const MAX_PRIORITY: i32 = 1_000_000;

/// What a policy is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PolicyOperation {
    /// Every kind of request.
    Any,
    /// One kind of request.
    Of(RequestType),
}

/// Neither `ANY` nor a request type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ANY or a request type")]
pub struct UnknownOperation;

impl PolicyOperation {
    const ANY: &'static str = "ANY";

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => Self::ANY,
            Self::Of(request) => request.as_str(),
        }
    }

    /// Whether requests of this kind are meant.
    pub fn covers(self, request: RequestType) -> bool {
        match self {
            Self::Any => true,
            Self::Of(own) => own == request,
        }
    }
}

impl fmt::Display for PolicyOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PolicyOperation {
    type Err = UnknownOperation;

    fn from_str(text: &str) -> Result<Self, UnknownOperation> {
        if text == Self::ANY {
            return Ok(Self::Any);
        }
        text.parse().map(Self::Of).map_err(|_| UnknownOperation)
    }
}

impl TryFrom<String> for PolicyOperation {
    type Error = UnknownOperation;

    fn try_from(text: String) -> Result<Self, UnknownOperation> {
        text.parse()
    }
}

impl From<PolicyOperation> for String {
    fn from(operation: PolicyOperation) -> Self {
        operation.as_str().to_owned()
    }
}

/// Where a policy applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum PolicyEnvironment {
    /// In test.
    Test,
    /// In prod.
    Prod,
    /// In both.
    All,
}

impl PolicyEnvironment {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether it applies in this environment.
    pub fn covers(self, environment: Environment) -> bool {
        match self {
            Self::All => true,
            Self::Test => environment == Environment::Test,
            Self::Prod => environment == Environment::Prod,
        }
    }
}

/// A policy, as far as it decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its id; of equal policies the lowest wins.
    pub id: PolicyId,
    /// What it is about.
    pub operation: PolicyOperation,
    /// Where it applies.
    pub environment: PolicyEnvironment,
    /// Which requests it is for; all, without any.
    pub matchers: Matchers,
    /// Whether requests wait, or are approved by themselves.
    pub requires_approval: bool,
    /// User ids and role keys of those who may decide; empty for every holder of `approval:approve`.
    pub approvers: Vec<String>,
    /// The external system that is asked as well.
    pub external_system_id: Option<ExternalSystemId>,
    /// The highest wins.
    pub priority: i32,
    /// A disabled policy is no candidate.
    pub enabled: bool,
}

/// Why a policy cannot be saved, as the `reason` of POLICY_NOT_ALLOWED.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum NotAllowed {
    /// It would approve every kind of request.
    AutoApprovesAny,
    /// It would approve the deletion of many machines at once.
    AutoApprovesBatchDelete,
    /// It would approve in prod, and `approvals.allow_prod_auto_approval` is off.
    AutoApprovesProd,
    /// It would approve before the external system that it names is asked.
    AutoApprovesBeforeExternalSystem,
}

impl NotAllowed {
    /// The reason on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Whether a policy with this content may be saved.
///
/// # Errors
/// The first invariant of requests.md §1 and §9 that it breaks.
pub fn admit(
    operation: PolicyOperation,
    environment: PolicyEnvironment,
    requires_approval: bool,
    names_external_system: bool,
    allow_prod_auto_approval: bool,
) -> Result<(), NotAllowed> {
    if requires_approval {
        return Ok(());
    }
    if operation == PolicyOperation::Any {
        return Err(NotAllowed::AutoApprovesAny);
    }
    if operation == PolicyOperation::Of(RequestType::BatchDelete) {
        return Err(NotAllowed::AutoApprovesBatchDelete);
    }
    if environment.covers(Environment::Prod) && !allow_prod_auto_approval {
        return Err(NotAllowed::AutoApprovesProd);
    }
    if names_external_system {
        return Err(NotAllowed::AutoApprovesBeforeExternalSystem);
    }
    Ok(())
}

/// `approvals.self_approval`: whether a requester may decide the own request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SelfApproval {
    /// Never.
    Deny,
    /// Not in prod.
    #[default]
    DenyProd,
    /// Always.
    Allow,
}

impl SelfApproval {
    /// Whether a requester may decide the own request in this environment.
    pub fn permits(self, environment: Environment) -> bool {
        match self {
            Self::Deny => false,
            Self::DenyProd => environment == Environment::Test,
            Self::Allow => true,
        }
    }
}
