//! Batches: one request for several machines, carried out by one child ticket per machine. What a parent shows is a
//! pure function of its children (batch.md §4).

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::environment::Environment;
use crate::event::{EventStatus, EventType};
use crate::ids::VmId;
use crate::problem::{ErrorCode, Problem};
use crate::ticket::{RequestType, TicketStatus};
use crate::transition::{InvalidTransition, Transition, step};

/// What a batch does to its machines.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
pub enum BatchKind {
    /// Creates them.
    #[serde(rename = "BATCH_CREATE")]
    #[strum(serialize = "BATCH_CREATE")]
    Create,
    /// Deletes them.
    #[serde(rename = "BATCH_DELETE")]
    #[strum(serialize = "BATCH_DELETE")]
    Delete,
    /// Starts, stops or restarts them.
    #[serde(rename = "BATCH_POWER")]
    #[strum(serialize = "BATCH_POWER")]
    Power,
}

impl BatchKind {
    /// The `batch_type` on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The operation of its children, as a size limit names it: CREATE, DELETE or POWER.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Delete => "DELETE",
            Self::Power => "POWER",
        }
    }

    /// What its parent ticket asks for.
    pub fn request_type(self) -> RequestType {
        match self {
            Self::Create => RequestType::BatchCreate,
            Self::Delete => RequestType::BatchDelete,
            Self::Power => RequestType::BatchPower,
        }
    }

    /// Its work event.
    pub fn requested(self) -> EventType {
        match self {
            Self::Create => EventType::BatchCreateRequested,
            Self::Delete => EventType::BatchDeleteRequested,
            Self::Power => EventType::BatchPowerRequested,
        }
    }

    /// Its facts: success and failure.
    pub fn facts(self) -> (EventType, EventType) {
        match self {
            Self::Create => (EventType::BatchCreateCompleted, EventType::BatchCreateFailed),
            Self::Delete => (EventType::BatchDeleteCompleted, EventType::BatchDeleteFailed),
            Self::Power => (EventType::BatchPowerCompleted, EventType::BatchPowerFailed),
        }
    }
}

/// How a batch is doing.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum BatchStatus {
    /// No child was approved yet.
    PendingApproval,
    /// A child is still open.
    InProgress,
    /// Every child was carried out. Final.
    Completed,
    /// Some children were carried out and others were not. Final until a retry.
    PartialSuccess,
    /// No child was carried out. Final until a retry.
    Failed,
    /// Every child was withdrawn. Final.
    Cancelled,
}

impl BatchStatus {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether no child is open. A retry of failed children opens the batch again.
    pub fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::PartialSuccess | Self::Failed | Self::Cancelled => true,
            Self::PendingApproval | Self::InProgress => false,
        }
    }
}

/// The children of a batch, counted by their status. All numbers are children; the seven last sum up to the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All of them.
    pub children: i32,
    /// COMPLETED.
    pub completed: i32,
    /// FAILED.
    pub failed: i32,
    /// REJECTED.
    pub rejected: i32,
    /// CANCELLED.
    pub cancelled: i32,
    /// PENDING_APPROVAL, and SUBMITTED within the submitting transaction.
    pub pending: i32,
    /// APPROVED.
    pub approved: i32,
    /// EXECUTING.
    pub executing: i32,
}

impl Tally {
    /// Counts tickets.
    pub fn of(children: impl IntoIterator<Item = TicketStatus>) -> Self {
        let mut tally = Self::default();
        for status in children {
            let count = match status {
                TicketStatus::Submitted | TicketStatus::PendingApproval => &mut tally.pending,
                TicketStatus::Approved => &mut tally.approved,
                TicketStatus::Rejected => &mut tally.rejected,
                TicketStatus::Cancelled => &mut tally.cancelled,
                TicketStatus::Executing => &mut tally.executing,
                TicketStatus::Completed => &mut tally.completed,
                TicketStatus::Failed => &mut tally.failed,
            };
            *count += 1;
            tally.children += 1;
        }
        tally
    }

    /// What the batch shows of them.
    pub fn counters(&self) -> Counters {
        Counters {
            success: self.completed,
            failed: self.failed + self.rejected,
            pending: self.pending + self.approved + self.executing,
            rejected: self.rejected,
            cancelled: self.cancelled,
        }
    }
}

/// The numbers of a batch: success, failed, pending and cancelled ones sum up to all children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// COMPLETED children.
    pub success: i32,
    /// FAILED and REJECTED children.
    pub failed: i32,
    /// Children that are open: PENDING_APPROVAL, APPROVED or EXECUTING.
    pub pending: i32,
    /// REJECTED children, which are among the failed ones.
    pub rejected: i32,
    /// CANCELLED children.
    pub cancelled: i32,
}

