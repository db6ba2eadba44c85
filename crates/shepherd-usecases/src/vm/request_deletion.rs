//! Somebody asks for the deletion of a machine.

use async_trait::async_trait;
use serde_json::{Value, json};
use shepherd_domain::Environment;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::AggregateType;
use shepherd_domain::ids::{TicketId, VmId};
use shepherd_domain::problem::Problem;
use shepherd_domain::spec::DeletePayload;
use shepherd_domain::ticket::RequestType;
use shepherd_ports::context::Caller;
use shepherd_ports::vms::VmRecord;

use super::filing::{Described, Filing, Request};
use super::{Submitted, submission};
use crate::approval::approve::Choice;
use crate::confirmation::{self, Confirmation, Target};
use crate::execution::Operations;
use crate::{Platform, UseCaseError, policy};

/// Submits the request.
///
/// # Errors
/// VM_NOT_FOUND, FORBIDDEN, CONFIRMATION_*, INVALID_STATE_TRANSITION, DUPLICATE_PENDING_REQUEST.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    id: VmId,
    given: &Confirmation,
    reason: Option<String>,
) -> Result<Submitted, UseCaseError> {
    let vm = super::visible(platform, caller, Permission::VmDelete, ResourceAction::Delete, id).await?;
    let reason = submission::optional_reason(reason)?;
    let id_text = id.to_string();
    let by_name = vm.environment == Environment::Prod;
    let target = Target {
        entity: "vm",
        id: &id_text,
        name: &vm.name,
        environment: Some(vm.environment),
        by_name,
    };
    confirmation::check(platform, caller, given, target).await?;
    vm.status
        .delete(vm.ticket_failed)
        .map_err(|error| UseCaseError::invalid_transition("vm", &error))?;
    let payload = DeletePayload {
        schema: 1,
        vm_id: vm.id,
        vm_name: vm.name.clone(),
        namespace: vm.namespace.clone(),
        requester: caller.subject.user(),
        reason,
    };
    let facts = policy::facts::of_machine(platform, RequestType::DeleteVm, caller.subject.user(), &vm).await?;
    let rule = policy::rule(platform, &facts).await?;
    let submission = Submission {
        platform,
        caller,
        vm: &vm,
        payload,
    };
    let filing = Filing {
        platform,
        operation: operations.of_request(RequestType::DeleteVm)?,
        caller,
        asked: &submission,
        rule,
        warnings: Vec::new(),
    };
    let answer = filing.place_and_submit(Some(Choice::default()), None).await?;
    Ok(answer.outcome)
}

/// A request that passed its checks.
struct Submission<'a> {
    platform: &'a Platform,
    caller: &'a Caller,
    vm: &'a VmRecord,
    payload: DeletePayload,
}

#[async_trait]
impl Request for Submission<'_> {
    fn payload(&self) -> Result<Value, UseCaseError> {
        submission::stored_payload(&self.payload)
    }

    fn aggregate(&self) -> (AggregateType, String) {
        (AggregateType::Vm, self.vm.id.to_string())
    }

    fn described(&self) -> Described {
        let vm = self.vm;
        Described {
            environment: vm.environment,
            reason: self.payload.reason.clone(),
            system_id: vm.system_id,
            service_id: vm.service_id,
            vm_id: Some(vm.id),
            template_id: None,
            instance_size_id: None,
            namespace: vm.namespace.clone(),
            context: submission::context_of(self.caller, vm),
        }
    }

    fn audit(&self, number: &str, _ticket: TicketId) -> AuditEntry {
        AuditEntry::new(AuditAction::VmDeleteSubmitted, "vm", self.vm.id)
            .named(&self.vm.name)
            .details(json!({"ticket_number": number}))
    }

    fn message(&self) -> String {
        format!("{} asks for the deletion of {}.", self.caller.username, self.vm.name)
    }

    async fn duplicate(&self) -> Result<Problem, UseCaseError> {
        submission::duplicate_operation(self.platform, self.vm, RequestType::DeleteVm).await
    }
}
