//! Instance sizes against catalog.md §2.

use proptest::prelude::*;
use serde_json::{Map, json};
use shepherd_domain::ErrorCode;
use shepherd_domain::catalog::{GpuDevice, InstanceSize, SizeDraft};
use shepherd_domain::ids::InstanceSizeId;
use shepherd_domain::problem::{FieldCode, Problem};

const ID: InstanceSizeId = InstanceSizeId::from_bits(1);

/// 4 cores, 8 GiB, 100 GiB of disk between 50 and 500, nothing special.
pub(crate) fn draft() -> SizeDraft {
    SizeDraft {
        name: "large".to_owned(),
        display_name: None,
        description: None,
        cpu_cores: Some(4),
        memory_mb: Some(8192),
        disk_gb: 100,
        min_disk_gb: 50,
        max_disk_gb: 500,
        cpu_request: None,
        memory_request_mb: None,
        dedicated_cpu: None,
        requires_gpu: None,
        requires_sriov: None,
        requires_hugepages: None,
        hugepages_size: None,
        gpu_devices: None,
        spec_overrides: Map::new(),
        sort_order: 0,
        enabled: true,
    }
}

/// That size with some of it changed.
pub(crate) fn size_of(change: impl FnOnce(&mut SizeDraft)) -> InstanceSize {
    match parse(change) {
        Ok(size) => size,
        Err(problem) => panic!("{problem}"),
    }
}

fn parse(change: impl FnOnce(&mut SizeDraft)) -> Result<InstanceSize, Problem> {
    let mut draft = draft();
    change(&mut draft);
    draft.into_size(ID)
}

fn gpu(device_name: &str) -> GpuDevice {
    GpuDevice {
        name: "gpu1".to_owned(),
        device_name: device_name.to_owned(),
    }
}

#[test]
fn an_ordinary_size_keeps_what_it_was_given() {
    let size = size_of(|_| {});
    assert_eq!((size.id, size.name.as_str()), (ID, "large"));
    assert_eq!((size.cpu_cores, size.memory_mb), (4, 8192));
    assert_eq!((size.min_disk_gb, size.disk_gb, size.max_disk_gb), (50, 100, 500));
    assert_eq!(size.capabilities, Vec::<String>::new());
}

