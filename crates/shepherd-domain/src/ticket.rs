//! Approval tickets: request types, the ticket state machine, and who decides.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::transition::{InvalidTransition, Transition, step};

/// What a ticket asks for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are the specification's and say it all")]
pub enum RequestType {
    CreateVm,
    ModifyVm,
    DeleteVm,
    StartVm,
    StopVm,
    RestartVm,
    VncAccess,
    BatchCreate,
    BatchDelete,
    BatchPower,
    SnapshotVm,
    DeleteSnapshot,
    RestoreVm,
    CloneVm,
    MigrateVm,
}

impl RequestType {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The group within which a machine has one open ticket at most, as the database has it.
    pub fn operation_group(self) -> &'static str {
        match self {
            Self::CreateVm | Self::CloneVm => "CREATE",
            Self::ModifyVm => "MODIFY",
            Self::DeleteVm => "DELETE",
            Self::StartVm | Self::StopVm | Self::RestartVm => "POWER",
            Self::VncAccess => "VNC",
            Self::BatchCreate | Self::BatchDelete | Self::BatchPower => "BATCH",
            Self::SnapshotVm | Self::DeleteSnapshot | Self::RestoreVm => "SNAPSHOT",
            Self::MigrateVm => "MIGRATE",
        }
    }

    /// Whether it is the parent of other requests.
    pub fn is_batch(self) -> bool {
        self.operation_group() == "BATCH"
    }

    /// The name on the wire: the request type without `_VM`; of a batch the operation of its children.
    pub fn operation_type(self) -> &'static str {
        let name = self.as_str();
        let name = name.strip_prefix("BATCH_").unwrap_or(name);
        name.strip_suffix("_VM").unwrap_or(name)
    }
}

/// The life of a ticket. A ticket at rest is never SUBMITTED: that state exists in its history only.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum TicketStatus {
    /// Submitted; left in the same transaction.
    Submitted,
    /// Waiting for an approver.
    PendingApproval,
    /// Approved; a job exists.
    Approved,
    /// Refused. Final.
    Rejected,
    /// Withdrawn by the requester. Final.
    Cancelled,
    /// Claimed by a worker.
    Executing,
    /// Carried out. Final.
    Completed,
    /// Failed for good; a retry brings it back to APPROVED.
    Failed,
}

/// How often a failed ticket may be retried by hand, unless it is configured.
pub const MAX_MANUAL_RETRIES: u32 = 3;

impl TicketStatus {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Nothing but a retry leads out of it.
    pub fn is_final(self) -> bool {
        match self {
            Self::Rejected | Self::Cancelled | Self::Completed | Self::Failed => true,
            Self::Submitted | Self::PendingApproval | Self::Approved | Self::Executing => false,
        }
    }

    /// The policy asks for an approver.
    pub fn require_approval(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "require_approval", &[Self::Submitted], Self::PendingApproval)
    }

    /// The policy approves by itself.
    pub fn auto_approve(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "auto_approve", &[Self::Submitted], Self::Approved)
    }

    /// An approver or an external system approves.
    pub fn approve(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "approve", &[Self::PendingApproval], Self::Approved)
    }

    /// An approver or an external system refuses.
    pub fn reject(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "reject", &[Self::PendingApproval], Self::Rejected)
    }

    /// The requester withdraws.
    pub fn cancel(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "cancel", &[Self::PendingApproval], Self::Cancelled)
    }

    /// A worker claimed the job.
    pub fn start(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "start", &[Self::Approved], Self::Executing)
    }

    /// The work is done.
    pub fn complete(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "complete", &[Self::Executing], Self::Completed)
    }

    /// A permanent failure, or attempts exhausted; from APPROVED when re-validation failed before any cluster call.
    pub fn fail(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "fail", &[Self::Executing, Self::Approved], Self::Failed)
    }

    /// A failed ticket is executed again; the decision stands.
    ///
    /// `retry_count` is the number of retries so far, of which there are at most `most`.
    pub fn retry(self, retry_count: u32, most: u32) -> Result<Transition<Self>, InvalidTransition<Self>> {
        if retry_count >= most {
            return Err(InvalidTransition {
                from: self,
                operation: "retry",
                allowed: &[],
            });
        }
        step(self, "retry", &[Self::Failed], Self::Approved)
    }
}

/// What kind of actor moved a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ActorKind {
    /// A person.
    User,
    /// An approval policy.
    Policy,
    /// An external approval system.
    External,
    /// A worker carrying out the operation.
    Worker,
    /// The platform itself.
    System,
}

/// Who made the decision on a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum DecidedByKind {
    /// A person.
    User,
    /// A policy.
    Policy,
    /// An external approval system.
    External,
}

/// Urgency of a pending ticket, by whole days pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum PriorityTier {
    /// 0 to 3 days.
    Normal,
    /// 4 to 6 days.
    Warning,
    /// 7 days and more.
    Urgent,
}

impl PriorityTier {
    /// The tier of a ticket that has been pending for so many whole days.
    pub fn of_days(days: i64) -> Self {
        match days {
            ..4 => Self::Normal,
            4..7 => Self::Warning,
            7.. => Self::Urgent,
        }
    }

    /// Its whole days: the first of them, and the first that is past it.
    pub fn days(self) -> (i64, Option<i64>) {
        match self {
            Self::Normal => (0, Some(4)),
            Self::Warning => (4, Some(7)),
            Self::Urgent => (7, None),
        }
    }
}

/// The human number of a ticket: `TKT-` and at least six digits.
pub fn ticket_number(sequence: i64) -> String {
    format!("TKT-{sequence:06}")
}
