//! Somebody asks for something to be done to an existing machine: the one way for all such requests.
//!
//! What its rule leaves to an approver waits; what the rule approves is approved, effects and job included, in the
//! transaction of the submission (requests.md §3).

use async_trait::async_trait;
use serde_json::{Value, json};
use shepherd_domain::audit::AuditEntry;
use shepherd_domain::event::AggregateType;
use shepherd_domain::ids::TicketId;
use shepherd_domain::policy::PolicyFacts;
use shepherd_domain::problem::Problem;
use shepherd_domain::spec::{CloneTarget, MigrationTarget, OperationPayload, SnapshotTarget};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::tickets::{Named, ServiceFacts, TicketContext};
use shepherd_ports::vms::VmRecord;

use super::filing::{Described, Filing, Request};
use super::{Submitted, submission};
use crate::execution::{Operation, Operations, existing};
use crate::idempotency::Answer;
use crate::{Platform, UseCaseError, policy};

/// What is asked for. Whether the caller may ask is known already.
#[derive(Clone, Debug)]
pub(crate) struct RequestOperation {
    /// The kind.
    pub(crate) request: RequestType,
    /// Why, at most 1024 characters.
    pub(crate) reason: Option<String>,
    /// The snapshot it is about.
    pub(crate) snapshot: Option<SnapshotTarget>,
    /// The clone, and the Service that it is for.
    pub(crate) clone: Option<(CloneTarget, ServiceFacts)>,
    /// The migration.
    pub(crate) migration: Option<MigrationTarget>,
}

impl RequestOperation {
    /// A request that is about the machine alone.
    pub(crate) fn new(request: RequestType, reason: Option<String>) -> Self {
        Self {
            request,
            reason,
            snapshot: None,
            clone: None,
            migration: None,
        }
    }
}

/// Submits the request.
///
/// # Errors
/// VALIDATION_FAILED; then as [`existing::check`]; SNAPSHOT_NAME_EXISTS; DUPLICATE_PENDING_REQUEST.
pub(crate) async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    vm: &VmRecord,
    command: RequestOperation,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    let reason = submission::optional_reason(command.reason.clone())?;
    let payload = OperationPayload {
        schema: 1,
        vm_id: vm.id,
        vm_name: vm.name.clone(),
        namespace: vm.namespace.clone(),
        requester: caller.subject.user(),
        reason,
        snapshot: command.snapshot.clone(),
        clone: command.clone.as_ref().map(|(target, _)| target.clone()),
        migration: command.migration.clone(),
    };
    let placed = existing::check(platform, command.request, vm, payload.clone()).await?;
    let submission = Submission {
        platform,
        operation: operations.of_request(command.request)?,
        caller,
        vm,
        service: command.clone.as_ref().map(|(_, service)| service),
        payload,
    };
    let filing = Filing {
        platform,
        operation: submission.operation,
        caller,
        asked: &submission,
        rule: policy::rule(platform, &submission.facts().await?).await?,
        warnings: placed.warnings.clone(),
    };
    filing.submit(Some(&placed), request).await
}

/// A request that passed its checks.
struct Submission<'a> {
    platform: &'a Platform,
    operation: &'a dyn Operation,
    caller: &'a Caller,
    vm: &'a VmRecord,
    /// The Service of a clone.
    service: Option<&'a ServiceFacts>,
    payload: OperationPayload,
}

impl Submission<'_> {
    /// What the policies know of it; of a clone that it belongs to its own Service.
    async fn facts(&self) -> Result<PolicyFacts, UseCaseError> {
        let (operation, requester) = (self.operation.request_type(), self.caller.subject.user());
        let machine = policy::facts::of_machine(self.platform, operation, requester, self.vm).await?;
        let Some(service) = self.service else {
            return Ok(machine);
        };
        Ok(PolicyFacts {
            system: Some(service.system_id),
            service: Some(service.id),
            ..machine
        })
    }

    fn context(&self) -> TicketContext {
        let mut context = submission::context_of(self.caller, self.vm);
        if let Some(service) = self.service {
            context.system = Some(Named {
                id: service.system_id.to_string(),
                name: service.system_name.clone(),
            });
            context.service = Some(Named {
                id: service.id.to_string(),
                name: service.name.clone(),
            });
        }
        context
    }
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
            system_id: self.service.map_or(vm.system_id, |service| service.system_id),
            service_id: self.service.map_or(vm.service_id, |service| service.id),
            vm_id: Some(vm.id),
            template_id: None,
            instance_size_id: None,
            namespace: vm.namespace.clone(),
            context: self.context(),
        }
    }

    fn audit(&self, number: &str, _ticket: TicketId) -> AuditEntry {
        AuditEntry::new(self.operation.submission_audit(), "vm", self.vm.id)
            .named(&self.vm.name)
            .details(json!({
                "ticket_number": number, "snapshot": self.payload.snapshot, "clone": self.payload.clone,
                "migration": self.payload.migration,
            }))
    }

    fn message(&self) -> String {
        let operation = self.operation.request_type().operation_type();
        format!("{} asks for {operation} of {}.", self.caller.username, self.vm.name)
    }

    async fn duplicate(&self) -> Result<Problem, UseCaseError> {
        submission::duplicate_operation(self.platform, self.vm, self.operation.request_type()).await
    }

    /// The state of the machine refuses it now, and nobody should have to decide about it.
    fn waits_instead(&self) -> bool {
        false
    }
}
