//! The operations matrix: which requests wait for an approver, and who may not approve.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};

use crate::environment::Environment;
use crate::ticket::RequestType;

/// What happens to a request at submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It waits for an approver.
    RequiresApproval,
    /// It is approved in the submitting transaction.
    AutoApproved,
}

/// The default rule of the matrix for a request in an environment.
///
/// VNC_ACCESS in test is a direct grant and makes no ticket; as a ticket it always waits.
pub fn default_decision(request: RequestType, environment: Environment) -> Decision {
    use Decision::{AutoApproved, RequiresApproval};
    match request {
        RequestType::CreateVm
        | RequestType::ModifyVm
        | RequestType::DeleteVm
        | RequestType::VncAccess
        | RequestType::BatchCreate
        | RequestType::BatchDelete
        | RequestType::RestoreVm
        | RequestType::CloneVm => RequiresApproval,
        RequestType::StartVm
        | RequestType::StopVm
        | RequestType::RestartVm
        | RequestType::BatchPower
        | RequestType::SnapshotVm
        | RequestType::DeleteSnapshot
        | RequestType::MigrateVm => match environment {
            Environment::Test => AutoApproved,
            Environment::Prod => RequiresApproval,
        },
    }
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
