//! The operations matrix of requests.md §1: what holds where no policy says otherwise.

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

impl Decision {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequiresApproval => "REQUIRES_APPROVAL",
            Self::AutoApproved => "AUTO_APPROVED",
        }
    }
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
