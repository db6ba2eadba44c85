//! Which clusters are eligible, and in which order.

use proptest::prelude::*;
use shepherd_domain::catalog::{GpuDevice, InstanceSize};
use shepherd_domain::cluster::{ClusterStatus, DetectedCapabilities};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::placement::{Candidate, eligible};
use shepherd_domain::problem::WarningCode;
use shepherd_domain::{Environment, ErrorCode};

use crate::sizes;

/// A healthy test cluster without special hardware.
fn cluster(name: &str) -> Candidate {
    Candidate {
        id: ClusterId::from_bits(1),
        name: name.to_owned(),
        environment: Environment::Test,
        status: ClusterStatus::Healthy,
        enabled: true,
        capabilities: DetectedCapabilities::default(),
        storage_classes: vec!["fast".to_owned(), "slow".to_owned()],
        default_storage_class: Some("slow".to_owned()),
        scheduling_weight: 100,
        vm_count: 0,
    }
}

fn gpu_size() -> InstanceSize {
    sizes::size_of(|draft| {
        draft.gpu_devices = Some(vec![GpuDevice {
            name: "gpu1".to_owned(),
            device_name: "nvidia.com/A10".to_owned(),
        }]);
    })
}

/// Fit for the size of [`gpu_size`].
fn gpu_cluster(name: &str) -> Candidate {
    let mut candidate = cluster(name);
    candidate.capabilities.gpu_devices.insert("nvidia.com/A10".to_owned());
    candidate
}

fn refusal(candidate: &Candidate, size: &InstanceSize) -> Option<ErrorCode> {
    candidate
        .admit("test-shop", Environment::Test, size)
        .err()
        .map(|problem| problem.code)
}

#[test]
fn a_cluster_that_fits_is_admitted() {
    assert_eq!(refusal(&cluster("a"), &sizes::size_of(|_| {})), None);
    assert_eq!(refusal(&gpu_cluster("a"), &gpu_size()), None);
}

#[test]
fn the_first_thing_that_is_wrong_is_named() {
    let mut candidate = cluster("a");
    candidate.environment = Environment::Prod;
    candidate.status = ClusterStatus::Unreachable;
    candidate.enabled = false;
    assert_eq!(refusal(&candidate, &gpu_size()), Some(ErrorCode::ValidationFailed));
    candidate.enabled = true;
    assert_eq!(refusal(&candidate, &gpu_size()), Some(ErrorCode::ClusterUnhealthy));
    candidate.status = ClusterStatus::Healthy;
    assert_eq!(
        refusal(&candidate, &gpu_size()),
        Some(ErrorCode::NamespaceClusterEnvMismatch)
    );
    candidate.environment = Environment::Test;
    assert_eq!(refusal(&candidate, &gpu_size()), Some(ErrorCode::CapabilityMissing));
}

#[test]
fn only_a_healthy_cluster_is_admitted() {
    for status in [
        ClusterStatus::Unknown,
        ClusterStatus::Unhealthy,
        ClusterStatus::Unreachable,
    ] {
        let candidate = Candidate { status, ..cluster("a") };
        assert_eq!(
            refusal(&candidate, &sizes::size_of(|_| {})),
            Some(ErrorCode::ClusterUnhealthy),
            "{status}"
        );
    }
}

#[test]
fn missing_capabilities_are_listed() {
    let problem = cluster("a")
        .admit("test-shop", Environment::Test, &gpu_size())
        .unwrap_err();
    assert_eq!(problem.params["missing"], serde_json::json!(["gpu:nvidia.com/A10"]));
}

#[test]
fn a_capability_key_is_covered_by_what_was_detected() {
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let detected = DetectedCapabilities {
        gpu_devices: set(&["nvidia.com/A10"]),
        hugepages: set(&["2mi"]),
        sriov_networks: set(&["infra/fast"]),
        ..DetectedCapabilities::default()
    };
    for key in ["gpu", "gpu:nvidia.com/A10", "hugepages", "hugepages:2mi", "sriov"] {
        assert!(detected.covers(key), "{key}");
        assert!(!DetectedCapabilities::default().covers(key), "{key}");
    }
    for key in [
        "gpu:nvidia.com/A100",
        "gpu:nvidia.com/a10",
        "hugepages:1gi",
        "sriov:infra/fast",
        "tpu",
        "",
    ] {
        assert!(!detected.covers(key), "{key}");
    }
}

