//! Columns that follow from overrides, against the table of catalog.md §2.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shepherd_domain::ErrorCode;
use shepherd_domain::catalog::{GpuDevice, InstanceSize, SizeDraft, SizePatch};
use shepherd_domain::ids::InstanceSizeId;
use shepherd_domain::problem::{FieldCode, Problem};

use crate::sizes::{draft, size_of};

const CORES: &str = "spec.template.spec.domain.cpu.cores";
const DEDICATED: &str = "spec.template.spec.domain.cpu.dedicatedCpuPlacement";
const REQUESTED: &str = "spec.template.spec.domain.resources.requests.memory";
const GUEST: &str = "spec.template.spec.domain.memory.guest";
const PAGE_SIZE: &str = "spec.template.spec.domain.memory.hugepages.pageSize";
const GPUS: &str = "spec.template.spec.domain.devices.gpus";
const INTERFACES: &str = "spec.template.spec.domain.devices.interfaces";

fn overrides(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn one(path: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(path.to_owned(), value)])
}

/// 4 cores and 8 GiB that are given, and these overrides.
fn with(overrides: Map<String, Value>, change: impl FnOnce(&mut SizeDraft)) -> Result<InstanceSize, Problem> {
    let mut draft = draft();
    draft.spec_overrides = overrides;
    change(&mut draft);
    draft.into_size(InstanceSizeId::from_bits(1))
}

fn derived(overrides: Map<String, Value>) -> InstanceSize {
    with(overrides, |_| {}).unwrap_or_else(|problem| panic!("{problem}"))
}

/// A size whose numbers both come from overrides.
fn numberless(draft: &mut SizeDraft) {
    draft.cpu_cores = None;
    draft.memory_mb = None;
}

fn gpu(name: &str, device_name: &str) -> GpuDevice {
    GpuDevice {
        name: name.to_owned(),
        device_name: device_name.to_owned(),
    }
}

fn patched(size: &InstanceSize, patch: SizePatch) -> InstanceSize {
    size.clone()
        .patched(patch)
        .unwrap_or_else(|problem| panic!("{problem}"))
}

fn fields(problem: &Problem) -> Vec<(&str, FieldCode)> {
    let errors = problem.field_errors.iter();
    errors.map(|error| (error.field.as_str(), error.code)).collect()
}

#[test]
fn absent_columns_are_filled_from_overrides() {
    let numbers = |memory: &str, value: Value| {
        let both = overrides(json!({CORES: 6.0, memory: value}));
        let size = with(both, numberless).unwrap_or_else(|problem| panic!("{problem}"));
        (size.cpu_cores, size.memory_mb)
    };
    for path in [REQUESTED, GUEST] {
        assert_eq!(numbers(path, json!("12Gi")), (6, 12_288), "{path}");
        assert_eq!(numbers(path, json!("1.5Gi")), (6, 1_536), "{path}");
        assert_eq!(numbers(path, json!(1_073_741_824)), (6, 1_024), "{path}");
    }
    let agreeing = overrides(json!({CORES: 6, REQUESTED: "2Gi", GUEST: "2048Mi"}));
    let size = with(agreeing, numberless).unwrap();
    assert_eq!(size.memory_mb, 2_048);

    assert!(derived(one(DEDICATED, json!(true))).dedicated_cpu);
    assert!(!derived(one(DEDICATED, json!(false))).dedicated_cpu);

    let size = derived(one(PAGE_SIZE, json!("1Gi")));
    assert!(size.requires_hugepages);
    assert_eq!(size.hugepages_size.as_deref(), Some("1Gi"));
    assert_eq!(size.capabilities, ["hugepages:1gi"]);
}

#[test]
fn gpus_are_found_in_every_spelling() {
    for overrides in [
        json!({GPUS: [{"name": "gpu1", "deviceName": "nvidia.com/A10", "tag": "x"}]}),
        json!({format!("{GPUS}[0]"): {"name": "gpu1", "deviceName": "nvidia.com/A10"}}),
        json!({format!("{GPUS}[0].name"): "gpu1", format!("{GPUS}[0]['deviceName']"): "nvidia.com/A10"}),
        json!({format!("{GPUS}[name=gpu1].deviceName"): "nvidia.com/A10"}),
        json!({"spec": {"template": {"spec": {"domain": {"devices": {
            "gpus": [{"name": "gpu1", "deviceName": "nvidia.com/A10"}],
        }}}}}}),
    ] {
        let size = derived(self::overrides(overrides));
        assert_eq!(size.gpu_devices, [gpu("gpu1", "nvidia.com/A10")]);
        assert!(size.requires_gpu);
        assert_eq!(size.capabilities, ["gpu:nvidia.com/A10"]);
    }
    let none = derived(one(GPUS, json!([])));
    assert!(none.gpu_devices.is_empty() && !none.requires_gpu && none.capabilities.is_empty());
}

