//! The parents of batches as kinds of requests. Nothing is carried out for a parent: each of its children has a job of
//! its own, and what becomes of the parent follows from them ([`super::settle`]).

use async_trait::async_trait;
use serde_json::Value;
use shepherd_domain::audit::AuditAction;
use shepherd_domain::batch::BatchKind;
use shepherd_domain::event::EventType;
use shepherd_domain::ticket::RequestType;
use shepherd_ports::UnitOfWork;
use shepherd_ports::tickets::TicketRecord;

use crate::approval::approve::Choice;
use crate::execution::{Done, Failure, Operation, Placed, Work};
use crate::{Platform, UseCaseError};

/// BATCH_CREATE, BATCH_DELETE or BATCH_POWER.
pub(crate) struct Batch(pub(crate) BatchKind);

/// A parent has no place: its children have ([`super::approve`]).
fn no_place() -> UseCaseError {
    UseCaseError::Broken("a batch goes where its children go")
}

#[async_trait]
impl Operation for Batch {
    fn request_type(&self) -> RequestType {
        self.0.request_type()
    }

    fn requested(&self) -> EventType {
        self.0.requested()
    }

    fn facts(&self) -> (EventType, EventType) {
        self.0.facts()
    }

    fn submission_audit(&self) -> AuditAction {
        match self.0 {
            BatchKind::Create | BatchKind::Delete => AuditAction::VmBatchSubmit,
            BatchKind::Power => AuditAction::VmBatchPowerSubmit,
        }
    }

    /// The outcomes are those of the children, which write their own rows; the parent has the row of its submission.
    fn audits(&self) -> (AuditAction, AuditAction) {
        (self.submission_audit(), self.submission_audit())
    }

    fn has_job(&self) -> bool {
        false
    }

    async fn place(
        &self,
        _platform: &Platform,
        _ticket: &TicketRecord,
        _payload: &Value,
        _choice: &Choice,
    ) -> Result<Placed, UseCaseError> {
        Err(no_place())
    }

    async fn recheck(
        &self,
        _uow: &mut dyn UnitOfWork,
        _ticket: &TicketRecord,
        _placed: &Placed,
    ) -> Result<(), UseCaseError> {
        Err(no_place())
    }

    async fn execute(&self, _platform: &Platform, _work: &Work) -> Result<Done, Failure> {
        Err(Failure::Store(UseCaseError::Broken("a batch has no job")))
    }
}
