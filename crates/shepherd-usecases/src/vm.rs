//! Requests about virtual machines, and reading them.

pub mod dry_run;
pub(crate) mod filing;
pub mod power;
pub mod preview;
pub mod request;
pub(crate) mod request_console;
pub mod request_context;
pub mod request_deletion;
pub mod request_modification;
pub mod request_operation;
pub(crate) mod submission;
pub mod validate;

use serde::{Deserialize, Serialize};
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::{EventId, TicketId, VmId};
use shepherd_domain::problem::{ErrorCode, Problem, Warning};
use shepherd_ports::context::Caller;
use shepherd_ports::vms::VmRecord;

use crate::authorization::{self, Guarded};
use crate::{Platform, UseCaseError};

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// The work event, also the id of the task.
    pub event_id: EventId,
    /// Its ticket.
    pub ticket_id: TicketId,
    /// Whether it waits for an approver or is under way.
    pub status: SubmittedStatus,
    /// Findings that did not stop it.
    pub warnings: Vec<Warning>,
}

/// Where a submission stands when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SubmittedStatus {
    /// It waits for an approver.
    PendingApproval,
    /// It was approved by the policy and a job exists.
    Processing,
}

/// The machine, if the caller may do this to it.
///
/// # Errors
/// VM_NOT_FOUND, FORBIDDEN.
pub async fn visible(
    platform: &Platform,
    caller: &Caller,
    permission: Permission,
    action: ResourceAction,
    id: VmId,
) -> Result<VmRecord, UseCaseError> {
    caller.require(permission)?;
    let vm = platform
        .read
        .get_vm(id)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::VmNotFound, id))?;
    let object = Guarded {
        not_found: ErrorCode::VmNotFound,
        id: &id,
        read: Permission::VmRead,
    };
    authorization::require_vm(
        caller,
        permission,
        action,
        vm.system_id,
        vm.environment,
        &vm.created_by,
        object,
    )?;
    Ok(vm)
}
