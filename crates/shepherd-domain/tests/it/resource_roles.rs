//! Roles on a System against the table of access.md §5.

use shepherd_domain::access::ResourceAction::{Create, Delete, Members, Operate, Owners, Update, View};
use shepherd_domain::access::ResourceRole::{Admin, Member, Owner, Viewer};
use shepherd_domain::access::{ResourceAction, ResourceRole};
use strum::IntoEnumIterator;

/// When a role allows an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// On own machines.
    Own,
    Never,
}

use When::{Always, Never, Own};

const COLUMNS: [ResourceRole; 4] = [Owner, Admin, Member, Viewer];

const TABLE: [(ResourceAction, [When; 4]); 7] = [
    (View, [Always, Always, Always, Always]),
    (Create, [Always, Always, Always, Never]),
    (Operate, [Always, Always, Always, Never]),
    (Update, [Always, Always, Never, Never]),
    (Delete, [Always, Always, Own, Never]),
    (Members, [Always, Always, Never, Never]),
    (Owners, [Always, Never, Never, Never]),
];

/// What the table says.
pub(crate) fn listed(role: ResourceRole, action: ResourceAction) -> When {
    let row = TABLE.iter().find(|row| row.0 == action).map_or([Never; 4], |row| row.1);
    COLUMNS
        .iter()
        .zip(row)
        .find(|cell| *cell.0 == role)
        .map_or(Never, |cell| cell.1)
}

/// The weakest role that allows an action on everything.
pub(crate) fn least_role(action: ResourceAction) -> Option<ResourceRole> {
    COLUMNS.into_iter().rev().find(|role| listed(*role, action) == Always)
}

#[test]
fn the_table_is_complete() {
    assert!(ResourceAction::iter().all(|action| TABLE.iter().any(|row| row.0 == action)));
    assert!(ResourceRole::iter().all(|role| COLUMNS.contains(&role)));
}

#[test]
fn a_role_allows_what_the_table_says() {
    for role in ResourceRole::iter() {
        for action in ResourceAction::iter() {
            let when = listed(role, action);
            assert_eq!(role.allows(action, true), when != Never, "{role} {action:?} own");
            assert_eq!(
                role.allows(action, false),
                when == Always,
                "{role} {action:?} of others"
            );
        }
    }
}

#[test]
fn the_role_to_ask_for_is_the_weakest_that_would_do() {
    for action in ResourceAction::iter() {
        assert_eq!(Some(action.least_role()), least_role(action), "{action:?}");
    }
}

#[test]
fn a_stronger_role_allows_whatever_a_weaker_one_does() {
    for weaker in ResourceRole::iter() {
        for stronger in ResourceRole::iter().filter(|role| *role >= weaker) {
            for action in ResourceAction::iter() {
                for own in [false, true] {
                    assert!(!weaker.allows(action, own) || stronger.allows(action, own));
                }
            }
        }
    }
}
