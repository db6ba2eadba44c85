//! What a batch makes of its children: the table of batch.md §4, written out here a second time.

use proptest::prelude::*;
use shepherd_domain::batch::{self, BatchStatus, Tally, aggregate, event_path, parent_path};
use shepherd_domain::event::EventStatus;
use shepherd_domain::ticket::TicketStatus;
use shepherd_domain::transition::Transition;

/// Most children of the batches that are tried one by one.
const MOST: usize = 6;

/// What a child at rest can be.
const CHILD: [TicketStatus; 7] = [
    TicketStatus::PendingApproval,
    TicketStatus::Approved,
    TicketStatus::Executing,
    TicketStatus::Completed,
    TicketStatus::Failed,
    TicketStatus::Rejected,
    TicketStatus::Cancelled,
];

/// The letters of the table.
#[derive(Clone, Copy, Debug)]
struct Letters {
    n: usize,
    s: usize,
    f: usize,
    r: usize,
    c: usize,
    p: usize,
    a: usize,
    /// Those of `a` that execute.
    executing: usize,
}

impl Letters {
    fn of(children: &[TicketStatus]) -> Self {
        let count = |status| children.iter().filter(|child| **child == status).count();
        let executing = count(TicketStatus::Executing);
        Self {
            n: children.len(),
            s: count(TicketStatus::Completed),
            f: count(TicketStatus::Failed),
            r: count(TicketStatus::Rejected),
            c: count(TicketStatus::Cancelled),
            p: count(TicketStatus::PendingApproval),
            a: count(TicketStatus::Approved) + executing,
            executing,
        }
    }
}

struct Row {
    condition: fn(Letters) -> bool,
    status: BatchStatus,
    parent: fn(Letters) -> TicketStatus,
}

const TABLE: [Row; 7] = [
    Row {
        condition: |l| l.p > 0 && l.a == 0 && l.s == 0 && l.f == 0,
        status: BatchStatus::PendingApproval,
        parent: |_| TicketStatus::PendingApproval,
    },
    Row {
        condition: |l| l.p + l.a > 0,
        status: BatchStatus::InProgress,
        parent: |l| {
            if l.executing == 0 && l.s == 0 && l.f == 0 {
                TicketStatus::Approved
            } else {
                TicketStatus::Executing
            }
        },
    },
    Row {
        condition: |l| l.s == l.n,
        status: BatchStatus::Completed,
        parent: |_| TicketStatus::Completed,
    },
    Row {
        condition: |l| l.s > 0,
        status: BatchStatus::PartialSuccess,
        parent: |_| TicketStatus::Completed,
    },
    Row {
        condition: |l| l.f > 0,
        status: BatchStatus::Failed,
        parent: |_| TicketStatus::Failed,
    },
    Row {
        condition: |l| l.c == l.n,
        status: BatchStatus::Cancelled,
        parent: |_| TicketStatus::Cancelled,
    },
    Row {
        condition: |l| l.r > 0,
        status: BatchStatus::Failed,
        parent: |_| TicketStatus::Rejected,
    },
];

/// Every mix of so many children; their order does not matter, so each comes once.
fn mixes(children: usize, kinds: &[TicketStatus]) -> Vec<Vec<TicketStatus>> {
    let Some((first, rest)) = kinds.split_first() else {
        return if children == 0 { vec![Vec::new()] } else { Vec::new() };
    };
    let mut all = Vec::new();
    for of_first in 0..=children {
        for mut mix in mixes(children - of_first, rest) {
            mix.extend(std::iter::repeat_n(*first, of_first));
            all.push(mix);
        }
    }
    all
}

fn every_mix() -> impl Iterator<Item = Vec<TicketStatus>> {
    (1..=MOST).flat_map(|children| mixes(children, &CHILD))
}

#[test]
fn every_mix_of_children_makes_what_the_table_says() {
    let mut seen = [0_usize; TABLE.len()];
    for mix in every_mix() {
        let letters = Letters::of(&mix);
        let row = TABLE.iter().position(|row| (row.condition)(letters)).unwrap();
        seen[row] += 1;
        let outcome = aggregate(&Tally::of(mix.iter().copied()));
        assert_eq!(outcome.status, TABLE[row].status, "{letters:?}");
        assert_eq!(outcome.parent, (TABLE[row].parent)(letters), "{letters:?}");
        assert_eq!(outcome.status.is_final(), letters.p + letters.a == 0, "{letters:?}");
    }
    assert!(seen.iter().all(|count| *count > 0), "every row is reached: {seen:?}");
    assert_eq!(
        seen.iter().sum::<usize>(),
        1715,
        "the mixes of one to six children of seven kinds"
    );
}

