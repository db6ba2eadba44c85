//! Somebody asks for the deletion of a snapshot.

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::SnapshotId;
use shepherd_domain::ticket::RequestType;
use shepherd_ports::context::Caller;

use crate::confirmation::{self, Confirmation, Target};
use crate::execution::Operations;
use crate::vm::Submitted;
use crate::vm::request_operation::{self, RequestOperation};
use crate::{Platform, UseCaseError};

/// Submits the request.
///
/// # Errors
/// FORBIDDEN, SNAPSHOT_NOT_FOUND, CONFIRMATION_*, CAPABILITY_NOT_SUPPORTED, INVALID_STATE_TRANSITION,
/// DUPLICATE_PENDING_REQUEST.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    id: SnapshotId,
    given: &Confirmation,
) -> Result<Submitted, UseCaseError> {
    let (snapshot, vm) = super::visible(platform, caller, Permission::VmSnapshot, ResourceAction::Operate, id).await?;
    let id_text = id.to_string();
    let target = Target {
        entity: "snapshot",
        id: &id_text,
        name: &snapshot.name,
        environment: Some(vm.environment),
        by_name: false,
    };
    confirmation::check(platform, caller, given, target).await?;
    let command = RequestOperation {
        snapshot: Some(super::target(&snapshot)),
        ..RequestOperation::new(RequestType::DeleteSnapshot, None)
    };
    let answer = request_operation::execute(platform, operations, caller, &vm, command, None).await?;
    Ok(answer.outcome)
}
