//! A request for the console of a machine that makes a ticket.

use async_trait::async_trait;
use serde_json::{Value, json};
use shepherd_domain::audit::AuditEntry;
use shepherd_domain::event::AggregateType;
use shepherd_domain::ids::TicketId;
use shepherd_domain::policy::Rule;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::spec::OperationPayload;
use shepherd_domain::ticket::{RequestType, TicketStatus};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::vms::VmRecord;

use super::Submitted;
use super::filing::{Described, Filing, Request};
use super::submission;
use crate::console::access_operation;
use crate::console::grants::require_registered;
use crate::execution::{Operation, Operations};
use crate::idempotency::Answer;
use crate::{Platform, UseCaseError};

/// Files the request under a rule. What the rule approves leaves its grant in the same transaction.
///
/// # Errors
/// DUPLICATE_PENDING_VNC_REQUEST, also when the caller has access by now; NAMESPACE_NOT_REGISTERED.
pub(crate) async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    vm: &VmRecord,
    rule: Rule,
    reason: Option<String>,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    let operation = operations.of_request(RequestType::VncAccess)?;
    let payload = OperationPayload {
        schema: 1,
        vm_id: vm.id,
        vm_name: vm.name.clone(),
        namespace: vm.namespace.clone(),
        requester: caller.subject.user(),
        reason,
        snapshot: None,
        clone: None,
        migration: None,
    };
    let placed = access_operation::placed(vm, payload.clone());
    let submission = Submission {
        platform,
        operation,
        caller,
        vm,
        payload,
    };
    let filing = Filing {
        platform,
        operation,
        caller,
        asked: &submission,
        rule,
        warnings: Vec::new(),
    };
    filing.submit(Some(&placed), request).await
}

/// A request that passed its checks.
struct Submission<'a> {
    platform: &'a Platform,
    operation: &'a dyn Operation,
    caller: &'a Caller,
    vm: &'a VmRecord,
    payload: OperationPayload,
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

    /// Whoever has access by now asks for nothing. Of several requests at the same time, one finds out first.
    async fn hold(&self, uow: &mut dyn UnitOfWork) -> Result<(), UseCaseError> {
        let (vm, user) = (self.vm.id, self.caller.subject.user());
        uow.consoles().hold(vm, user).await?;
        let live = uow.consoles().live(vm, user, self.platform.now()).await?;
        if live.is_some() {
            return Err(refused(self.vm, None).into());
        }
        require_registered(uow, self.vm).await
    }

    fn audit(&self, number: &str, _ticket: TicketId) -> AuditEntry {
        AuditEntry::new(self.operation.submission_audit(), "vm", self.vm.id)
            .named(&self.vm.name)
            .details(json!({"ticket_number": number}))
    }

    fn message(&self) -> String {
        format!("{} asks for the console of {}.", self.caller.username, self.vm.name)
    }

    fn guard(&self) -> &'static str {
        "uq_ticket_pending_vnc"
    }

    async fn duplicate(&self) -> Result<Problem, UseCaseError> {
        let user = self.caller.subject.user();
        let now = self.platform.now();
        let standing = self.platform.read.console_standing(self.vm.id, user, now).await?;
        let pending = standing
            .asked
            .filter(|asked| asked.status == TicketStatus::PendingApproval);
        Ok(refused(self.vm, pending.map(|asked| asked.ticket_id)))
    }

    /// The machine is on its way out, and nobody should have to decide about it.
    fn waits_instead(&self) -> bool {
        false
    }
}

/// DUPLICATE_PENDING_VNC_REQUEST, naming the ticket in the way unless it was settled in the meantime.
fn refused(vm: &VmRecord, existing: Option<TicketId>) -> Problem {
    let problem = Problem::new(ErrorCode::DuplicatePendingVncRequest).with("vm_id", vm.id.to_string());
    match existing {
        Some(ticket) => problem.with("existing_ticket_id", ticket.to_string()),
        None => problem,
    }
}
