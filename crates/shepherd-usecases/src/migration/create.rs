//! Somebody asks for a machine to move to another node.

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::VmId;
use shepherd_domain::spec::MigrationTarget;
use shepherd_domain::ticket::RequestType;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;

use crate::execution::Operations;
use crate::idempotency::{self, Answer};
use crate::vm::request_operation::{self, RequestOperation};
use crate::vm::{self, Submitted};
use crate::{Platform, UseCaseError};

/// Submits the request.
///
/// # Errors
/// FORBIDDEN, VM_NOT_FOUND, VALIDATION_FAILED, CAPABILITY_NOT_SUPPORTED (also of a machine that cannot move),
/// INVALID_STATE_TRANSITION, CLUSTER_UNHEALTHY, CLUSTER_REBUILDING, CLUSTER_DEGRADED, CLUSTER_UNREACHABLE,
/// DUPLICATE_PENDING_REQUEST.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    id: VmId,
    reason: Option<String>,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    caller.require(Permission::VmMigrate)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let vm = vm::visible(platform, caller, Permission::VmMigrate, ResourceAction::Operate, id).await?;
    let target = MigrationTarget { id: platform.ids.id() };
    let command = RequestOperation {
        migration: Some(target),
        ..RequestOperation::new(RequestType::MigrateVm, reason)
    };
    request_operation::execute(platform, operations, caller, &vm, command, request).await
}
