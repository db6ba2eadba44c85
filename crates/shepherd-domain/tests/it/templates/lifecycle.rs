//! The states of a template version against domain.md §4.5 and catalog.md §1.

use shepherd_domain::catalog::TemplateStatus::{self, Active, Archived, Deprecated, Draft};
use shepherd_domain::transition::{InvalidTransition, Transition};
use strum::IntoEnumIterator;

/// A transition method.
type Operation = fn(TemplateStatus) -> Result<Transition<TemplateStatus>, InvalidTransition<TemplateStatus>>;

const OPERATIONS: [(&str, Operation); 3] = [
    ("publish", TemplateStatus::publish),
    ("deprecate", TemplateStatus::deprecate),
    ("archive", TemplateStatus::archive),
];

const TABLE: [(TemplateStatus, &str, TemplateStatus); 4] = [
    (Draft, "publish", Active),
    (Active, "deprecate", Deprecated),
    (Active, "archive", Archived),
    (Deprecated, "archive", Archived),
];

#[test]
fn a_template_moves_as_the_table_says_and_in_no_other_way() {
    for from in TemplateStatus::iter() {
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
    for (name, operation) in OPERATIONS {
        let refusal = operation(Archived).unwrap_err();
        let listed: Vec<TemplateStatus> = TABLE.iter().filter(|row| row.1 == name).map(|row| row.0).collect();
        assert_eq!((refusal.from, refusal.operation), (Archived, name));
        assert_eq!(refusal.allowed, listed);
    }
}

#[test]
fn what_may_change_in_place_depends_on_the_state() {
    for (status, content, texts) in [
        (Draft, true, true),
        (Active, false, true),
        (Deprecated, false, true),
        (Archived, false, false),
    ] {
        assert_eq!(status.content_is_editable(), content, "{status}");
        assert_eq!(status.texts_are_editable(), texts, "{status}");
        assert_eq!(status.is_removable(), status == Draft, "{status}");
    }
}
