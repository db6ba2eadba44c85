//! What people may try, drawn at random.

use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// Commands of a sequence, on average.
const LENGTH: usize = 25;

/// The people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Owns the System and administers it in both environments.
    Alice,
    /// Administers the System by his role there, which makes him a member; approver in both environments.
    Colin,
    /// Operator in both environments, viewer of the System.
    Vera,
    /// Operator in test, member of the System.
    Tess,
    /// Operator in both environments without the System.
    Mallory,
    /// Approver in both environments.
    Bob,
    /// Approver in test.
    Dora,
    /// Administers the platform.
    Admin,
}

/// Sizes that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Small,
    Medium,
}

/// What is done to the run state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start,
    Stop,
    Restart,
}

/// The disk that is asked for, compared to the one there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    Larger,
    Smaller,
    BeyondItsSize,
}

/// How a deletion is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// `confirm_name` with the name.
    Name,
    /// `confirm=true`, which is enough in test.
    Flag,
    /// Not at all.
    Missing,
    /// `confirm_name` with another name.
    WrongName,
}

/// What becomes of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Approve,
    Reject,
    Cancel,
}

/// Which of the tickets, machines or submissions; 0 is the latest. The largest number is none that exists.
pub type Pick = u8;

/// One step of a sequence.
#[derive(Clone, Debug)]
pub enum Command {
    Create {
        by: Who,
        prod: bool,
        size: Size,
    },
    Power {
        by: Who,
        vm: Pick,
        action: Action,
    },
    Modify {
        by: Who,
        vm: Pick,
        disk: Disk,
    },
    Delete {
        by: Who,
        vm: Pick,
        confirm: Confirm,
    },
    Decide {
        by: Who,
        ticket: Pick,
        verdict: Verdict,
    },
    /// An earlier submission once more with its key; `other` changes its body.
    Again {
        submission: Pick,
        other: bool,
    },
    /// Everything that was approved is carried out.
    Settle,
}

/// Steps that give every sequence machines of two people in both environments.
pub fn prologue() -> Vec<Command> {
    let create = |by, prod, size| Command::Create { by, prod, size };
    let approve = Command::Decide {
        by: Who::Bob,
        ticket: 0,
        verdict: Verdict::Approve,
    };
    vec![
        create(Who::Alice, false, Size::Small),
        create(Who::Colin, false, Size::Medium),
        create(Who::Alice, true, Size::Small),
        approve.clone(),
        approve.clone(),
        approve,
        Command::Settle,
    ]
}

/// A sequence; what follows from its picks stays meaningful when steps are left out.
pub fn sequence() -> impl Strategy<Value = Vec<Command>> {
    proptest::collection::vec(command(), 1..2 * LENGTH)
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => Just(Command::Settle),
        4 => (asker(), any::<bool>(), size()).prop_map(|(by, prod, size)| Command::Create { by, prod, size }),
        6 => (asker(), any::<Pick>(), action()).prop_map(|(by, vm, action)| Command::Power { by, vm, action }),
        3 => (asker(), any::<Pick>(), disk()).prop_map(|(by, vm, disk)| Command::Modify { by, vm, disk }),
        4 => (asker(), any::<Pick>(), confirm()).prop_map(|(by, vm, confirm)| Command::Delete { by, vm, confirm }),
        7 => (decider(), any::<Pick>()).prop_map(|(by, ticket)| Command::Decide { by, ticket, verdict: Verdict::Approve }),
        2 => (decider(), any::<Pick>()).prop_map(|(by, ticket)| Command::Decide { by, ticket, verdict: Verdict::Reject }),
        2 => (asker(), any::<Pick>()).prop_map(|(by, ticket)| Command::Decide { by, ticket, verdict: Verdict::Cancel }),
        3 => (any::<Pick>(), any::<bool>()).prop_map(|(submission, other)| Command::Again { submission, other }),
    ]
}

fn asker() -> impl Strategy<Value = Who> {
    prop_oneof![
        8 => Just(Who::Alice),
        5 => Just(Who::Colin),
        2 => Just(Who::Admin),
        2 => Just(Who::Tess),
        1 => Just(Who::Vera),
        1 => Just(Who::Mallory),
        1 => Just(Who::Bob),
        1 => Just(Who::Dora),
    ]
}

fn decider() -> impl Strategy<Value = Who> {
    prop_oneof![
        8 => Just(Who::Bob),
        3 => Just(Who::Colin),
        2 => Just(Who::Admin),
        2 => Just(Who::Dora),
        1 => Just(Who::Alice),
        1 => Just(Who::Tess),
    ]
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![Just(Size::Small), Just(Size::Medium)]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Start), Just(Action::Stop), Just(Action::Restart)]
}

fn disk() -> impl Strategy<Value = Disk> {
    prop_oneof![4 => Just(Disk::Larger), 1 => Just(Disk::Smaller), 1 => Just(Disk::BeyondItsSize)]
}

fn confirm() -> impl Strategy<Value = Confirm> {
    prop_oneof![
        5 => Just(Confirm::Name),
        3 => Just(Confirm::Flag),
        1 => Just(Confirm::Missing),
        2 => Just(Confirm::WrongName),
    ]
}
