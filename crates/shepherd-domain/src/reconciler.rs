//! The comparison of rows with clusters: what a run does, how it ends, and when it must not go on (kubernetes.md §9).

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// What a run does about what it finds.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ReconcilerMode {
    /// It reports.
    DryRun,
    /// It reports, marks rows without object, and takes marks away that no longer hold.
    Mark,
}

impl ReconcilerMode {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How far a run is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// It goes on, or waits for a worker.
    Running,
    /// Every cluster that could be compared was.
    Completed,
    /// At least one cluster was stopped at.
    Halted,
    /// It ended early.
    Failed,
}

impl RunStatus {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What a finding is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum FindingKind {
    /// A row without object.
    Ghost,
    /// An object with the platform's label and without row.
    Orphan,
}

impl FindingKind {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Why a run did not compare a cluster.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum SkipReason {
    /// It is no longer registered.
    Gone,
    /// It is disabled.
    Disabled,
    /// Its health is anything but HEALTHY.
    NotHealthy,
    /// Its watch is not LIVE, so that rows may be behind.
    NotLive,
    /// Its machines could not be listed to the end.
    ListFailed,
    /// A machine that the list did not show could not be looked at.
    ReadFailed,
}

impl SkipReason {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Whether so many of the examined rows of a cluster are missing from it that the cluster rather than the rows must be
/// wrong: more than `ratio` (0 to 1) of them. The very ratio is not more.
pub fn halts(examined: u32, missing: u32, ratio: f64) -> bool {
    f64::from(missing) > ratio * f64::from(examined)
}