/// What the children make of their batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The status of the batch.
    pub status: BatchStatus,
    /// The status that its parent ticket should have; [`parent_path`] says how to get there.
    pub parent: TicketStatus,
}

/// The table of batch.md §4; its first matching row counts. A batch without children, of which there is none, would
/// have failed no child and completed all.
pub fn aggregate(tally: &Tally) -> Outcome {
    let open = tally.approved + tally.executing;
    let ended = tally.completed + tally.failed;
    let (status, parent) = if tally.pending > 0 && open + ended == 0 {
        (BatchStatus::PendingApproval, TicketStatus::PendingApproval)
    } else if tally.pending + open > 0 {
        let begun = tally.executing + ended > 0;
        let parent = if begun {
            TicketStatus::Executing
        } else {
            TicketStatus::Approved
        };
        (BatchStatus::InProgress, parent)
    } else if tally.completed == tally.children {
        (BatchStatus::Completed, TicketStatus::Completed)
    } else if tally.completed > 0 {
        (BatchStatus::PartialSuccess, TicketStatus::Completed)
    } else if tally.failed > 0 {
        (BatchStatus::Failed, TicketStatus::Failed)
    } else if tally.rejected == 0 {
        (BatchStatus::Cancelled, TicketStatus::Cancelled)
    } else {
        (BatchStatus::Failed, TicketStatus::Rejected)
    };
    Outcome { status, parent }
}

/// The reason of a step that takes a parent ticket back, in its history.
pub const RETRY_REASON: &str = "batch_retry";

/// The steps of a parent ticket to where its children want it, one after the other; none when it is there. A jump is
/// written as the steps in between. What has begun to execute never returns to APPROVED.
///
/// # Errors
/// A parent that was rejected or cancelled stays so, and none returns to its approval.
pub fn parent_path(
    from: TicketStatus,
    outcome: Outcome,
) -> Result<Vec<Transition<TicketStatus>>, InvalidTransition<TicketStatus>> {
    let begun = matches!(
        from,
        TicketStatus::Executing | TicketStatus::Completed | TicketStatus::Failed
    );
    let to = if begun && outcome.parent == TicketStatus::Approved {
        TicketStatus::Executing
    } else {
        outcome.parent
    };
    let mut path = Vec::new();
    let mut at = from;
    while at != to {
        let next = parent_step(at, to)?;
        at = next.to();
        path.push(next);
    }
    Ok(path)
}

/// Whether a step of a parent ticket is one that a retry of its children made.
pub fn is_retry(step: &Transition<TicketStatus>) -> bool {
    step.from().is_final()
}

/// The next step of a parent ticket that goes somewhere else.
fn parent_step(
    from: TicketStatus,
    to: TicketStatus,
) -> Result<Transition<TicketStatus>, InvalidTransition<TicketStatus>> {
    let approved = matches!(
        to,
        TicketStatus::Approved | TicketStatus::Executing | TicketStatus::Completed | TicketStatus::Failed
    );
    match from {
        TicketStatus::Submitted if approved => from.auto_approve(),
        TicketStatus::Submitted => from.require_approval(),
        TicketStatus::PendingApproval if approved => from.approve(),
        TicketStatus::PendingApproval if to == TicketStatus::Rejected => from.reject(),
        TicketStatus::PendingApproval if to == TicketStatus::Cancelled => from.cancel(),
        TicketStatus::Approved if approved => from.start(),
        TicketStatus::Executing if to == TicketStatus::Completed => from.complete(),
        TicketStatus::Executing if to == TicketStatus::Failed => from.fail(),
        TicketStatus::Completed | TicketStatus::Failed if approved => step(
            from,
            RETRY_REASON,
            &[TicketStatus::Completed, TicketStatus::Failed],
            TicketStatus::Executing,
        ),
        TicketStatus::PendingApproval
        | TicketStatus::Approved
        | TicketStatus::Executing
        | TicketStatus::Completed
        | TicketStatus::Failed
        | TicketStatus::Rejected
        | TicketStatus::Cancelled => step(from, "settle", &[], to),
    }
}

