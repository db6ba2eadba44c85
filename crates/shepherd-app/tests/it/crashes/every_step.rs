//! Every operation dies at every one of its steps, and ends as if it had not.
//!
//! The steps of [`OPERATIONS`] lie behind every write and every call that changes a cluster, so each of them is also
//! the moment before the next one. For every operation there is one run that nothing disturbs; then, for each of its
//! steps, a machine of its own whose job ends there and is run again. What is stored and what is on the cluster must be
//! the same, apart from ids and times.

mod record;
mod stage;

use shepherd_usecases::execution::steps::Step;
use strum::IntoEnumIterator as _;

use crate::in_process::InProcess;
use stage::{Operation, Stage};

/// An operation and the steps of its job, in order.
struct Row {
    operation: Operation,
    steps: &'static [Step],
}

const LIFE: [Row; 3] = [
    Row {
        operation: Operation::Create,
        steps: &[
            Step::Claimed,
            Step::PasswordKept,
            Step::NamespaceMade,
            Step::NamespaceEnsured,
            Step::Applied,
            Step::CarriedOut,
            Step::Recorded,
        ],
    },
    Row {
        operation: Operation::Modify,
        steps: &[
            Step::Claimed,
            Step::DiskGrown,
            Step::Modified,
            Step::CarriedOut,
            Step::Recorded,
        ],
    },
    Row {
        operation: Operation::Delete,
        steps: &[
            Step::Claimed,
            Step::SnapshotDeletionAsked,
            Step::DeletionAsked,
            Step::Gone,
            Step::CarriedOut,
            Step::Recorded,
        ],
    },
];

const POWER: [Row; 3] = [
    Row {
        operation: Operation::Start,
        steps: &[Step::Claimed, Step::StartAsked, Step::CarriedOut, Step::Recorded],
    },
    Row {
        operation: Operation::Stop,
        steps: &[Step::Claimed, Step::StopAsked, Step::CarriedOut, Step::Recorded],
    },
    Row {
        operation: Operation::Restart,
        steps: &[
            Step::Claimed,
            Step::RestartGuarded,
            Step::RestartAsked,
            Step::CarriedOut,
            Step::Recorded,
        ],
    },
];

const BESIDE: [Row; 6] = [
    Row {
        operation: Operation::Snapshot,
        steps: &[
            Step::Claimed,
            Step::SnapshotAsked,
            Step::SnapshotNoted,
            Step::CarriedOut,
            Step::Recorded,
        ],
    },
    Row {
        operation: Operation::DeleteSnapshot,
        steps: &[
            Step::Claimed,
            Step::SnapshotDeletionAsked,
            Step::CarriedOut,
            Step::Recorded,
        ],
    },
    Row {
        operation: Operation::Restore,
        steps: &[
            Step::Claimed,
            Step::RestoreAsked,
            Step::Restored,
            Step::CarriedOut,
            Step::Recorded,
        ],
    },
    Row {
        operation: Operation::Clone,
        steps: &[
            Step::Claimed,
            Step::CloneAsked,
            Step::CloneNoted,
            Step::CloneMarked,
            Step::CloneStarted,
            Step::CarriedOut,
            Step::Recorded,
        ],
    },
    Row {
        operation: Operation::Migrate,
        steps: &[
            Step::Claimed,
            Step::MigrationAsked,
            Step::MigrationNoted,
            Step::CarriedOut,
            Step::Recorded,
        ],
    },
    Row {
        operation: Operation::CallMigrationOff,
        steps: &[
            Step::Claimed,
            Step::MigrationCalledOff,
            Step::MigrationCancelled,
            Step::Recorded,
        ],
    },
];

#[test]
fn every_step_belongs_to_an_operation_that_dies_there() {
    let covered: Vec<Step> = LIFE
        .iter()
        .chain(&POWER)
        .chain(&BESIDE)
        .flat_map(|row| row.steps.iter().copied())
        .collect();
    let missing: Vec<Step> = Step::iter().filter(|step| !covered.contains(step)).collect();
    assert!(missing.is_empty(), "nothing dies at {missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_made_changed_and_deleted_as_if_nothing_had_died() {
    die_everywhere(&LIFE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_switched_as_if_nothing_had_died() {
    die_everywhere(&POWER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_saved_copied_and_moved_as_if_nothing_had_died() {
    die_everywhere(&BESIDE).await;
}

async fn die_everywhere(operations: &[Row]) {
    let world = InProcess::start().await;
    let mut number = 0;
    let mut differences = Vec::new();
    for row in operations {
        number += 1;
        let clean = Stage::set(&world, row.operation, number).await;
        let mut steps = world.finish_watched(&clean.asked).await;
        // What waits looks again, and may reach the same step again.
        steps.dedup();
        assert_eq!(steps, row.steps, "the steps of {:?}", row.operation);
        let expected = record::of(&world, &clean).await;
        for step in row.steps {
            number += 1;
            let stage = Stage::set(&world, row.operation, number).await;
            world.die_at(stage.asked.event_id, *step).await;
            world.finish(&stage.asked).await;
            let found = record::of(&world, &stage).await;
            differences.extend(
                record::differences(&expected, &found)
                    .map(|difference| format!("{:?} that died at {step}: {difference}", row.operation)),
            );
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