#[test]
fn more_about_a_gpu_of_the_column_says_nothing_about_the_column() {
    let more = one(
        &format!("{GPUS}[name=gpu1].virtualGPUOptions.display.enabled"),
        json!(false),
    );
    let size = with(more, |draft| {
        draft.gpu_devices = Some(vec![gpu("gpu1", "nvidia.com/A10")])
    })
    .unwrap();
    assert_eq!(size.gpu_devices, [gpu("gpu1", "nvidia.com/A10")]);
}

#[test]
fn an_sriov_interface_asks_for_sriov() {
    for overrides in [
        one(
            INTERFACES,
            json!([{"name": "default", "masquerade": {}}, {"name": "fast", "sriov": {}}]),
        ),
        one(&format!("{INTERFACES}[name=fast].sriov"), json!({})),
        one(&format!("{INTERFACES}[name=fast]"), json!({"sriov": {}})),
        one(&format!("{INTERFACES}[1].sriov"), json!({})),
    ] {
        let size = derived(overrides);
        assert!(size.requires_sriov);
        assert_eq!(size.capabilities, ["sriov"]);
    }
    assert!(!derived(one(INTERFACES, json!([{"name": "default", "masquerade": {}}]))).requires_sriov);
}

#[test]
fn a_value_no_column_can_have_is_refused() {
    for (path, value, reason) in [
        (CORES, json!("4"), "type"),
        (CORES, json!(1.5), "type"),
        (CORES, json!(true), "type"),
        (CORES, json!(3_000_000_000_i64), "type"),
        (REQUESTED, json!("lots"), "quantity"),
        (REQUESTED, json!(true), "quantity"),
        (REQUESTED, json!("1e9"), "quantity"),
        (REQUESTED, json!("-1Gi"), "quantity"),
        (REQUESTED, json!("1G"), "not_whole_mebibytes"),
        (GUEST, json!(1_048_577), "not_whole_mebibytes"),
        (DEDICATED, json!("true"), "type"),
        (PAGE_SIZE, json!(2), "type"),
        (GPUS, json!("gpu1"), "type"),
        (GPUS, json!([{"name": "gpu1", "deviceName": 1}]), "type"),
        (GPUS, json!([{"deviceName": "nvidia.com/A10"}]), "type"),
    ] {
        let problem = with(one(path, value.clone()), |draft| {
            numberless(draft);
            draft.gpu_devices = None;
        })
        .unwrap_err();
        assert_eq!(problem.code, ErrorCode::InvalidSpecOverrides, "{path} {value}");
        assert_eq!(problem.params["path"], path);
        assert_eq!(problem.params["reason"], reason, "{path} {value}");
    }
    let gap = one(&format!("{GPUS}[1]"), json!({"name": "b", "deviceName": "x"}));
    assert_eq!(with(gap, |_| {}).unwrap_err().params["reason"], "type");
}

#[test]
fn a_derived_column_is_held_to_the_rules_of_the_column() {
    let problem = with(one(CORES, json!(0)), |draft| draft.cpu_cores = None).unwrap_err();
    assert_eq!(fields(&problem), [("cpu_cores", FieldCode::OutOfRange)]);
    let problem = with(one(PAGE_SIZE, json!("64Ki")), |_| {}).unwrap_err();
    assert_eq!(fields(&problem), [("hugepages_size", FieldCode::UnknownValue)]);
    let odd = overrides(json!({PAGE_SIZE: "2Mi", GUEST: "1025Mi"}));
    let problem = with(odd, |draft| draft.memory_mb = None).unwrap_err();
    assert_eq!(fields(&problem), [("memory_mb", FieldCode::OutOfRange)]);
    let problem = with(one(CORES, json!(2)), |draft| {
        draft.cpu_cores = None;
        draft.cpu_request = Some(3);
    })
    .unwrap_err();
    assert_eq!(problem.code, ErrorCode::OvercommitInvalid);
    let requests: [fn(&mut SizeDraft); 2] = [
        |draft| draft.cpu_request = Some(3),
        |draft| draft.memory_request_mb = Some(4_096),
    ];
    for change in requests {
        let problem = with(one(DEDICATED, json!(true)), change).unwrap_err();
        assert_eq!(problem.code, ErrorCode::DedicatedCpuOvercommitConflict);
    }
    let problem = with(Map::new(), numberless).unwrap_err();
    assert_eq!(
        fields(&problem),
        [("cpu_cores", FieldCode::Required), ("memory_mb", FieldCode::Required)]
    );
}