#[test]
fn the_counters_of_every_mix_sum_up_to_all_children() {
    for mix in every_mix() {
        let letters = Letters::of(&mix);
        let tally = Tally::of(mix.iter().copied());
        let counters = tally.counters();
        let number = |count: usize| i32::try_from(count).unwrap();
        assert_eq!(counters.success, number(letters.s));
        assert_eq!(counters.failed, number(letters.f + letters.r));
        assert_eq!(counters.pending, number(letters.p + letters.a));
        assert_eq!(counters.rejected, number(letters.r));
        assert_eq!(counters.cancelled, number(letters.c));
        let sum = counters.success + counters.failed + counters.pending + counters.cancelled;
        assert_eq!(sum, number(letters.n), "{letters:?}");
        assert_eq!(tally.children, number(letters.n));
    }
}

#[test]
fn a_parent_jumps_by_the_steps_in_between() {
    use TicketStatus::{Approved, Cancelled, Completed, Executing, Failed, PendingApproval, Rejected, Submitted};
    let outcome = |children: &[TicketStatus]| aggregate(&Tally::of(children.iter().copied()));
    let path = |from, children: &[TicketStatus]| -> Vec<TicketStatus> {
        let path = parent_path(from, outcome(children)).unwrap();
        path.iter().map(Transition::to).collect()
    };
    assert_eq!(path(Submitted, &[PendingApproval]), [PendingApproval]);
    assert_eq!(path(Submitted, &[Approved]), [Approved]);
    assert_eq!(path(PendingApproval, &[PendingApproval, Approved]), [Approved]);
    assert_eq!(
        path(PendingApproval, &[PendingApproval, Executing]),
        [Approved, Executing]
    );
    assert_eq!(path(PendingApproval, &[Failed]), [Approved, Executing, Failed]);
    assert_eq!(path(PendingApproval, &[Rejected, Cancelled]), [Rejected]);
    assert_eq!(path(PendingApproval, &[Cancelled]), [Cancelled]);
    assert_eq!(path(Approved, &[Completed, Rejected]), [Executing, Completed]);
    assert_eq!(path(Failed, &[Approved, Failed]), [Executing]);
    assert_eq!(path(Completed, &[Completed, Approved]), [Executing]);
    assert_eq!(path(Failed, &[Completed]), [Executing, Completed]);
    assert!(parent_path(Rejected, outcome(&[Approved])).is_err());
    assert!(parent_path(Cancelled, outcome(&[Completed])).is_err());
    assert!(parent_path(Executing, outcome(&[PendingApproval])).is_err());
}

/// What somebody may try with a child.
#[derive(Clone, Copy, Debug)]
enum Try {
    Approve,
    Reject,
    Cancel,
    Start,
    Complete,
    Fail,
    Retry,
}

const TRIES: [Try; 7] = [
    Try::Approve,
    Try::Reject,
    Try::Cancel,
    Try::Start,
    Try::Complete,
    Try::Fail,
    Try::Retry,
];

fn moved(child: TicketStatus, what: Try) -> Option<TicketStatus> {
    let step = match what {
        Try::Approve => child.approve(),
        Try::Reject => child.reject(),
        Try::Cancel => child.cancel(),
        Try::Start => child.start(),
        Try::Complete => child.complete(),
        Try::Fail => child.fail(),
        Try::Retry => child.retry(0, 3),
    };
    step.ok().map(|step| step.to())
}

proptest! {
    /// Whatever happens to children in whatever order: the parent and its event follow by single steps, end where the
    /// table wants them, and go back for a retry only.
    #[test]
    fn a_parent_follows_its_children(
        number in 1_usize..=MOST,
        moves in prop::collection::vec((0_usize..MOST, 0_usize..TRIES.len()), 1..80),
    ) {
        let mut children = vec![TicketStatus::PendingApproval; number];
        let (mut parent, mut event) = (TicketStatus::PendingApproval, EventStatus::Pending);
        for (child, what) in moves {
            let child = &mut children[child % number];
            let what = TRIES[what];
            let Some(to) = moved(*child, what) else { continue };
            *child = to;
            let outcome = aggregate(&Tally::of(children.iter().copied()));

            for step in parent_path(parent, outcome).unwrap() {
                prop_assert_eq!(step.from(), parent);
                prop_assert_eq!(batch::is_retry(&step), matches!(what, Try::Retry) && parent.is_final());
                parent = step.to();
            }
            let begun = parent == TicketStatus::Executing && outcome.parent == TicketStatus::Approved;
            prop_assert!(parent == outcome.parent || begun, "{parent} instead of {}", outcome.parent);

            for step in event_path(event, outcome).unwrap() {
                prop_assert_eq!(step.from(), event);
                event = step.to();
            }
            let expected = match parent {
                TicketStatus::Submitted | TicketStatus::PendingApproval => EventStatus::Pending,
                TicketStatus::Approved | TicketStatus::Executing => EventStatus::Processing,
                TicketStatus::Completed => EventStatus::Completed,
                TicketStatus::Failed => EventStatus::Failed,
                TicketStatus::Rejected | TicketStatus::Cancelled => EventStatus::Cancelled,
            };
            // Once something was carried out the event stays COMPLETED while the rest is tried again.
            prop_assert!(event == expected || event == EventStatus::Completed && parent == TicketStatus::Executing);
        }
    }
}
