//! Somebody asks for a machine to become what a snapshot holds.

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::SnapshotId;
use shepherd_domain::ticket::RequestType;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;

use crate::execution::Operations;
use crate::idempotency::{self, Answer};
use crate::vm::Submitted;
use crate::vm::request_operation::{self, RequestOperation};
use crate::{Platform, UseCaseError};

/// Submits the request. The machine must be stopped.
///
/// # Errors
/// FORBIDDEN, SNAPSHOT_NOT_FOUND, VALIDATION_FAILED, CAPABILITY_NOT_SUPPORTED, INVALID_STATE_TRANSITION (also of a
/// snapshot that is not ready), CLUSTER_UNHEALTHY, CLUSTER_REBUILDING, CLUSTER_DEGRADED, DUPLICATE_PENDING_REQUEST.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    id: SnapshotId,
    reason: Option<String>,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    caller.require(Permission::VmSnapshot)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let (snapshot, vm) = super::visible(platform, caller, Permission::VmSnapshot, ResourceAction::Operate, id).await?;
    let command = RequestOperation {
        snapshot: Some(super::target(&snapshot)),
        ..RequestOperation::new(RequestType::RestoreVm, reason)
    };
    request_operation::execute(platform, operations, caller, &vm, command, request).await
}