#[test]
fn a_column_that_contradicts_an_override_is_a_conflict() {
    type Change = fn(&mut SizeDraft);
    let sriov_path = format!("{INTERFACES}[name=fast].sriov");
    let one_gpu = json!([{"name": "gpu1", "deviceName": "nvidia.com/A10"}]);
    let cases: [(&str, Value, &str, Value, Change); 11] = [
        (CORES, json!(8), "cpu_cores", json!(4), |_| {}),
        (REQUESTED, json!("16Gi"), "memory_mb", json!(8192), |_| {}),
        (GUEST, json!("16Gi"), "memory_mb", json!(8192), |_| {}),
        (DEDICATED, json!(true), "dedicated_cpu", json!(false), |draft| {
            draft.dedicated_cpu = Some(false)
        }),
        (DEDICATED, json!(false), "dedicated_cpu", json!(true), |draft| {
            draft.dedicated_cpu = Some(true)
        }),
        (PAGE_SIZE, json!("2Mi"), "hugepages_size", json!("1Gi"), |draft| {
            draft.requires_hugepages = Some(true);
            draft.hugepages_size = Some("1Gi".to_owned());
        }),
        (PAGE_SIZE, json!("2Mi"), "requires_hugepages", json!(false), |draft| {
            draft.requires_hugepages = Some(false)
        }),
        (GPUS, one_gpu.clone(), "gpu_devices", json!([]), |draft| {
            draft.gpu_devices = Some(vec![])
        }),
        (
            GPUS,
            one_gpu.clone(),
            "gpu_devices",
            json!([{"name": "gpu1", "device_name": "nvidia.com/A30"}]),
            |draft| draft.gpu_devices = Some(vec![gpu("gpu1", "nvidia.com/A30")]),
        ),
        (GPUS, one_gpu, "requires_gpu", json!(false), |draft| {
            draft.requires_gpu = Some(false)
        }),
        (
            sriov_path.as_str(),
            json!({}),
            "requires_sriov",
            json!(false),
            |draft| draft.requires_sriov = Some(false),
        ),
    ];
    for (path, value, column, column_value, change) in cases {
        let problem = with(one(path, value.clone()), change).unwrap_err();
        assert_eq!(problem.code, ErrorCode::SpecOverrideConflict, "{problem}");
        let expected = json!({
            "path": path, "column": column, "override_value": value, "column_value": column_value,
        });
        assert_eq!(Value::Object(problem.params), expected);
    }
    let disagreeing = overrides(json!({REQUESTED: "4Gi", GUEST: "8Gi"}));
    let problem = with(disagreeing, numberless).unwrap_err();
    assert_eq!(problem.code, ErrorCode::SpecOverrideConflict);
    assert_eq!(problem.params["column"], "memory_mb");
}

#[test]
fn a_column_that_says_the_same_is_none() {
    let size = with(
        overrides(json!({
            CORES: 4, GUEST: "8Gi", DEDICATED: true, PAGE_SIZE: "2Mi",
            GPUS: [{"name": "b", "deviceName": "x"}, {"name": "a", "deviceName": "x"}],
        })),
        |draft| {
            draft.dedicated_cpu = Some(true);
            draft.requires_hugepages = Some(true);
            draft.hugepages_size = Some("2Mi".to_owned());
            draft.requires_gpu = Some(true);
            draft.gpu_devices = Some(vec![gpu("a", "x"), gpu("b", "x")]);
        },
    )
    .unwrap();
    // The order of the overrides, in which their indices count.
    assert_eq!(size.gpu_devices, [gpu("b", "x"), gpu("a", "x")]);
    assert_eq!(size.capabilities, ["gpu:x", "hugepages:2mi"]);
}

