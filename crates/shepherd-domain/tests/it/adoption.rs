//! What a machine without row is to the platform, against kubernetes.md §8.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shepherd_domain::Environment;
use shepherd_domain::adoption::{Claim, Obstacle, Standing, Surroundings, annotated_row, standing};
use shepherd_domain::ids::ServiceId;
use shepherd_domain::labels;

const ROW: &str = "01983f0e-0000-7000-8000-000000000001";

fn labelled(system: &str, service: &str, instance: &str) -> BTreeMap<String, String> {
    [
        (labels::MANAGED_BY, labels::MANAGER),
        (labels::SYSTEM, system),
        (labels::SERVICE, service),
        (labels::INSTANCE, instance),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn without(key: &str) -> BTreeMap<String, String> {
    let mut labels = labelled("shop", "redis", "06");
    labels.remove(key);
    labels
}

/// Everything an adoptable machine of test needs.
fn free() -> Surroundings {
    Surroundings {
        namespace: Some(Environment::Test),
        service: Some(ServiceId::from_bits(1)),
        ..Surroundings::default()
    }
}

fn of(labels: &BTreeMap<String, String>, around: &Surroundings) -> Standing {
    standing(labels, None, false, Environment::Test, around)
}

#[test]
fn a_machine_with_a_free_number_of_an_existing_service_is_a_candidate() {
    let claim = Claim {
        system: "shop".to_owned(),
        service: "redis".to_owned(),
        instance: "06".to_owned(),
        index: 6,
    };
    assert_eq!(
        of(&labelled("shop", "redis", "06"), &free()),
        Standing::Candidate(claim)
    );
}

#[test]
fn a_machine_without_the_label_is_foreign_whatever_else_it_says() {
    assert_eq!(of(&without(labels::MANAGED_BY), &free()), Standing::Foreign);
    let mut others = labelled("shop", "redis", "06");
    others.insert(labels::MANAGED_BY.to_owned(), "somebody-else".to_owned());
    assert_eq!(of(&others, &free()), Standing::Foreign);
    assert_eq!(of(&BTreeMap::new(), &free()), Standing::Foreign);
}

#[test]
fn a_machine_with_a_row_is_known_also_with_damaged_labels() {
    let known = Surroundings { known: true, ..free() };
    assert_eq!(of(&labelled("shop", "redis", "06"), &known), Standing::Known);
    assert_eq!(of(&without(labels::SERVICE), &known), Standing::Known);
}

#[test]
fn each_obstacle_makes_an_orphan() {
    let labels = labelled("shop", "redis", "06");
    let cases = [
        (
            Surroundings {
                id_taken: true,
                ..free()
            },
            Obstacle::VmIdTaken,
        ),
        (
            Surroundings {
                namespace: None,
                ..free()
            },
            Obstacle::NamespaceNotRegistered,
        ),
        (
            Surroundings {
                namespace: Some(Environment::Prod),
                ..free()
            },
            Obstacle::EnvironmentMismatch,
        ),
        (
            Surroundings {
                service: None,
                ..free()
            },
            Obstacle::ServiceNotFound,
        ),
        (
            Surroundings {
                instance_taken: true,
                ..free()
            },
            Obstacle::InstanceTaken,
        ),
        (
            Surroundings {
                name_taken: true,
                ..free()
            },
            Obstacle::NameTaken,
        ),
    ];
    for (around, obstacle) in cases {
        assert_eq!(of(&labels, &around), Standing::Orphan(obstacle));
    }
    for key in [labels::SYSTEM, labels::SERVICE, labels::INSTANCE] {
        assert_eq!(
            of(&without(key), &free()),
            Standing::Orphan(Obstacle::LabelsIncomplete),
            "{key}"
        );
    }
    let deleted = standing(&labels, None, true, Environment::Test, &free());
    assert_eq!(deleted, Standing::Orphan(Obstacle::BeingDeleted));
    let odd = standing(&labels, Some("row 7"), false, Environment::Test, &free());
    assert_eq!(odd, Standing::Orphan(Obstacle::VmIdInvalid));
}

#[test]
fn an_instance_is_written_as_the_platform_writes_it() {
    for (instance, index) in [
        ("01", 1),
        ("06", 6),
        ("10", 10),
        ("100", 100),
        ("2147483646", i32::MAX - 1),
    ] {
        let claim = Claim::read(&labelled("shop", "redis", instance)).unwrap();
        assert_eq!(claim.index, index);
    }
    for instance in [
        "0",
        "00",
        "6",
        "006",
        "+6",
        "-1",
        "6a",
        " 06",
        "2147483647",
        "99999999999",
    ] {
        let read = Claim::read(&labelled("shop", "redis", instance));
        assert_eq!(read, Err(Obstacle::InstanceInvalid), "{instance}");
    }
}

#[test]
fn an_annotation_names_a_row_or_nothing() {
    assert_eq!(annotated_row(None), Ok(None));
    assert_eq!(annotated_row(Some(ROW)), Ok(Some(ROW.parse().unwrap())));
    assert_eq!(annotated_row(Some("")), Err(Obstacle::VmIdInvalid));
}

proptest! {
    #[test]
    fn every_number_the_platform_hands_out_is_read_back(index in 1..i32::MAX) {
        let claim = Claim::read(&labelled("shop", "redis", &format!("{index:02}"))).unwrap();
        prop_assert_eq!(claim.index, index);
    }

    #[test]
    fn what_can_be_adopted_meets_no_obstacle_and_the_reverse(
        known: bool, id_taken: bool, name_taken: bool, instance_taken: bool, being_deleted: bool,
        namespace in prop::sample::select(vec![None, Some(Environment::Test), Some(Environment::Prod)]),
        service: bool,
    ) {
        let around = Surroundings {
            known,
            id_taken,
            name_taken,
            namespace,
            service: service.then(|| ServiceId::from_bits(1)),
            instance_taken,
        };
        let found = standing(&labelled("shop", "redis", "06"), Some(ROW), being_deleted, Environment::Test, &around);
        let free = !known && !id_taken && !name_taken && !instance_taken && !being_deleted && service
            && namespace == Some(Environment::Test);
        prop_assert_eq!(matches!(found, Standing::Candidate(_)), free);
        prop_assert_eq!(found == Standing::Known, known);
    }
}
