//! The points of an operation between which a process can die.
//!
//! Tests stop a worker at each of them, kill it and let another one run the job again.

use async_trait::async_trait;
use strum::{Display, EnumIter, EnumString};

use crate::Platform;

/// A point of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString, EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum Step {
    /// The ticket is EXECUTING, no cluster was called.
    Claimed,
    /// Create: what the guest is given is kept.
    PasswordKept,
    /// Create: the namespace was made for this event, maybe nothing says so yet.
    NamespaceMade,
    /// Create: the namespace exists.
    NamespaceEnsured,
    /// Create: the object was applied.
    Applied,
    /// Modify: the disk has the size it is to have.
    DiskGrown,
    /// Modify: the document was applied.
    Modified,
    /// Delete: the deletion was asked for.
    DeletionAsked,
    /// Delete: the object is gone.
    Gone,
    /// Start: the start was asked for.
    StartAsked,
    /// Stop: the stop was asked for.
    StopAsked,
    /// Restart: the instance to be replaced is noted.
    RestartGuarded,
    /// Restart: the restart was asked for.
    RestartAsked,
    /// Snapshot: the snapshot was asked for.
    SnapshotAsked,
    /// Snapshot: its object is noted.
    SnapshotNoted,
    /// Delete snapshot: the deletion was asked for.
    SnapshotDeletionAsked,
    /// Restore: the restore was asked for.
    RestoreAsked,
    /// Restore: the machine is restored, its marks are not.
    Restored,
    /// Clone: the clone was asked for.
    CloneAsked,
    /// Clone: the new machine is there and noted.
    CloneNoted,
    /// Clone: the new machine carries the platform's marks.
    CloneMarked,
    /// Clone: the start of the new machine was asked for.
    CloneStarted,
    /// Migrate: the migration was asked for.
    MigrationAsked,
    /// Migrate: its object is noted.
    MigrationNoted,
    /// Migrate: it was called off on the cluster.
    MigrationCalledOff,
    /// Migrate: its row says that it was called off.
    MigrationCancelled,
    /// The cluster has done its part, nothing is recorded yet.
    CarriedOut,
    /// Everything is recorded, the job is still there.
    Recorded,
}

/// Is told about every step.
#[async_trait]
pub trait StepHook: Send + Sync {
    /// The step was reached; the operation goes on when this returns.
    async fn reached(&self, step: Step);
}

/// Lets every operation go on at once.
pub struct NoHook;

#[async_trait]
impl StepHook for NoHook {
    async fn reached(&self, _step: Step) {}
}

pub(super) async fn reach(platform: &Platform, step: Step) {
    platform.step_hook.reached(step).await;
}

/// The hook of this process: none, except in a build for tests that is told to halt somewhere.
pub fn hook() -> std::sync::Arc<dyn StepHook> {
    #[cfg(feature = "failpoints")]
    if let Some(halt) = HaltAt::from_env() {
        return std::sync::Arc::new(halt);
    }
    std::sync::Arc::new(NoHook)
}

/// Halts the process at one step, for tests that kill it there.
#[cfg(feature = "failpoints")]
pub struct HaltAt {
    step: Step,
    marker: std::path::PathBuf,
}

#[cfg(feature = "failpoints")]
impl HaltAt {
    /// Reads `SHEPHERD_HALT_AT=<step>:<marker file>`; the marker is created when the step is reached.
    pub fn from_env() -> Option<Self> {
        let setting = std::env::var("SHEPHERD_HALT_AT").ok()?;
        let (step, marker) = setting.split_once(':')?;
        Some(Self {
            step: step.parse().ok()?,
            marker: marker.into(),
        })
    }
}

#[cfg(feature = "failpoints")]
#[async_trait]
impl StepHook for HaltAt {
    async fn reached(&self, step: Step) {
        // A marker that exists already belongs to a process that was killed here; this one goes on.
        if step == self.step && std::fs::File::create_new(&self.marker).is_ok() {
            std::future::pending::<()>().await;
        }
    }
}