#[test]
fn a_patch_changes_what_it_has_and_nothing_else() {
    let before = size_of(|draft| {
        draft.display_name = Some("Large".to_owned());
        draft.description = Some("Much".to_owned());
        draft.cpu_request = Some(2);
        draft.spec_overrides = one("spec.template.spec.subdomain", json!("x"));
    });
    assert_eq!(patched(&before, SizePatch::default()), before);
    let after = patched(
        &before,
        SizePatch {
            name: Some("larger".to_owned()),
            display_name: Some(None),
            cpu_cores: Some(8),
            cpu_request: Some(None),
            max_disk_gb: Some(1_000),
            requires_sriov: Some(true),
            enabled: Some(false),
            sort_order: Some(7),
            ..SizePatch::default()
        },
    );
    let expected = InstanceSize {
        name: "larger".to_owned(),
        display_name: None,
        cpu_cores: 8,
        cpu_request: None,
        max_disk_gb: 1_000,
        requires_sriov: true,
        capabilities: vec!["sriov".to_owned()],
        enabled: false,
        sort_order: 7,
        ..before
    };
    assert_eq!(after, expected);
}

#[test]
fn rules_hold_for_the_outcome_of_a_patch() {
    let size = size_of(|draft| {
        draft.cpu_request = Some(2);
        draft.requires_hugepages = Some(true);
        draft.hugepages_size = Some("1Gi".to_owned());
    });
    let refused = |patch: SizePatch| size.clone().patched(patch).unwrap_err();
    let problem = refused(SizePatch {
        cpu_cores: Some(1),
        ..SizePatch::default()
    });
    assert_eq!(problem.code, ErrorCode::OvercommitInvalid);
    let problem = refused(SizePatch {
        dedicated_cpu: Some(true),
        ..SizePatch::default()
    });
    assert_eq!(problem.code, ErrorCode::DedicatedCpuOvercommitConflict);
    for (patch, field) in [
        (
            SizePatch {
                memory_mb: Some(1_000),
                ..SizePatch::default()
            },
            "memory_mb",
        ),
        (
            SizePatch {
                max_disk_gb: Some(99),
                ..SizePatch::default()
            },
            "disk_gb",
        ),
        (
            SizePatch {
                hugepages_size: Some(None),
                ..SizePatch::default()
            },
            "hugepages_size",
        ),
        (
            SizePatch {
                requires_hugepages: Some(false),
                ..SizePatch::default()
            },
            "hugepages_size",
        ),
        (
            SizePatch {
                cpu_cores: Some(0),
                ..SizePatch::default()
            },
            "cpu_cores",
        ),
    ] {
        let problem = refused(patch);
        let named: Vec<&str> = fields(&problem).into_iter().map(|(field, _)| field).collect();
        assert_eq!(named, [field]);
    }
    let plain = patched(
        &size,
        SizePatch {
            requires_hugepages: Some(false),
            hugepages_size: Some(None),
            ..SizePatch::default()
        },
    );
    assert!(plain.capabilities.is_empty());
}

/// Everything that can follow from overrides does.
fn all_derived() -> InstanceSize {
    with(
        overrides(json!({
            CORES: 8, GUEST: "16Gi", DEDICATED: true, PAGE_SIZE: "2Mi",
            GPUS: [{"name": "gpu1", "deviceName": "x"}],
            format!("{INTERFACES}[name=fast].sriov"): {},
        })),
        numberless,
    )
    .unwrap_or_else(|problem| panic!("{problem}"))
}

#[test]
fn columns_follow_the_overrides_of_a_patch() {
    let after = patched(
        &all_derived(),
        SizePatch {
            spec_overrides: Some(overrides(json!({
                CORES: 2, REQUESTED: "1Gi", DEDICATED: false, PAGE_SIZE: "1Gi", GPUS: [],
            }))),
            ..SizePatch::default()
        },
    );
    assert_eq!(
        (after.cpu_cores, after.memory_mb, after.dedicated_cpu),
        (2, 1_024, false)
    );
    assert_eq!(after.hugepages_size.as_deref(), Some("1Gi"));
    assert!(after.gpu_devices.is_empty() && !after.requires_gpu && !after.requires_sriov);
    assert_eq!(after.capabilities, ["hugepages:1gi"]);
}

#[test]
fn columns_fall_back_when_a_patch_takes_their_overrides_away() {
    let after = patched(
        &all_derived(),
        SizePatch {
            spec_overrides: Some(Map::new()),
            ..SizePatch::default()
        },
    );
    assert_eq!((after.cpu_cores, after.memory_mb), (8, 16_384));
    assert!(!after.dedicated_cpu && !after.requires_hugepages && !after.requires_gpu && !after.requires_sriov);
    assert_eq!((after.hugepages_size, after.gpu_devices), (None, Vec::new()));
    assert!(after.spec_overrides.is_empty() && after.capabilities.is_empty());

    let given = size_of(|draft| {
        draft.dedicated_cpu = Some(true);
        draft.requires_sriov = Some(true);
        draft.gpu_devices = Some(vec![gpu("gpu1", "x")]);
        draft.spec_overrides = one("spec.template.spec.subdomain", json!("x"));
    });
    let after = patched(
        &given,
        SizePatch {
            spec_overrides: Some(Map::new()),
            ..SizePatch::default()
        },
    );
    assert!(after.dedicated_cpu && after.requires_sriov && after.requires_gpu);
    assert_eq!(after.gpu_devices, given.gpu_devices);
}