#[test]
fn the_storage_class_is_the_chosen_one_or_the_default_or_none_with_a_warning() {
    let candidate = cluster("a");
    assert_eq!(
        candidate.storage_class(Some("fast")).unwrap(),
        (Some("fast".to_owned()), None)
    );
    for nothing in [None, Some("")] {
        assert_eq!(
            candidate.storage_class(nothing).unwrap(),
            (Some("slow".to_owned()), None)
        );
    }
    assert_eq!(
        candidate.storage_class(Some("other")).unwrap_err().code,
        ErrorCode::StorageClassNotFound
    );
    let without_default = Candidate {
        default_storage_class: None,
        ..candidate
    };
    let (class, warning) = without_default.storage_class(None).unwrap();
    assert_eq!(
        (class, warning.map(|warning| warning.code)),
        (None, Some(WarningCode::NoDefaultStorageClass))
    );
}

#[test]
fn weight_counts_for_a_cluster_and_load_against_it() {
    let clusters = [
        Candidate {
            scheduling_weight: 100,
            vm_count: 60,
            ..cluster("busy")
        },
        Candidate {
            scheduling_weight: 50,
            vm_count: 0,
            ..cluster("light")
        },
        Candidate {
            scheduling_weight: 100,
            vm_count: 50,
            ..cluster("even")
        },
        Candidate {
            scheduling_weight: 1000,
            vm_count: 0,
            status: ClusterStatus::Unhealthy,
            ..cluster("broken")
        },
    ];
    let names: Vec<_> = eligible(&clusters, "test-shop", Environment::Test, &sizes::size_of(|_| {}))
        .iter()
        .map(|candidate| candidate.name.as_str())
        .collect();
    assert_eq!(names, ["even", "light", "busy"]);
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let statuses = vec![
        ClusterStatus::Healthy,
        ClusterStatus::Healthy,
        ClusterStatus::Unknown,
        ClusterStatus::Unreachable,
    ];
    (
        "[a-d]",
        prop::sample::select(Environment::ALL.to_vec()),
        prop::sample::select(statuses),
        any::<bool>(),
        any::<bool>(),
        0..4_i32,
        0..4_i64,
    )
        .prop_map(
            |(name, environment, status, enabled, has_gpu, scheduling_weight, vm_count)| Candidate {
                environment,
                status,
                enabled,
                scheduling_weight,
                vm_count,
                ..if has_gpu { gpu_cluster(&name) } else { cluster(&name) }
            },
        )
}

proptest! {
    #[test]
    fn the_eligible_clusters_are_those_admitted_best_first(
        clusters in prop::collection::vec(candidate(), 0..8),
        special: bool,
    ) {
        let size = if special { gpu_size() } else { sizes::size_of(|_| {}) };
        let found = eligible(&clusters, "prod-shop", Environment::Prod, &size);
        let fits = |cluster: &&Candidate| {
            cluster.enabled
                && cluster.status == ClusterStatus::Healthy
                && cluster.environment == Environment::Prod
                && (!special || cluster.capabilities.gpu_devices.contains("nvidia.com/A10"))
        };
        prop_assert_eq!(found.len(), clusters.iter().filter(fits).count());
        prop_assert!(found.iter().all(fits));
        for pair in found.windows(2) {
            let of = |cluster: &Candidate| i64::from(cluster.scheduling_weight) - cluster.vm_count;
            let in_order = of(pair[0]) > of(pair[1]) || (of(pair[0]) == of(pair[1]) && pair[0].name <= pair[1].name);
            prop_assert!(in_order, "{} before {}", pair[0].name, pair[1].name);
        }
    }
}