/// The steps of the work event of a batch, one after the other; none when there is nothing to say. An event that is
/// COMPLETED stays so while failed children are tried again.
///
/// # Errors
/// An event that was cancelled stays so.
pub fn event_path(
    from: EventStatus,
    outcome: Outcome,
) -> Result<Vec<Transition<EventStatus>>, InvalidTransition<EventStatus>> {
    let to = match outcome.status {
        BatchStatus::PendingApproval => EventStatus::Pending,
        BatchStatus::InProgress => EventStatus::Processing,
        BatchStatus::Completed | BatchStatus::PartialSuccess => EventStatus::Completed,
        BatchStatus::Failed if outcome.parent == TicketStatus::Rejected => EventStatus::Cancelled,
        BatchStatus::Failed => EventStatus::Failed,
        BatchStatus::Cancelled => EventStatus::Cancelled,
    };
    let mut path = Vec::new();
    let mut at = from;
    while at != to && at != EventStatus::Completed {
        let next = match (at, to) {
            (EventStatus::Pending | EventStatus::Processing, EventStatus::Cancelled) => at.cancel()?,
            (EventStatus::Processing, EventStatus::Completed) => at.complete()?,
            (EventStatus::Processing, EventStatus::Failed) => at.fail()?,
            (EventStatus::Failed, EventStatus::Processing | EventStatus::Completed) => at.retry()?,
            (EventStatus::Pending, EventStatus::Processing | EventStatus::Completed | EventStatus::Failed) => {
                at.begin()?
            }
            (from, to) => step(from, "settle", &[], to)?,
        };
        at = next.to();
        path.push(next);
    }
    Ok(path)
}

/// Why the structure of a submission is refused.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum InvalidBatchReason {
    /// It has no items.
    Empty,
    /// A machine is named twice.
    DuplicateVm,
    /// Its items are in more than one environment.
    MixedEnvironment,
    /// It asks for something that batches do not do.
    UnsupportedOperation,
}

impl InvalidBatchReason {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// INVALID_BATCH_REQUEST with this reason.
    pub fn problem(self) -> Problem {
        Problem::new(ErrorCode::InvalidBatchRequest).with("reason", self.as_str())
    }
}

/// A batch names every machine once.
///
/// # Errors
/// `duplicate_vm`.
pub fn distinct(machines: impl IntoIterator<Item = VmId>) -> Result<(), InvalidBatchReason> {
    let mut seen = std::collections::HashSet::new();
    if machines.into_iter().all(|machine| seen.insert(machine)) {
        Ok(())
    } else {
        Err(InvalidBatchReason::DuplicateVm)
    }
}

/// The one environment of all items.
///
/// # Errors
/// `empty` without items, `mixed_environment` when they are in several.
pub fn one_environment(items: impl IntoIterator<Item = Environment>) -> Result<Environment, InvalidBatchReason> {
    let mut items = items.into_iter();
    let first = items.next().ok_or(InvalidBatchReason::Empty)?;
    if items.all(|other| other == first) {
        Ok(first)
    } else {
        Err(InvalidBatchReason::MixedEnvironment)
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn a_kind_is_called_what_its_parent_ticket_asks_for() {
        for kind in BatchKind::iter() {
            assert_eq!(kind.as_str(), kind.request_type().as_str());
            assert!(kind.request_type().is_batch());
            assert_eq!(kind.as_str().strip_prefix("BATCH_"), Some(kind.operation()));
            assert_eq!(kind.requested().as_str(), format!("{kind}_REQUESTED"));
            let (completed, failed) = kind.facts();
            assert_eq!(completed.as_str(), format!("{kind}_COMPLETED"));
            assert_eq!(failed.as_str(), format!("{kind}_FAILED"));
        }
    }

    #[test]
    fn a_refusal_of_the_structure_says_which_rule_was_broken() {
        let refusal = InvalidBatchReason::DuplicateVm.problem();
        assert_eq!(refusal.code, ErrorCode::InvalidBatchRequest);
        assert_eq!(refusal.params.get("reason"), Some(&"duplicate_vm".into()));
    }

    #[test]
    fn a_batch_names_a_machine_once() {
        let (one, two) = (VmId::from_bits(1), VmId::from_bits(2));
        assert_eq!(distinct([]), Ok(()));
        assert_eq!(distinct([one, two]), Ok(()));
        assert_eq!(distinct([one, two, one]), Err(InvalidBatchReason::DuplicateVm));
    }

    #[test]
    fn a_batch_is_in_one_environment() {
        let (test, prod) = (Environment::Test, Environment::Prod);
        assert_eq!(one_environment([]), Err(InvalidBatchReason::Empty));
        assert_eq!(one_environment([prod, prod]), Ok(prod));
        assert_eq!(
            one_environment([test, test, prod]),
            Err(InvalidBatchReason::MixedEnvironment)
        );
    }

    #[test]
    fn what_has_begun_does_not_return_to_its_approval() {
        let approved = Outcome {
            status: BatchStatus::InProgress,
            parent: TicketStatus::Approved,
        };
        assert_eq!(parent_path(TicketStatus::Executing, approved), Ok(Vec::new()));
        for ended in [TicketStatus::Completed, TicketStatus::Failed] {
            let path = parent_path(ended, approved).unwrap();
            let steps: Vec<_> = path.iter().map(|step| (step.from(), step.to())).collect();
            assert_eq!(steps, [(ended, TicketStatus::Executing)]);
            assert!(path.iter().all(is_retry));
        }
    }
}
