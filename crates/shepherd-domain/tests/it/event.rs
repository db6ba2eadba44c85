//! The event state machine against domain.md §4.2.

use proptest::prelude::*;
use shepherd_domain::event::EventStatus::{self, Cancelled, Completed, Failed, Pending, Processing};
use shepherd_domain::event::EventType;
use shepherd_domain::transition::{InvalidTransition, Transition};
use strum::IntoEnumIterator;

type Move = Result<Transition<EventStatus>, InvalidTransition<EventStatus>>;

/// A transition method.
type Operation = fn(EventStatus) -> Move;

const OPERATIONS: [(&str, Operation); 5] = [
    ("begin", EventStatus::begin),
    ("complete", EventStatus::complete),
    ("fail", EventStatus::fail),
    ("cancel", EventStatus::cancel),
    ("retry", EventStatus::retry),
];

const TABLE: [(EventStatus, &str, EventStatus); 6] = [
    (Pending, "begin", Processing),
    (Processing, "complete", Completed),
    (Processing, "fail", Failed),
    (Pending, "cancel", Cancelled),
    (Processing, "cancel", Cancelled),
    (Failed, "retry", Processing),
];

const FINAL: [EventStatus; 2] = [Completed, Cancelled];

#[test]
fn an_event_moves_as_the_table_says_and_in_no_other_way() {
    for from in EventStatus::iter() {
        for (name, operation) in OPERATIONS {
            let listed = TABLE
                .iter()
                .find(|row| row.0 == from && row.1 == name)
                .map(|row| (from, row.2));
            let moved = operation(from).ok().map(|moved| (moved.from(), moved.to()));
            assert_eq!(moved, listed, "{name} from {from}");
        }
    }
}

#[test]
fn final_states_know_no_way_out() {
    for from in FINAL {
        for (name, operation) in OPERATIONS {
            assert!(operation(from).is_err(), "{name} from {from}");
        }
    }
}

#[test]
fn events_that_ask_for_something_are_the_requested_ones() {
    for kind in EventType::iter() {
        assert_eq!(kind.is_work(), kind.as_str().ends_with("_REQUESTED"), "{kind}");
    }
}

proptest! {
    #[test]
    fn no_sequence_of_operations_leaves_the_table(
        auto_approved: bool,
        steps in prop::collection::vec(0..OPERATIONS.len(), 0..100),
    ) {
        let mut status = if auto_approved { Processing } else { Pending };
        for step in steps {
            let (name, operation) = OPERATIONS[step];
            let Ok(moved) = operation(status) else { continue };
            prop_assert_eq!(moved.from(), status);
            prop_assert!(TABLE.contains(&(status, name, moved.to())), "{} from {}", name, status);
            prop_assert!(!FINAL.contains(&status), "{} is final", status);
            status = moved.to();
        }
    }
}