#[test]
fn a_patch_may_not_contradict_the_overrides_that_stay() {
    let size = all_derived();
    for (patch, column) in [
        (
            SizePatch {
                cpu_cores: Some(4),
                ..SizePatch::default()
            },
            "cpu_cores",
        ),
        (
            SizePatch {
                hugepages_size: Some(None),
                ..SizePatch::default()
            },
            "hugepages_size",
        ),
        (
            SizePatch {
                gpu_devices: Some(Vec::new()),
                ..SizePatch::default()
            },
            "gpu_devices",
        ),
        (
            SizePatch {
                requires_sriov: Some(false),
                ..SizePatch::default()
            },
            "requires_sriov",
        ),
    ] {
        let problem = size.clone().patched(patch).unwrap_err();
        assert_eq!(problem.code, ErrorCode::SpecOverrideConflict, "{problem}");
        assert_eq!(problem.params["column"], column);
    }
    let unparsable = SizePatch {
        spec_overrides: Some(one("spec.running", json!(true))),
        ..SizePatch::default()
    };
    assert_eq!(
        size.patched(unparsable).unwrap_err().code,
        ErrorCode::InvalidSpecOverrides
    );
}

#[test]
fn a_size_that_loses_its_gpus_needs_none() {
    let size = size_of(|draft| draft.gpu_devices = Some(vec![gpu("gpu1", "x")]));
    let without = |requires_gpu| {
        let patch = SizePatch {
            gpu_devices: Some(Vec::new()),
            requires_gpu,
            ..SizePatch::default()
        };
        patched(&size, patch).capabilities
    };
    assert_eq!(without(None), Vec::<String>::new());
    assert_eq!(without(Some(true)), ["gpu"]);
    let patch = SizePatch {
        requires_gpu: Some(false),
        ..SizePatch::default()
    };
    let problem = size.clone().patched(patch).unwrap_err();
    assert_eq!(fields(&problem), [("requires_gpu", FieldCode::UnknownValue)]);
}

proptest! {
    /// A size has the same columns whether it is created with the overrides or patched to have them.
    #[test]
    fn a_patch_leads_to_what_a_creation_does(
        cores in prop::option::of(1..9_i32),
        gib in prop::option::of(1..9_i32),
        dedicated in prop::option::of(any::<bool>()),
        page in prop::option::of(prop::sample::select(vec!["2Mi", "1Gi"])),
        devices in prop::option::of(0..3_usize),
        sriov: bool,
    ) {
        let mut given = Map::new();
        let mut put = |path: &str, value: Option<Value>| {
            if let Some(value) = value {
                given.insert(path.to_owned(), value);
            }
        };
        put(CORES, cores.map(Value::from));
        put(GUEST, gib.map(|gib| json!(format!("{gib}Gi"))));
        put(DEDICATED, dedicated.map(Value::from));
        put(PAGE_SIZE, page.map(Value::from));
        put(GPUS, devices.map(|count| {
            (0..count).map(|n| json!({"name": format!("gpu{n}"), "deviceName": "x"})).collect::<Vec<_>>().into()
        }));
        put(&format!("{INTERFACES}[name=fast].sriov"), sriov.then(|| json!({})));
        let created = with(given.clone(), |draft| {
            draft.cpu_cores = cores.is_none().then_some(4);
            draft.memory_mb = gib.is_none().then_some(8_192);
        }).unwrap();
        let patch = SizePatch { spec_overrides: Some(given), ..SizePatch::default() };
        let plain = size_of(|_| {});
        let patched = plain.clone().patched(patch).unwrap();
        prop_assert_eq!(&patched, &created);
        let back = patched.patched(SizePatch {
            spec_overrides: Some(Map::new()),
            cpu_cores: Some(plain.cpu_cores),
            memory_mb: Some(plain.memory_mb),
            ..SizePatch::default()
        }).unwrap();
        prop_assert_eq!(back, plain);
    }
}
