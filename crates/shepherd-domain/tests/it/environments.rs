//! Sets of environments behave as sets.

use shepherd_domain::{Environment, EnvironmentSet};

/// All four of them, each with its members written out.
fn sets() -> [(EnvironmentSet, Vec<Environment>); 4] {
    [
        (EnvironmentSet::EMPTY, vec![]),
        (EnvironmentSet::TEST, vec![Environment::Test]),
        ([Environment::Prod].into_iter().collect(), vec![Environment::Prod]),
        (EnvironmentSet::ALL, vec![Environment::Test, Environment::Prod]),
    ]
}

#[test]
fn a_set_has_the_members_it_was_made_of_test_first() {
    for (set, members) in sets() {
        assert_eq!(set.iter().collect::<Vec<_>>(), members);
        assert_eq!(
            members.iter().rev().copied().collect::<EnvironmentSet>(),
            set,
            "order does not matter"
        );
        assert_eq!(
            members.iter().chain(&members).copied().collect::<EnvironmentSet>(),
            set,
            "nor does repetition"
        );
        assert_eq!(set.is_empty(), members.is_empty());
        for environment in Environment::ALL {
            assert_eq!(set.contains(environment), members.contains(&environment));
        }
    }
    assert_eq!(EnvironmentSet::default(), EnvironmentSet::EMPTY);
}

#[test]
fn union_and_cover_agree_with_the_members() {
    for (a, of_a) in sets() {
        for (b, of_b) in sets() {
            let both: EnvironmentSet = of_a.iter().chain(&of_b).copied().collect();
            assert_eq!(a.union(b), both);
            assert_eq!(a.union(b), b.union(a));
            assert_eq!(a.covers(b), of_b.iter().all(|environment| of_a.contains(environment)));
            assert_eq!(a.covers(b), a.union(b) == a);
            assert_eq!(a.covers(b) && b.covers(a), a == b);
        }
    }
}

#[test]
fn a_set_is_a_list_on_the_wire() {
    for (set, members) in sets() {
        let json = serde_json::to_value(set).unwrap();
        assert_eq!(json, serde_json::to_value(&members).unwrap());
        assert_eq!(serde_json::from_value::<EnvironmentSet>(json).unwrap(), set);
    }
    assert!(serde_json::from_str::<EnvironmentSet>(r#"["staging"]"#).is_err());
}
