//! The state machine of machines against the table of domain.md §4.3.

use proptest::prelude::*;
use shepherd_domain::ticket::RequestType;
use shepherd_domain::vm::ObservedCondition;
use shepherd_domain::vm::VmStatus::{
    self, Creating, Deleting, Failed, Migrating, Paused, Pending, Running, Stopped, Stopping, Unknown,
};
use strum::IntoEnumIterator;

const ALL: [VmStatus; 10] = [
    Creating, Pending, Running, Stopping, Stopped, Paused, Migrating, Deleting, Failed, Unknown,
];
const DELETABLE: [VmStatus; 5] = [Running, Stopped, Failed, Paused, Unknown];
const STOPPABLE: [VmStatus; 3] = [Running, Pending, Paused];

/// The table of requests.md §7, completed by the operations of kubernetes.md §4.
const ADMITTED: [(RequestType, &[VmStatus]); 9] = [
    (RequestType::StartVm, &[Stopped, Paused]),
    (RequestType::StopVm, &STOPPABLE),
    (RequestType::RestartVm, &[Running]),
    (RequestType::ModifyVm, &[Running, Stopped, Paused]),
    (RequestType::DeleteVm, &DELETABLE),
    (RequestType::SnapshotVm, &[Running, Stopped, Paused]),
    (RequestType::RestoreVm, &[Stopped]),
    (RequestType::CloneVm, &[Running, Stopped, Paused]),
    (RequestType::MigrateVm, &[Running]),
];

/// Whatever may happen to a machine.
#[derive(Clone, Copy, Debug)]
enum Step {
    Delete { create_ticket_failed: bool },
    FailCreation,
    RetryCreation,
    FailDeletion,
    Stop,
    Observe(VmStatus),
}

impl Step {
    /// Where the step leads by the code under test, or `None` when it does not move the machine.
    fn apply(self, from: VmStatus, delete_open: bool) -> Option<(VmStatus, VmStatus)> {
        let moved = match self {
            Self::Delete { create_ticket_failed } => from.delete(create_ticket_failed).ok(),
            Self::FailCreation => from.fail_creation().ok(),
            Self::RetryCreation => from.retry_creation().ok(),
            Self::FailDeletion => from.fail_deletion().ok(),
            Self::Stop => from.stop().ok(),
            Self::Observe(observed) => from.project(observed, delete_open),
        };
        moved.map(|moved| (moved.from(), moved.to()))
    }

    /// Where the step leads by the table.
    fn listed(self, from: VmStatus, delete_open: bool) -> Option<(VmStatus, VmStatus)> {
        let to = match (self, from) {
            (Self::Delete { .. }, _) if DELETABLE.contains(&from) => Deleting,
            (
                Self::Delete {
                    create_ticket_failed: true,
                },
                Creating,
            ) => Deleting,
            (Self::FailCreation, Creating) | (Self::FailDeletion, Deleting) => Failed,
            (Self::Stop, _) if STOPPABLE.contains(&from) => Stopping,
            (Self::RetryCreation, Failed) => Creating,
            (Self::Observe(_), Deleting) if delete_open => return None,
            (Self::Observe(observed), _) if observed != from => observed,
            _ => return None,
        };
        Some((from, to))
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(|create_ticket_failed| Step::Delete { create_ticket_failed }),
        Just(Step::FailCreation),
        Just(Step::RetryCreation),
        Just(Step::FailDeletion),
        Just(Step::Stop),
        prop::sample::select(ALL.to_vec()).prop_map(Step::Observe),
    ]
}

#[test]
fn the_statuses_are_those_of_the_table() {
    assert_eq!(VmStatus::iter().collect::<Vec<_>>(), ALL);
}

#[test]
fn a_machine_moves_as_the_table_says_and_in_no_other_way() {
    let mut steps = vec![
        Step::Delete {
            create_ticket_failed: false,
        },
        Step::Delete {
            create_ticket_failed: true,
        },
        Step::FailCreation,
        Step::RetryCreation,
        Step::FailDeletion,
        Step::Stop,
    ];
    steps.extend(ALL.map(Step::Observe));
    for from in ALL {
        for step in &steps {
            for delete_open in [false, true] {
                assert_eq!(
                    step.apply(from, delete_open),
                    step.listed(from, delete_open),
                    "{step:?} from {from}"
                );
            }
        }
    }
}

#[test]
fn requests_are_admitted_from_the_states_of_the_table_alone() {
    for (request, allowed) in ADMITTED {
        for from in ALL {
            assert_eq!(
                from.admit(request).is_ok(),
                allowed.contains(&from),
                "{request} from {from}"
            );
        }
    }
    for from in [Creating, Deleting] {
        assert!(from.admit(RequestType::DeleteSnapshot).is_err(), "{from}");
    }
    let refusal = Stopped.admit(RequestType::RestartVm).unwrap_err();
    assert_eq!(
        (refusal.from, refusal.operation, refusal.allowed),
        (Stopped, "RESTART", &[Running][..])
    );
}

#[test]
fn a_refused_deletion_names_the_operation_and_the_states_it_is_possible_from() {
    let refusal = Migrating.delete(true).unwrap_err();
    assert_eq!(
        (refusal.from, refusal.operation, refusal.allowed),
        (Migrating, "DELETE", &DELETABLE[..])
    );
}

#[test]
fn a_waiting_machine_is_creating_until_it_has_run_and_pending_from_then_on() {
    assert_eq!(ObservedCondition::Waiting.status(false), Creating);
    assert_eq!(ObservedCondition::Waiting.status(true), Pending);
    for status in ALL {
        for has_run in [false, true] {
            assert_eq!(ObservedCondition::Is(status).status(has_run), status);
        }
    }
}

proptest! {
    #[test]
    fn no_sequence_of_steps_leaves_the_table(steps in prop::collection::vec(step(), 0..200)) {
        let mut status = Creating;
        let mut delete_open = false;
        for step in steps {
            let listed = step.listed(status, delete_open);
            prop_assert_eq!(step.apply(status, delete_open), listed, "{:?} from {}", step, status);
            let Some((from, to)) = listed else { continue };
            prop_assert_eq!(from, status);
            prop_assert!(!delete_open || matches!(step, Step::FailDeletion), "{:?} ended an open deletion", step);
            delete_open = match step {
                Step::Delete { .. } => true,
                Step::FailDeletion => false,
                Step::FailCreation | Step::RetryCreation | Step::Stop | Step::Observe(_) => delete_open,
            };
            status = to;
        }
    }
}
