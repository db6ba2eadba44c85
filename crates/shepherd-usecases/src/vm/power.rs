//! Somebody asks for a machine to be started, stopped or restarted.

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::VmId;
pub use shepherd_domain::vm::PowerAction;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;

use super::Submitted;
use super::request_operation::{self, RequestOperation};
use crate::execution::Operations;
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError};

/// Submits the request.
///
/// # Errors
/// FORBIDDEN, VM_NOT_FOUND, VALIDATION_FAILED, INVALID_STATE_TRANSITION, CLUSTER_UNHEALTHY, CLUSTER_REBUILDING,
/// CLUSTER_DEGRADED, DUPLICATE_PENDING_REQUEST.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    id: VmId,
    action: PowerAction,
    reason: Option<String>,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    caller.require(Permission::VmOperate)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let vm = super::visible(platform, caller, Permission::VmOperate, ResourceAction::Operate, id).await?;
    let command = RequestOperation::new(action.request_type(), reason);
    request_operation::execute(platform, operations, caller, &vm, command, request).await
}
