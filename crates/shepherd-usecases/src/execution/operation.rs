//! One operation per kind of request, and their registry.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use shepherd_domain::audit::AuditAction;
use shepherd_domain::batch::BatchKind;
use shepherd_domain::catalog::InstanceSize;
use shepherd_domain::event::EventType;
use shepherd_domain::ids::{ClusterId, VmId};
use shepherd_domain::problem::{ErrorCode, Problem, Warning};
use shepherd_domain::rendering::VmDocument;
use shepherd_domain::spec::{EffectiveNumbers, OperationPayload};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::events::Event;
use shepherd_ports::templates::TemplateRecord;
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::vms::VmRecord;
use shepherd_ports::{RequestContext, UnitOfWork};
use strum::IntoEnumIterator;

use super::clone::CloneVm;
use super::create_vm::CreateVm;
use super::delete_vm::DeleteVm;
use super::findings::Examined;
use super::migrate::MigrateVm;
use super::modify_vm::ModifyVm;
use super::power::{RestartVm, StartVm, StopVm};
use super::restore::RestoreVm;
use super::snapshot::{DeleteSnapshot, SnapshotVm};
use super::{Failure, existing};
use crate::approval::approve::Choice;
use crate::batch::operation::Batch;
use crate::console::access_operation::VncAccess;
use crate::{Platform, UseCaseError};

/// Where an approved request goes, and with which snapshots.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The cluster.
    pub cluster: ClusterId,
    /// The machine; for a creation and a clone the id it will have.
    pub vm_id: VmId,
    /// Storage class, when one was chosen or is the default.
    pub storage_class: Option<String>,
    /// The template version of a creation or a modification.
    pub template: Option<TemplateRecord>,
    /// The size of a creation or a modification.
    pub size: Option<InstanceSize>,
    /// The numbers of a creation or a modification.
    pub numbers: Option<EffectiveNumbers>,
    /// What is asked of an existing machine.
    pub operation: Option<OperationPayload>,
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
    /// Canonical YAML of an object that the cluster made by itself.
    pub manifest: Option<String>,
}

/// One kind of request, from approval to the record of its outcome.
///
/// What has a default is by default what holds for an operation on an existing machine that changes nothing but the
/// cluster.
#[async_trait]
pub trait Operation: Send + Sync {
    /// The kind.
    fn request_type(&self) -> RequestType;
    /// Its work event.
    fn requested(&self) -> EventType;
    /// Its facts: success and failure.
    fn facts(&self) -> (EventType, EventType);
    /// Further work events that it settles while it is executed; they have no ticket and no job of their own.
    fn settles(&self) -> &'static [EventType] {
        &[]
    }
    /// The audit action of its submission.
    fn submission_audit(&self) -> AuditAction;
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
        _ticket: &TicketRecord,
        payload: &Value,
        choice: &Choice,
    ) -> Result<Placed, UseCaseError> {
        existing::place(platform, self.request_type(), payload, choice).await
    }
    /// Everything there is to say about a decision that nobody makes yet: the checks of [`Self::place`], which go on
    /// after a refusal, and what would be applied.
    async fn examine(
        &self,
        platform: &Platform,
        ticket: &TicketRecord,
        payload: &Value,
        choice: &Choice,
    ) -> Result<Examined, UseCaseError> {
        Examined::of(self.place(platform, ticket, payload, choice).await)
    }
    /// Repeats inside the transaction the checks that depend on the state of other rows, holding those rows.
    async fn recheck(
        &self,
        uow: &mut dyn UnitOfWork,
        _ticket: &TicketRecord,
        placed: &Placed,
    ) -> Result<(), UseCaseError> {
        existing::recheck(uow, self.request_type(), placed).await
    }
    /// What an approval changes beside the ticket.
    async fn effects(
        &self,
        _uow: &mut dyn UnitOfWork,
        _ticket: &TicketRecord,
        _placed: &Placed,
    ) -> Result<(), UseCaseError> {
        Ok(())
    }
    /// Whether a worker carries it out. What has no job is carried out by [`Self::conclude`] in the transaction that
    /// approves it.
    fn has_job(&self) -> bool {
        true
    }
    /// What takes the place of the job where there is none: the ticket is APPROVED and its event PROCESSING, and both
    /// move on from there. `by` is who approved.
    async fn conclude(
        &self,
        _platform: &Platform,
        _uow: &mut dyn UnitOfWork,
        _ticket: &TicketRecord,
        _placed: &Placed,
        _by: &RequestContext,
        _now: DateTime<Utc>,
    ) -> Result<(), UseCaseError> {
        Ok(())
    }
    /// Does the work on the cluster, with no transaction open. Idempotent.
    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure>;
    /// What success changes beside event and ticket.
    async fn succeed(
        &self,
        _platform: &Platform,
        _uow: &mut dyn UnitOfWork,
        _work: &Work,
        _done: &Done,
    ) -> Result<(), UseCaseError> {
        Ok(())
    }
    /// What final failure changes beside event and ticket.
    async fn give_up(
        &self,
        _platform: &Platform,
        _uow: &mut dyn UnitOfWork,
        _work: &Work,
        _problem: &Problem,
    ) -> Result<(), UseCaseError> {
        Ok(())
    }
}

/// The names of an operation: its request; its event and facts; its audit actions.
macro_rules! named {
    ($request:ident: $requested:ident, $completed:ident, $failed:ident; $submitted:ident, $done:ident, $undone:ident) => {
        fn request_type(&self) -> shepherd_domain::ticket::RequestType {
            shepherd_domain::ticket::RequestType::$request
        }

        fn requested(&self) -> shepherd_domain::event::EventType {
            shepherd_domain::event::EventType::$requested
        }

        fn facts(
            &self,
        ) -> (
            shepherd_domain::event::EventType,
            shepherd_domain::event::EventType,
        ) {
            (
                shepherd_domain::event::EventType::$completed,
                shepherd_domain::event::EventType::$failed,
            )
        }

        fn submission_audit(&self) -> shepherd_domain::audit::AuditAction {
            shepherd_domain::audit::AuditAction::$submitted
        }

        fn audits(
            &self,
        ) -> (
            shepherd_domain::audit::AuditAction,
            shepherd_domain::audit::AuditAction,
        ) {
            (
                shepherd_domain::audit::AuditAction::$done,
                shepherd_domain::audit::AuditAction::$undone,
            )
        }
    };
}
pub(super) use named;

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
        let operations: Vec<Box<dyn Operation>> = vec![
            Box::new(CreateVm),
            Box::new(ModifyVm),
            Box::new(DeleteVm),
            Box::new(StartVm),
            Box::new(StopVm),
            Box::new(RestartVm),
            Box::new(SnapshotVm),
            Box::new(DeleteSnapshot),
            Box::new(RestoreVm),
            Box::new(CloneVm),
            Box::new(MigrateVm),
            Box::new(VncAccess),
            Box::new(Batch(BatchKind::Create)),
            Box::new(Batch(BatchKind::Delete)),
            Box::new(Batch(BatchKind::Power)),
        ];
        for event in EventType::iter().filter(|event| event.is_work()) {
            if operations
                .iter()
                .filter(|operation| operation.requested() == event || operation.settles().contains(&event))
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
