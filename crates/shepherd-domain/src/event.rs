//! Domain events: the claim check of every operation, and the facts that it leaves.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::transition::{InvalidTransition, Transition, step};

/// The kind of an event. `*_REQUESTED` kinds are work events and run through [`EventStatus`]; all others are
/// facts and are inserted as COMPLETED with the event that caused them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are the specification's and say it all")]
pub enum EventType {
    VmCreationRequested,
    VmCreationCompleted,
    VmCreationFailed,
    VmModifyRequested,
    VmModifyCompleted,
    VmModifyFailed,
    VmDeletionRequested,
    VmDeletionCompleted,
    VmDeletionFailed,
    VmStartRequested,
    VmStartCompleted,
    VmStartFailed,
    VmStopRequested,
    VmStopCompleted,
    VmStopFailed,
    VmRestartRequested,
    VmRestartCompleted,
    VmRestartFailed,
    VmSnapshotRequested,
    VmSnapshotCompleted,
    VmSnapshotFailed,
    VmSnapshotDeleteRequested,
    VmSnapshotDeleteCompleted,
    VmSnapshotDeleteFailed,
    VmRestoreRequested,
    VmRestoreCompleted,
    VmRestoreFailed,
    VmCloneRequested,
    VmCloneCompleted,
    VmCloneFailed,
    VmMigrationRequested,
    VmMigrationCompleted,
    VmMigrationFailed,
    VmMigrationCancelRequested,
    VmMigrationCancelCompleted,
    VmMigrationCancelFailed,
    BatchCreateRequested,
    BatchCreateCompleted,
    BatchCreateFailed,
    BatchDeleteRequested,
    BatchDeleteCompleted,
    BatchDeleteFailed,
    BatchPowerRequested,
    BatchPowerCompleted,
    BatchPowerFailed,
    VncAccessRequested,
    VncAccessGranted,
    VncAccessDenied,
    VncTokenRevoked,
    VmAdopted,
    RequestCancelled,
    SystemCreated,
    SystemDeleted,
    ServiceCreated,
    ServiceDeleted,
    NamespaceCreated,
    ClusterKubevirtVersionChanged,
}

impl EventType {
    /// Whether the event asks the worker for something.
    pub fn is_work(self) -> bool {
        match self {
            Self::VmCreationRequested
            | Self::VmModifyRequested
            | Self::VmDeletionRequested
            | Self::VmStartRequested
            | Self::VmStopRequested
            | Self::VmRestartRequested
            | Self::VmSnapshotRequested
            | Self::VmSnapshotDeleteRequested
            | Self::VmRestoreRequested
            | Self::VmCloneRequested
            | Self::VmMigrationRequested
            | Self::VmMigrationCancelRequested
            | Self::BatchCreateRequested
            | Self::BatchDeleteRequested
            | Self::BatchPowerRequested
            | Self::VncAccessRequested => true,
            Self::VmCreationCompleted
            | Self::VmCreationFailed
            | Self::VmModifyCompleted
            | Self::VmModifyFailed
            | Self::VmDeletionCompleted
            | Self::VmDeletionFailed
            | Self::VmStartCompleted
            | Self::VmStartFailed
            | Self::VmStopCompleted
            | Self::VmStopFailed
            | Self::VmRestartCompleted
            | Self::VmRestartFailed
            | Self::VmSnapshotCompleted
            | Self::VmSnapshotFailed
            | Self::VmSnapshotDeleteCompleted
            | Self::VmSnapshotDeleteFailed
            | Self::VmRestoreCompleted
            | Self::VmRestoreFailed
            | Self::VmCloneCompleted
            | Self::VmCloneFailed
            | Self::VmMigrationCompleted
            | Self::VmMigrationFailed
            | Self::VmMigrationCancelCompleted
            | Self::VmMigrationCancelFailed
            | Self::BatchCreateCompleted
            | Self::BatchCreateFailed
            | Self::BatchDeleteCompleted
            | Self::BatchDeleteFailed
            | Self::BatchPowerCompleted
            | Self::BatchPowerFailed
            | Self::VncAccessGranted
            | Self::VncAccessDenied
            | Self::VncTokenRevoked
            | Self::VmAdopted
            | Self::RequestCancelled
            | Self::SystemCreated
            | Self::SystemDeleted
            | Self::ServiceCreated
            | Self::ServiceDeleted
            | Self::NamespaceCreated
            | Self::ClusterKubevirtVersionChanged => false,
        }
    }

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum AggregateType {
    Vm,
    Service,
    System,
    Batch,
    Namespace,
    Cluster,
    Notification,
}

/// The life of a work event.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum EventStatus {
    /// Waiting for a decision.
    Pending,
    /// Decided; a job exists or has existed.
    Processing,
    /// Done, or a fact.
    Completed,
    /// Failed for good; a retry brings it back to PROCESSING.
    Failed,
    /// Rejected, cancelled, or its target disappeared.
    Cancelled,
}

impl EventStatus {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The request was approved.
    pub fn begin(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "begin", &[Self::Pending], Self::Processing)
    }

    /// The work is done.
    pub fn complete(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "complete", &[Self::Processing], Self::Completed)
    }

    /// The work failed for good.
    pub fn fail(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "fail", &[Self::Processing], Self::Failed)
    }

    /// The request was rejected or cancelled, or the target is gone at execution.
    pub fn cancel(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "cancel", &[Self::Pending, Self::Processing], Self::Cancelled)
    }

    /// A failed event is executed again.
    pub fn retry(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "retry", &[Self::Failed], Self::Processing)
    }
}
