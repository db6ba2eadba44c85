//! Virtual machines: status, what moves it, and what a cluster reports.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::ticket::RequestType;
use crate::transition::{InvalidTransition, Transition, step};

/// What is done to the power of a machine.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum PowerAction {
    /// Start it, or let it go on after a pause.
    Start,
    /// Shut it down.
    Stop,
    /// Replace its instance.
    Restart,
}

impl PowerAction {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What its ticket asks for.
    pub fn request_type(self) -> RequestType {
        match self {
            Self::Start => RequestType::StartVm,
            Self::Stop => RequestType::StopVm,
            Self::Restart => RequestType::RestartVm,
        }
    }
}

/// The status of a virtual machine. Only an observation promotes it to RUNNING.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum VmStatus {
    /// Approved and on its way to its first RUNNING.
    Creating,
    /// Has run before and is waiting to run again.
    Pending,
    /// Running.
    Running,
    /// Shutting down.
    Stopping,
    /// Off.
    Stopped,
    /// Paused in memory.
    Paused,
    /// Being moved between nodes.
    Migrating,
    /// A deletion was approved.
    Deleting,
    /// The cluster or the platform reports a failure.
    Failed,
    /// The cluster cannot say, or the object is missing.
    Unknown,
}

impl VmStatus {
    /// The states from which a deletion is accepted.
    pub const DELETABLE: &'static [Self] = &[Self::Running, Self::Stopped, Self::Failed, Self::Paused, Self::Unknown];
    /// The states from which a stop is accepted.
    pub const STOPPABLE: &'static [Self] = &[Self::Running, Self::Pending, Self::Paused];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The states from which a request about an existing machine is accepted, at submission and at approval. Empty
    /// for requests that are about no machine, or that have rules of their own.
    pub const fn admitted(request: RequestType) -> &'static [Self] {
        match request {
            RequestType::StartVm => &[Self::Stopped, Self::Paused],
            RequestType::StopVm => Self::STOPPABLE,
            RequestType::RestartVm | RequestType::MigrateVm => &[Self::Running],
            RequestType::ModifyVm | RequestType::SnapshotVm | RequestType::CloneVm => {
                &[Self::Running, Self::Stopped, Self::Paused]
            }
            RequestType::RestoreVm => &[Self::Stopped],
            // What a snapshot is of does not matter to its end.
            RequestType::DeleteSnapshot => &[
                Self::Pending,
                Self::Running,
                Self::Stopping,
                Self::Stopped,
                Self::Paused,
                Self::Migrating,
                Self::Failed,
                Self::Unknown,
            ],
            RequestType::DeleteVm => Self::DELETABLE,
            RequestType::CreateVm
            | RequestType::VncAccess
            | RequestType::BatchCreate
            | RequestType::BatchDelete
            | RequestType::BatchPower => &[],
        }
    }

    /// Asks whether a request about an existing machine is accepted in this state.
    pub fn admit(self, request: RequestType) -> Result<(), InvalidTransition<Self>> {
        let allowed = Self::admitted(request);
        if allowed.contains(&self) {
            Ok(())
        } else {
            Err(InvalidTransition {
                from: self,
                operation: request.operation_type(),
                allowed,
            })
        }
    }

    /// The cluster was told to stop the machine; what follows is observed.
    pub fn stop(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "STOP", Self::STOPPABLE, Self::Stopping)
    }

    /// A deletion was approved. A CREATING machine can be deleted once its create ticket has FAILED.
    pub fn delete(self, create_ticket_failed: bool) -> Result<Transition<Self>, InvalidTransition<Self>> {
        if Self::DELETABLE.contains(&self) || (self == Self::Creating && create_ticket_failed) {
            Ok(Transition::new(self, Self::Deleting))
        } else {
            Err(InvalidTransition {
                from: self,
                operation: "DELETE",
                allowed: Self::DELETABLE,
            })
        }
    }

    /// The create ticket ended FAILED before the cluster reported anything.
    pub fn fail_creation(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "fail_creation", &[Self::Creating], Self::Failed)
    }

    /// The create ticket is executed again.
    pub fn retry_creation(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "retry_creation", &[Self::Failed], Self::Creating)
    }

    /// The delete ticket ended FAILED; projection resumes.
    pub fn fail_deletion(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "fail_deletion", &[Self::Deleting], Self::Failed)
    }

    /// What a projection makes of an observation, or `None` when the row stays as it is: a DELETING machine
    /// leaves that state by its ticket alone while that is open.
    pub fn project(self, observed: Self, delete_open: bool) -> Option<Transition<Self>> {
        if self == Self::Deleting && delete_open {
            return None;
        }
        (self != observed).then_some(Transition::new(self, observed))
    }
}

/// `status_reason` of a machine whose object is gone without a delete ticket.
pub const OBJECT_MISSING: &str = "OBJECT_MISSING";
/// `status_reason` of a machine whose deletion failed.
pub const DELETE_FAILED: &str = "DELETE_FAILED";
/// `status_reason` of a machine that stayed in CREATING too long.
pub const CREATION_TIMEOUT: &str = "CREATION_TIMEOUT";

/// What a cluster says about a virtual machine: the VirtualMachine and its instance, merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedVm {
    /// Object name.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Object uid.
    pub uid: String,
    /// The newer of the resource versions of the machine and its instance; orders observations.
    pub resource_version: u64,
    /// The mapped condition of the machine.
    pub condition: ObservedCondition,
    /// The raw `printableStatus` or phase when it is not the plain counterpart of the status.
    pub reason: Option<String>,
    /// The most severe condition message, redacted, at most 512 characters.
    pub message: Option<String>,
    /// The run strategy of the object.
    pub run_strategy: Option<String>,
    /// The uid of the running instance.
    pub vmi_uid: Option<String>,
    /// Node that runs it.
    pub node: Option<String>,
    /// First address of the guest.
    pub ip: Option<String>,
    /// Whether pending changes need a restart.
    pub restart_required: bool,
    /// Condition LiveMigratable of the instance; `None` when it says nothing.
    pub live_migratable: Option<bool>,
    /// The event that created the object, from its annotation.
    pub event_id: Option<String>,
    /// The row the object belongs to, from its annotation.
    pub vm_id: Option<String>,
    /// Whether the object carries the platform's managed-by label.
    pub managed: bool,
    /// When the object was created.
    pub created_at: Option<DateTime<Utc>>,
}

/// The condition of an observed machine, before its history is taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedCondition {
    /// The machine waits to run: CREATING before its first RUNNING, PENDING after it.
    Waiting,
    /// Any other status stands for itself.
    Is(VmStatus),
}

impl ObservedCondition {
    /// The status of the row, given whether the machine has been seen RUNNING before.
    pub fn status(self, has_run: bool) -> VmStatus {
        match self {
            Self::Waiting if has_run => VmStatus::Pending,
            Self::Waiting => VmStatus::Creating,
            Self::Is(status) => status,
        }
    }
}
