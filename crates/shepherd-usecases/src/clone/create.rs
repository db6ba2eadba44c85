//! Somebody asks for a copy of a machine. Its name is generated; namespace and cluster are those of its source.

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::{ServiceId, VmId};
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_domain::spec::CloneTarget;
use shepherd_domain::ticket::RequestType;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::tickets::ServiceFacts;
use shepherd_ports::vms::VmRecord;

use crate::authorization::{self, Guarded};
use crate::execution::Operations;
use crate::idempotency::{self, Answer};
use crate::vm::request_operation::{self, RequestOperation};
use crate::vm::{self, Submitted};
use crate::{Platform, UseCaseError};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CloneMachine {
    /// Service of the copy; absent takes the source's.
    pub service: Option<ServiceId>,
    /// Whether the copy is started.
    pub start: bool,
    /// Why, 1 to 1024 characters.
    pub reason: String,
}

/// Submits the request.
///
/// # Errors
/// FORBIDDEN, VM_NOT_FOUND, SERVICE_NOT_FOUND, VALIDATION_FAILED, NAMESPACE_ENV_FORBIDDEN, CAPABILITY_NOT_SUPPORTED,
/// INVALID_STATE_TRANSITION, CLUSTER_UNHEALTHY, CLUSTER_REBUILDING, CLUSTER_DEGRADED, NAMESPACE_NOT_REGISTERED,
/// NAMESPACE_DISABLED.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    source: VmId,
    command: CloneMachine,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    caller.require(Permission::VmCreate)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let vm = vm::visible(platform, caller, Permission::VmCreate, ResourceAction::Create, source).await?;
    let service = service_of(platform, caller, &vm, command.service).await?;
    if command.reason.trim().is_empty() {
        return Err(Problem::invalid_field("reason", FieldCode::Required).into());
    }
    let target = CloneTarget {
        id: platform.ids.id(),
        vm_id: platform.ids.id(),
        service_id: service.id,
        start: command.start,
    };
    let command = RequestOperation {
        clone: Some((target, service)),
        ..RequestOperation::new(RequestType::CloneVm, Some(command.reason))
    };
    request_operation::execute(platform, operations, caller, &vm, command, request).await
}

/// The Service of the copy, in whose System the caller may create machines of this environment.
async fn service_of(
    platform: &Platform,
    caller: &Caller,
    vm: &VmRecord,
    wanted: Option<ServiceId>,
) -> Result<ServiceFacts, UseCaseError> {
    let id = wanted.unwrap_or(vm.service_id);
    let facts = platform.read.clone_facts(id, &vm.namespace).await?;
    let service = facts
        .service
        .ok_or_else(|| Problem::not_found(ErrorCode::ServiceNotFound, id))?;
    let object = Guarded {
        not_found: ErrorCode::ServiceNotFound,
        id: &id,
        read: Permission::ServiceRead,
    };
    if wanted.is_some() {
        authorization::require(
            caller,
            Permission::VmCreate,
            ResourceAction::Create,
            service.system_id,
            object,
        )?;
        if !caller
            .subject
            .holds(Permission::VmCreate, Some(service.system_id), Some(vm.environment))
        {
            return Err(Problem::new(ErrorCode::NamespaceEnvForbidden)
                .with("namespace", vm.namespace.as_str())
                .with("environment", vm.environment.as_str())
                .into());
        }
    }
    Ok(service)
}
