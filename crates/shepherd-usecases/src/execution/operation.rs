//! One operation per kind of request, and their registry.

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::Value;
use shepherd_domain::audit::AuditAction;
use shepherd_domain::catalog::InstanceSize;
use shepherd_domain::event::EventType;
use shepherd_domain::ids::{ClusterId, VmId};
use shepherd_domain::problem::{ErrorCode, Problem, Warning};
use shepherd_domain::rendering::VmDocument;
use shepherd_domain::spec::EffectiveNumbers;
use shepherd_domain::ticket::RequestType;
use shepherd_ports::UnitOfWork;
use shepherd_ports::catalog::TemplateRecord;
use shepherd_ports::events::Event;
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::vms::VmRecord;
use strum::IntoEnumIterator;

use super::Failure;
use super::create_vm::CreateVm;
use super::delete_vm::DeleteVm;
use crate::approval::approve::Choice;
use crate::{Platform, UseCaseError};

/// Where an approved request goes, and with which snapshots.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The cluster.
    pub cluster: ClusterId,
    /// The machine; for a creation the id it will have.
    pub vm_id: VmId,
    /// Storage class, when one was chosen or is the default.
    pub storage_class: Option<String>,
    /// The template version of a creation.
    pub template: Option<TemplateRecord>,
    /// The size of a creation.
    pub size: Option<InstanceSize>,
    /// The numbers of a creation.
    pub numbers: Option<EffectiveNumbers>,
    /// Findings that did not stop the approval.
    pub warnings: Vec<Warning>,
}

/// A claimed job with everything that belongs to it.
#[derive(Clone, Debug)]
pub struct Work {
    /// The work event.
    pub event: Event,
    /// Its ticket, EXECUTING.
    pub ticket: TicketRecord,
    /// The machine.
    pub vm: VmRecord,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// What an operation did on the cluster.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Uid of the object.
    pub uid: Option<String>,
    /// The document that was applied.
    pub document: Option<VmDocument>,
}

/// One kind of request, from approval to the record of its outcome.
#[async_trait]
pub trait Operation: Send + Sync {
    /// The kind.
    fn request_type(&self) -> RequestType;
    /// Its work event.
    fn requested(&self) -> EventType;
    /// Its facts: success and failure.
    fn facts(&self) -> (EventType, EventType);
    /// Its audit actions: success and failure.
    fn audits(&self) -> (AuditAction, AuditAction);
    /// A second audit action that accompanies the approval.
    fn approval_audit(&self) -> Option<AuditAction> {
        None
    }
    /// Checks a decision with no transaction open; may call the cluster.
    async fn place(
        &self,
        platform: &Platform,
        ticket: &TicketRecord,
        payload: &Value,
        choice: &Choice,
    ) -> Result<Placed, UseCaseError>;
    /// Repeats inside the transaction the checks that depend on the state of other rows, holding those rows.
    async fn recheck(
        &self,
        uow: &mut dyn UnitOfWork,
        ticket: &TicketRecord,
        placed: &Placed,
    ) -> Result<(), UseCaseError>;
    /// What an approval changes beside the ticket.
    async fn effects(
        &self,
        uow: &mut dyn UnitOfWork,
        ticket: &TicketRecord,
        placed: &Placed,
    ) -> Result<(), UseCaseError>;
    /// Does the work on the cluster, with no transaction open. Idempotent.
    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure>;
    /// What success changes beside event and ticket.
    async fn succeed(
        &self,
        platform: &Platform,
        uow: &mut dyn UnitOfWork,
        work: &Work,
        done: &Done,
    ) -> Result<(), UseCaseError>;
    /// What final failure changes beside event and ticket.
    async fn give_up(&self, uow: &mut dyn UnitOfWork, work: &Work, problem: &Problem) -> Result<(), UseCaseError>;
}

/// The operations of the product: exactly one for every work event.
pub struct Operations {
    by_request: HashMap<RequestType, Box<dyn Operation>>,
}

impl Operations {
    /// All operations there are.
    ///
    /// # Errors
    /// When a work event has no operation or more than one; the process must not start then.
    pub fn all() -> Result<Self, UseCaseError> {
        let operations: [Box<dyn Operation>; 2] = [Box::new(CreateVm), Box::new(DeleteVm)];
        for event in EventType::iter().filter(|event| event.is_work()) {
            if operations
                .iter()
                .filter(|operation| operation.requested() == event)
                .count()
                != 1
            {
                return Err(UseCaseError::Broken("a work event does not have exactly one operation"));
            }
        }
        Ok(Self {
            by_request: operations
                .into_iter()
                .map(|operation| (operation.request_type(), operation))
                .collect(),
        })
    }

    /// The operation of a kind of request.
    ///
    /// # Errors
    /// When this version does not know the kind.
    pub fn of_request(&self, request: RequestType) -> Result<&dyn Operation, UseCaseError> {
        self.by_request
            .get(&request)
            .map(|operation| &**operation)
            .ok_or(UseCaseError::Broken("no operation for this kind of request"))
    }
}

/// TICKET_NOT_FOUND and the like are for callers; a missing column of an approved ticket is our own fault.
pub(super) fn required<T>(value: Option<T>, what: &'static str) -> Result<T, UseCaseError> {
    value.ok_or(UseCaseError::Broken(what))
}

/// VM_NOT_FOUND for a machine.
pub(super) fn vm_not_found(vm: VmId) -> Problem {
    Problem::not_found(ErrorCode::VmNotFound, vm)
}