#[test]
fn a_size_says_only_what_is_special_about_it() {
    let draft: SizeDraft = serde_json::from_str(r#"{"name": "s", "cpu_cores": 1, "memory_mb": 512}"#).unwrap();
    assert_eq!((draft.min_disk_gb, draft.disk_gb, draft.max_disk_gb), (50, 100, 500));
    assert!(draft.enabled && draft.dedicated_cpu.is_none() && draft.gpu_devices.is_none());
    assert!(serde_json::from_str::<SizeDraft>(r#"{"name": "s", "cpu_cores": 1, "memory_mb": 512, "gpu": 1}"#).is_err());
}

#[test]
fn a_field_outside_its_range_is_named() {
    type Change = fn(&mut SizeDraft);
    let cases: [(&str, FieldCode, Change); 26] = [
        ("name", FieldCode::InvalidFormat, |draft| draft.name = String::new()),
        ("name", FieldCode::InvalidFormat, |draft| {
            draft.name = "Large".to_owned()
        }),
        ("name", FieldCode::InvalidFormat, |draft| {
            draft.name = "1large".to_owned()
        }),
        ("name", FieldCode::InvalidFormat, |draft| {
            draft.name = "large-".to_owned()
        }),
        ("name", FieldCode::InvalidFormat, |draft| draft.name = "l".repeat(64)),
        ("cpu_cores", FieldCode::OutOfRange, |draft| draft.cpu_cores = Some(0)),
        ("memory_mb", FieldCode::OutOfRange, |draft| draft.memory_mb = Some(-1)),
        ("cpu_request", FieldCode::OutOfRange, |draft| {
            draft.cpu_request = Some(0)
        }),
        ("memory_request_mb", FieldCode::OutOfRange, |draft| {
            draft.memory_request_mb = Some(0)
        }),
        ("disk_gb", FieldCode::OutOfRange, |draft| draft.disk_gb = 49),
        ("disk_gb", FieldCode::OutOfRange, |draft| draft.disk_gb = 501),
        ("disk_gb", FieldCode::OutOfRange, |draft| draft.min_disk_gb = 501),
        ("min_disk_gb", FieldCode::OutOfRange, |draft| draft.min_disk_gb = 0),
        ("hugepages_size", FieldCode::Required, |draft| {
            draft.requires_hugepages = Some(true)
        }),
        ("hugepages_size", FieldCode::UnknownValue, |draft| {
            draft.hugepages_size = Some("2Mi".to_owned())
        }),
        ("hugepages_size", FieldCode::UnknownValue, |draft| {
            draft.requires_hugepages = Some(true);
            draft.hugepages_size = Some("4Ki".to_owned());
        }),
        ("memory_mb", FieldCode::OutOfRange, |draft| {
            draft.requires_hugepages = Some(true);
            draft.hugepages_size = Some("1Gi".to_owned());
            draft.memory_mb = Some(1536);
        }),
        ("gpu_devices[0]", FieldCode::InvalidFormat, |draft| {
            draft.gpu_devices = Some(vec![gpu("")])
        }),
        ("gpu_devices[0]", FieldCode::InvalidFormat, |draft| {
            draft.gpu_devices = Some(vec![gpu(&"d".repeat(254))])
        }),
        ("cpu_cores", FieldCode::Required, |draft| draft.cpu_cores = None),
        ("memory_mb", FieldCode::Required, |draft| draft.memory_mb = None),
        ("display_name", FieldCode::TooLong, |draft| {
            draft.display_name = Some("\u{e4}".repeat(256))
        }),
        ("description", FieldCode::TooLong, |draft| {
            draft.description = Some("d".repeat(2_049))
        }),
        ("requires_gpu", FieldCode::UnknownValue, |draft| {
            draft.requires_gpu = Some(false);
            draft.gpu_devices = Some(vec![gpu("nvidia.com/A10")]);
        }),
        ("gpu_devices", FieldCode::TooLong, |draft| {
            draft.gpu_devices = Some(vec![gpu("nvidia.com/A10"); 17])
        }),
        ("hugepages_size", FieldCode::UnknownValue, |draft| {
            draft.requires_hugepages = Some(false);
            draft.hugepages_size = Some("2Mi".to_owned());
        }),
    ];
    for (field, code, change) in cases {
        let problem = parse(change).unwrap_err();
        assert_eq!(problem.code, ErrorCode::ValidationFailed, "{problem}");
        let fields: Vec<_> = problem
            .field_errors
            .iter()
            .map(|error| (error.field.as_str(), error.code))
            .collect();
        assert_eq!(fields, [(field, code)]);
    }
}

#[test]
fn texts_are_counted_in_characters() {
    let size = size_of(|draft| {
        draft.display_name = Some("\u{e4}".repeat(255));
        draft.description = Some("\u{e4}".repeat(2_048));
    });
    assert!(size.display_name.is_some() && size.description.is_some());
}

#[test]
fn a_snapshot_comes_back_as_it_was_and_one_without_overrides_is_read() {
    let size = size_of(|draft| {
        draft.gpu_devices = Some(vec![gpu("nvidia.com/A10")]);
        draft.spec_overrides = json!({"spec": {"template": {"spec": {"domain": {"ioThreadsPolicy": "auto"}}}}})
            .as_object()
            .cloned()
            .unwrap();
    });
    let snapshot = serde_json::to_value(&size).unwrap();
    assert_eq!(
        snapshot["spec_overrides"],
        json!({"spec.template.spec.domain.ioThreadsPolicy": "auto"})
    );
    let read: InstanceSize = serde_json::from_value(snapshot.clone()).unwrap();
    assert_eq!(read, size);
    let mut old = snapshot;
    old.as_object_mut().unwrap().remove("spec_overrides");
    let read: InstanceSize = serde_json::from_value(old).unwrap();
    assert!(read.spec_overrides.is_empty());
}

#[test]
fn all_field_errors_come_at_once() {
    let problem = parse(|draft| {
        draft.name = String::new();
        draft.cpu_cores = Some(0);
        draft.disk_gb = 0;
    })
    .unwrap_err();
    let fields: Vec<_> = problem.field_errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["name", "cpu_cores", "disk_gb"]);
}

#[test]
fn more_cannot_be_guaranteed_than_there_is() {
    type Change = fn(&mut SizeDraft);
    let cases: [(&str, Change); 2] = [
        ("cpu", |draft| draft.cpu_request = Some(5)),
        ("memory", |draft| draft.memory_request_mb = Some(8193)),
    ];
    for (resource, change) in cases {
        let problem = parse(change).unwrap_err();
        assert_eq!(problem.code, ErrorCode::OvercommitInvalid);
        assert_eq!(problem.params["resource"], resource);
    }
    assert!(
        parse(|draft| {
            draft.cpu_request = Some(4);
            draft.memory_request_mb = Some(1);
        })
        .is_ok()
    );
}

#[test]
fn dedicated_cpus_exclude_overcommit_of_cpu_and_of_memory() {
    let dedicated = |cpu_request, memory_request_mb| {
        parse(|draft| {
            draft.dedicated_cpu = Some(true);
            draft.cpu_request = cpu_request;
            draft.memory_request_mb = memory_request_mb;
        })
    };
    assert!(dedicated(None, None).is_ok());
    assert!(dedicated(Some(4), Some(8192)).is_ok());
    for (cpu_request, memory_request_mb) in [(Some(2), None), (None, Some(4096)), (Some(2), Some(4096))] {
        let problem = dedicated(cpu_request, memory_request_mb).unwrap_err();
        assert_eq!(problem.code, ErrorCode::DedicatedCpuOvercommitConflict);
    }
}

#[test]
fn special_hardware_becomes_capability_keys() {
    let keys = |change: fn(&mut SizeDraft)| size_of(change).capabilities;
    assert_eq!(keys(|draft| draft.requires_gpu = Some(true)), ["gpu"]);
    assert_eq!(keys(|draft| draft.requires_sriov = Some(true)), ["sriov"]);
    assert_eq!(
        keys(|draft| draft.gpu_devices = Some(vec![gpu("nvidia.com/A10")])),
        ["gpu:nvidia.com/A10"]
    );
    assert_eq!(
        keys(|draft| draft.gpu_devices = Some(vec![gpu("nvidia.com/A10"), gpu("nvidia.com/A10")])),
        ["gpu:nvidia.com/A10"]
    );
    let everything = keys(|draft| {
        draft.requires_gpu = Some(true);
        draft.gpu_devices = Some(vec![gpu("nvidia.com/A10")]);
        draft.requires_sriov = Some(true);
        draft.requires_hugepages = Some(true);
        draft.hugepages_size = Some("1Gi".to_owned());
    });
    assert_eq!(everything, ["gpu:nvidia.com/A10", "hugepages:1gi", "sriov"]);
    assert!(size_of(|draft| draft.gpu_devices = Some(vec![gpu("nvidia.com/A10")])).requires_gpu);
}

#[test]
fn a_disk_must_be_within_the_range_of_the_size() {
    let size = size_of(|_| {});
    for (disk_gb, fits) in [
        (49, false),
        (50, true),
        (100, true),
        (500, true),
        (501, false),
        (-1, false),
    ] {
        let checked = size.check_disk(disk_gb).map_err(|problem| problem.code);
        assert_eq!(
            checked,
            if fits {
                Ok(())
            } else {
                Err(ErrorCode::DiskSizeOutOfRange)
            },
            "{disk_gb} GiB"
        );
    }
}

proptest! {
    #[test]
    fn a_size_is_accepted_exactly_when_all_rules_hold(
        cpu in -1..10_i32,
        memory in -1..5_000_i32,
        disk in prop::array::uniform3(-1..10_i32),
        cpu_request in prop::option::of(-1..10_i32),
        memory_request in prop::option::of(-1..5_000_i32),
        dedicated: bool,
        hugepages: bool,
        page in prop::option::of(prop::sample::select(vec!["2Mi", "1Gi", "2mi", "64Ki"])),
    ) {
        let [min_disk, of_disk, max_disk] = disk;
        let parsed = parse(|draft| {
            draft.cpu_cores = Some(cpu);
            draft.memory_mb = Some(memory);
            (draft.min_disk_gb, draft.disk_gb, draft.max_disk_gb) = (min_disk, of_disk, max_disk);
            (draft.cpu_request, draft.memory_request_mb) = (cpu_request, memory_request);
            draft.dedicated_cpu = Some(dedicated);
            draft.requires_hugepages = Some(hugepages);
            draft.hugepages_size = page.map(str::to_owned);
        });
        let positive = [Some(cpu), Some(memory), cpu_request, memory_request, Some(min_disk)];
        let pages_fit = match (hugepages, page) {
            (false, None) => true,
            (true, Some("2Mi")) => memory % 2 == 0,
            (true, Some("1Gi")) => memory % 1024 == 0,
            (true, _) | (false, Some(_)) => false,
        };
        let fields_hold = positive.into_iter().flatten().all(|number| number > 0)
            && min_disk <= of_disk
            && of_disk <= max_disk
            && pages_fit;
        let requests = [(cpu_request, cpu), (memory_request, memory)];
        let requests_hold = requests.into_iter().all(|(request, limit)| match request {
            None => true,
            Some(request) if dedicated => request == limit,
            Some(request) => request <= limit,
        });
        prop_assert_eq!(parsed.is_ok(), fields_hold && requests_hold);
        if let Err(problem) = parsed {
            prop_assert_eq!(problem.code == ErrorCode::ValidationFailed, !fields_hold);
        }
    }
}
