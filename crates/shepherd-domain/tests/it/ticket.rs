//! The ticket state machine against the table of domain.md §4.1.

use proptest::prelude::*;
use shepherd_domain::ticket::TicketStatus::{
    self, Approved, Cancelled, Completed, Executing, Failed, PendingApproval, Rejected, Submitted,
};
use shepherd_domain::ticket::{PriorityTier, RequestType, ticket_number};
use shepherd_domain::transition::{InvalidTransition, Transition};
use strum::IntoEnumIterator;

type Move = Result<Transition<TicketStatus>, InvalidTransition<TicketStatus>>;

/// A transition method.
type Operation = fn(TicketStatus) -> Move;

const OPERATIONS: [(&str, Operation); 9] = [
    ("require_approval", TicketStatus::require_approval),
    ("auto_approve", TicketStatus::auto_approve),
    ("approve", TicketStatus::approve),
    ("reject", TicketStatus::reject),
    ("cancel", TicketStatus::cancel),
    ("start", TicketStatus::start),
    ("complete", TicketStatus::complete),
    ("fail", TicketStatus::fail),
    ("retry", |status| status.retry(0, MOST_RETRIES)),
];

const TABLE: [(TicketStatus, &str, TicketStatus); 10] = [
    (Submitted, "require_approval", PendingApproval),
    (Submitted, "auto_approve", Approved),
    (PendingApproval, "approve", Approved),
    (PendingApproval, "reject", Rejected),
    (PendingApproval, "cancel", Cancelled),
    (Approved, "start", Executing),
    (Executing, "complete", Completed),
    (Executing, "fail", Failed),
    (Approved, "fail", Failed),
    (Failed, "retry", Approved),
];

const FINAL: [TicketStatus; 3] = [Rejected, Cancelled, Completed];
const MOST_RETRIES: u32 = 3;

#[test]
fn a_ticket_moves_as_the_table_says_and_in_no_other_way() {
    for from in TicketStatus::iter() {
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
fn a_refusal_names_the_states_it_would_have_been_possible_from() {
    for from in TicketStatus::iter() {
        for (name, operation) in OPERATIONS {
            let Err(refusal) = operation(from) else { continue };
            assert_eq!((refusal.from, refusal.operation), (from, name));
            for state in TicketStatus::iter() {
                let listed = TABLE.iter().any(|row| row.0 == state && row.1 == name);
                assert_eq!(refusal.allowed.contains(&state), listed, "{name} from {state}");
            }
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
fn a_failed_ticket_is_retried_three_times_at_most() {
    for retries in 0..10 {
        assert_eq!(
            Failed.retry(retries, MOST_RETRIES).is_ok(),
            retries < MOST_RETRIES,
            "after {retries} retries"
        );
    }
    assert!(Failed.retry(0, 0).is_err(), "not at all, when it is so configured");
    assert!(Failed.retry(u32::MAX, MOST_RETRIES).is_err());
}

#[test]
fn a_pending_ticket_grows_urgent_with_its_days() {
    for (days, tier) in [
        (-1, PriorityTier::Normal),
        (0, PriorityTier::Normal),
        (3, PriorityTier::Normal),
        (4, PriorityTier::Warning),
        (6, PriorityTier::Warning),
        (7, PriorityTier::Urgent),
        (i64::MAX, PriorityTier::Urgent),
    ] {
        assert_eq!(PriorityTier::of_days(days), tier, "{days} days");
    }
}

#[test]
fn the_days_of_a_tier_are_the_days_it_is_made_of() {
    for tier in PriorityTier::iter() {
        let (first, past) = tier.days();
        let listed: Vec<i64> = (0..100)
            .filter(|day| *day >= first && past.is_none_or(|past| *day < past))
            .collect();
        let made_of: Vec<i64> = (0..100).filter(|day| PriorityTier::of_days(*day) == tier).collect();
        assert_eq!(listed, made_of, "{tier}");
        assert_eq!(tier.to_string().parse(), Ok(tier));
    }
}

#[test]
fn ticket_numbers_have_six_digits_or_more() {
    assert_eq!(ticket_number(123), "TKT-000123");
    assert_eq!(ticket_number(1_234_567), "TKT-1234567");
}

#[test]
fn an_operation_is_a_request_type_without_vm() {
    assert_eq!(RequestType::CreateVm.operation_type(), "CREATE");
    assert_eq!(RequestType::VncAccess.operation_type(), "VNC_ACCESS");
    assert_eq!(RequestType::DeleteSnapshot.operation_type(), "DELETE_SNAPSHOT");
    assert_eq!(RequestType::BatchCreate.operation_type(), "CREATE");
    assert_eq!(RequestType::BatchPower.operation_type(), "POWER");
}

proptest! {
    #[test]
    fn no_sequence_of_operations_leaves_the_table(steps in prop::collection::vec(0..OPERATIONS.len(), 0..200)) {
        let mut status = Submitted;
        let mut retries = 0;
        for step in steps {
            let (name, operation) = OPERATIONS[step];
            let moved = if name == "retry" { status.retry(retries, MOST_RETRIES) } else { operation(status) };
            let Ok(moved) = moved else { continue };
            prop_assert_eq!(moved.from(), status);
            prop_assert!(TABLE.contains(&(status, name, moved.to())), "{} from {}", name, status);
            prop_assert!(!FINAL.contains(&status), "{} is final", status);
            retries += u32::from(name == "retry");
            status = moved.to();
        }
        prop_assert!(retries <= MOST_RETRIES);
    }
}
