//! The effective spec is a replacement and never a merge (requests.md §6).

use proptest::prelude::*;
use shepherd_domain::catalog::InstanceSize;
use shepherd_domain::ids::{InstanceSizeId, ServiceId, TemplateId};
use shepherd_domain::spec::{CreateSpec, EffectiveNumbers, effective_spec};

use crate::sizes;

/// CPU limit, memory limit, CPU request, memory request, disk.
type Numbers = [Option<i32>; 5];

const NONE: Numbers = [None; 5];

fn spec([cpu_cores, memory_mb, cpu_request, memory_request_mb, disk_gb]: Numbers) -> CreateSpec {
    CreateSpec {
        service_id: ServiceId::from_bits(1),
        namespace: "prod-shop".to_owned(),
        template_id: TemplateId::from_bits(2),
        template_version: Some(3),
        instance_size_id: InstanceSizeId::from_bits(4),
        disk_gb,
        cpu_cores,
        memory_mb,
        cpu_request,
        memory_request_mb,
    }
}

fn listed(numbers: EffectiveNumbers) -> [i32; 5] {
    [
        numbers.cpu_cores,
        numbers.memory_mb,
        numbers.cpu_request,
        numbers.memory_request_mb,
        numbers.disk_gb,
    ]
}

/// 4 cores of which 2 are guaranteed, 8 GiB of which 4 are, 100 GiB of disk.
fn size() -> InstanceSize {
    sizes::size_of(|draft| {
        draft.cpu_request = Some(2);
        draft.memory_request_mb = Some(4096);
    })
}

fn numbers() -> impl Strategy<Value = Numbers> {
    prop::array::uniform5(prop::option::of(1..64))
}

#[test]
fn numbers_that_are_not_asked_for_are_the_sizes() {
    assert_eq!(
        listed(EffectiveNumbers::of(&spec(NONE), &size())),
        [4, 8192, 2, 4096, 100]
    );
    let guaranteed = sizes::size_of(|_| {});
    assert_eq!(
        listed(EffectiveNumbers::of(&spec(NONE), &guaranteed)),
        [4, 8192, 4, 8192, 100]
    );
}

#[test]
fn explicit_numbers_win_over_the_size() {
    let asked = spec([Some(8), Some(16_384), Some(1), Some(1024), Some(200)]);
    assert_eq!(listed(EffectiveNumbers::of(&asked, &size())), [8, 16_384, 1, 1024, 200]);
}

#[test]
fn a_request_of_the_size_never_exceeds_a_lowered_limit() {
    let asked = spec([Some(1), Some(2048), None, None, None]);
    assert_eq!(listed(EffectiveNumbers::of(&asked, &size())), [1, 2048, 1, 2048, 100]);
}

#[test]
fn a_field_that_the_replacement_leaves_out_falls_back_to_the_size_and_not_to_the_original() {
    let original = spec([Some(32), Some(65_536), Some(16), Some(32_768), Some(900)]);
    for kept in 0..5 {
        let mut numbers = NONE;
        numbers[kept] = Some(3);
        let replacement = spec(numbers);
        let effective = listed(EffectiveNumbers::of(
            effective_spec(&original, Some(&replacement)),
            &size(),
        ));
        let alone = listed(EffectiveNumbers::of(&replacement, &size()));
        assert_eq!(effective, alone);
        assert_eq!(effective[kept], 3);
        assert!(
            effective
                .iter()
                .all(|number| ![32, 65_536, 16, 32_768, 900].contains(number)),
            "{effective:?}"
        );
    }
}

#[test]
fn a_spec_with_a_key_that_the_platform_controls_is_not_read() {
    let mut json = serde_json::to_value(spec(NONE)).unwrap();
    assert!(serde_json::from_value::<CreateSpec>(json.clone()).is_ok());
    for key in [
        "cluster_id",
        "name",
        "labels",
        "cloud_init",
        "storage_class",
        "hostname",
        "instance",
    ] {
        json[key] = "x".into();
        assert!(serde_json::from_value::<CreateSpec>(json.clone()).is_err(), "{key}");
        json.as_object_mut().unwrap().remove(key);
    }
    for key in ["service_id", "namespace", "template_id", "instance_size_id"] {
        let mut incomplete = json.clone();
        incomplete.as_object_mut().unwrap().remove(key);
        assert!(serde_json::from_value::<CreateSpec>(incomplete).is_err(), "{key}");
    }
}

proptest! {
    #[test]
    fn a_replacement_hides_the_original_whatever_it_was(
        one in numbers(),
        other in numbers(),
        replacement in numbers(),
    ) {
        let (one, other, replacement) = (spec(one), spec(other), spec(replacement));
        prop_assert_eq!(effective_spec(&one, Some(&replacement)), &replacement);
        prop_assert_eq!(effective_spec(&one, Some(&replacement)), effective_spec(&other, Some(&replacement)));
        prop_assert_eq!(effective_spec(&one, None), &one);
    }

    #[test]
    fn every_number_is_the_specs_or_the_sizes(asked in numbers()) {
        let size = size();
        let numbers = EffectiveNumbers::of(&spec(asked), &size);
        let [cpu_cores, memory_mb, cpu_request, memory_request_mb, disk_gb] = asked;
        prop_assert_eq!(numbers.cpu_cores, cpu_cores.unwrap_or(4));
        prop_assert_eq!(numbers.memory_mb, memory_mb.unwrap_or(8192));
        prop_assert_eq!(numbers.cpu_request, cpu_request.unwrap_or(numbers.cpu_cores.min(2)));
        prop_assert_eq!(numbers.memory_request_mb, memory_request_mb.unwrap_or(numbers.memory_mb.min(4096)));
        prop_assert_eq!(numbers.disk_gb, disk_gb.unwrap_or(100));
        let overcommitted = numbers.cpu_request < numbers.cpu_cores || numbers.memory_request_mb < numbers.memory_mb;
        prop_assert_eq!(numbers.is_overcommitted(), overcommitted);
    }

    #[test]
    fn a_spec_survives_being_stored(asked in numbers()) {
        let spec = spec(asked);
        let json = serde_json::to_value(&spec).unwrap();
        prop_assert_eq!(serde_json::from_value::<CreateSpec>(json).unwrap(), spec);
    }
}
