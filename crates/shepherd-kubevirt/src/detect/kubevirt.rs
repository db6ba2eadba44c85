//! KubeVirt itself: whether it works, which version it is and what it can do.

use std::collections::BTreeSet;

use kube::Client;
use kube::core::DynamicObject;
use serde_json::Value;
use shepherd_domain::ids::ClusterId;
use shepherd_ports::providers::ProviderError;

use super::{items, list};
use crate::machines::kind;
use crate::plain::plain;

/// The phase of a KubeVirt that works.
const DEPLOYED: &str = "Deployed";
/// Features that are general from a version on, and no gate any more.
const GENERAL: [((u64, u64), &[&str]); 5] = [
    ((1, 0), &["LiveMigration"]),
    ((1, 4), &["NetworkHotplug", "CommonInstancetypesDeployment"]),
    ((1, 5), &["NUMA"]),
    ((1, 6), &["GPUAssignment"]),
    ((1, 7), &["NodeRestriction"]),
];

/// What is known about the KubeVirt of a cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct KubeVirt {
    /// Without a leading `v`.
    pub version: Option<String>,
    /// Why it cannot be used; `None` when it can.
    pub reason: Option<String>,
    /// Feature gates and general features, sorted.
    pub features: Vec<String>,
    /// Devices machines may ask for; `None` when that could not be read.
    pub permitted_devices: Option<BTreeSet<String>>,
}

/// Reads the KubeVirt resource.
///
/// # Errors
/// When the cluster was lost; a cluster that answers anything else has a KubeVirt that cannot be used.
pub(super) async fn read(client: &Client, cluster: ClusterId) -> Result<KubeVirt, ProviderError> {
    let error = match list(client, kind("kubevirt.io", "v1", "KubeVirt", "kubevirts")).await {
        Ok(found) => return Ok(describe(&found)),
        Err(ProviderError::NotFound(_)) => return Ok(describe(&[])),
        Err(error) => error,
    };
    match error {
        ProviderError::Unreachable(_)
        | ProviderError::Timeout(_)
        | ProviderError::Throttled { .. }
        | ProviderError::Unavailable(_) => Err(error),
        ProviderError::NotFound(_)
        | ProviderError::AlreadyExists(_)
        | ProviderError::Conflict(_)
        | ProviderError::Forbidden(_)
        | ProviderError::Invalid { .. }
        | ProviderError::Quota(_)
        | ProviderError::Unsupported(_)
        | ProviderError::Schema(_) => {
            tracing::warn!(%cluster, %error, "the KubeVirt resource cannot be read");
            Ok(KubeVirt {
                permitted_devices: None,
                ..unusable("UNREADABLE")
            })
        }
    }
}

fn describe(found: &[DynamicObject]) -> KubeVirt {
    let phase = |object: &DynamicObject| object.data["status"]["phase"].as_str().unwrap_or_default().to_owned();
    let Some(kubevirt) = found
        .iter()
        .find(|object| phase(object) == DEPLOYED)
        .or_else(|| found.first())
    else {
        return unusable("NOT_INSTALLED");
    };
    let status = &kubevirt.data["status"];
    let version = status["observedKubeVirtVersion"]
        .as_str()
        .map(|version| plain(version.trim_start_matches('v')))
        .filter(|version| !version.is_empty());
    let configuration = &kubevirt.data["spec"]["configuration"];
    KubeVirt {
        features: features(
            &configuration["developerConfiguration"]["featureGates"],
            version.as_deref(),
        ),
        permitted_devices: Some(permitted_devices(&configuration["permittedHostDevices"])),
        version,
        reason: reason(&phase(kubevirt)),
    }
}

fn unusable(why: &str) -> KubeVirt {
    KubeVirt {
        reason: Some(format!("KUBEVIRT_{why}")),
        permitted_devices: Some(BTreeSet::new()),
        ..KubeVirt::default()
    }
}

fn reason(phase: &str) -> Option<String> {
    match phase {
        DEPLOYED => None,
        "" => Some("KUBEVIRT_UNKNOWN".to_owned()),
        phase => Some(format!("KUBEVIRT_{}", plain(phase).to_ascii_uppercase())),
    }
}

fn features(gates: &Value, version: Option<&str>) -> Vec<String> {
    let gates = items(gates).iter().filter_map(Value::as_str);
    let running = version.and_then(major_minor);
    let general = GENERAL
        .iter()
        .filter(|(since, _)| running.is_some_and(|running| running >= *since))
        .flat_map(|(_, names)| names.iter().copied());
    let all: BTreeSet<String> = gates.chain(general).map(plain).collect();
    all.into_iter().collect()
}

/// Major and minor of `1.6.2-beta.0`; numbers, because 1.10 is newer than 1.9.
fn major_minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn permitted_devices(permitted: &Value) -> BTreeSet<String> {
    ["pciHostDevices", "mediatedDevices"]
        .iter()
        .flat_map(|list| items(&permitted[*list]))
        .filter_map(|device| device["resourceName"].as_str())
        .map(plain)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kubevirt(phase: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {"name": "kubevirt"},
            "spec": {"configuration": {
                "developerConfiguration": {"featureGates": ["Snapshot", "HostDevices"]},
                "permittedHostDevices": {
                    "pciHostDevices": [{"pciVendorSelector": "10DE:1EB8", "resourceName": "nvidia.com/TU104GL"}],
                    "mediatedDevices": [{"mdevNameSelector": "GRID T4-1Q", "resourceName": "nvidia.com/GRID_T4-1Q"}],
                },
            }},
            "status": {"phase": phase, "observedKubeVirtVersion": "v1.6.2"},
        }))
        .unwrap()
    }

    #[test]
    fn a_deployed_kubevirt_is_described() {
        let found = describe(&[kubevirt("Deploying"), kubevirt("Deployed")]);
        assert_eq!(found.reason, None);
        assert_eq!(found.version.as_deref(), Some("1.6.2"));
        assert_eq!(
            found.features,
            [
                "CommonInstancetypesDeployment",
                "GPUAssignment",
                "HostDevices",
                "LiveMigration",
                "NUMA",
                "NetworkHotplug",
                "Snapshot"
            ]
        );
        assert_eq!(
            found.permitted_devices.into_iter().flatten().collect::<Vec<_>>(),
            ["nvidia.com/GRID_T4-1Q", "nvidia.com/TU104GL"]
        );
    }

    #[test]
    fn anything_else_has_a_reason() {
        assert_eq!(describe(&[]).reason.as_deref(), Some("KUBEVIRT_NOT_INSTALLED"));
        assert_eq!(
            describe(&[kubevirt("Deploying")]).reason.as_deref(),
            Some("KUBEVIRT_DEPLOYING")
        );
        assert_eq!(describe(&[kubevirt("")]).reason.as_deref(), Some("KUBEVIRT_UNKNOWN"));
    }

    #[test]
    fn each_feature_is_general_from_its_version_on() {
        let table: [(&str, &[&str]); 12] = [
            ("0.59.2", &[]),
            ("1.0.0", &["LiveMigration"]),
            ("1.3.9", &["LiveMigration"]),
            (
                "1.4.0",
                &["CommonInstancetypesDeployment", "LiveMigration", "NetworkHotplug"],
            ),
            (
                "1.4.9",
                &["CommonInstancetypesDeployment", "LiveMigration", "NetworkHotplug"],
            ),
            (
                "1.5.0",
                &[
                    "CommonInstancetypesDeployment",
                    "LiveMigration",
                    "NUMA",
                    "NetworkHotplug",
                ],
            ),
            (
                "1.5.9",
                &[
                    "CommonInstancetypesDeployment",
                    "LiveMigration",
                    "NUMA",
                    "NetworkHotplug",
                ],
            ),
            ("1.6.0", &SINCE_1_6),
            ("1.6.99", &SINCE_1_6),
            ("1.7.0", &SINCE_1_7),
            ("1.10.0", &SINCE_1_7),
            ("2.0.0", &SINCE_1_7),
        ];
        for (version, expected) in table {
            assert_eq!(features(&Value::Null, Some(version)), expected, "{version}");
        }
        assert!(features(&Value::Null, None).is_empty());
    }

    const SINCE_1_6: [&str; 5] = [
        "CommonInstancetypesDeployment",
        "GPUAssignment",
        "LiveMigration",
        "NUMA",
        "NetworkHotplug",
    ];
    const SINCE_1_7: [&str; 6] = [
        "CommonInstancetypesDeployment",
        "GPUAssignment",
        "LiveMigration",
        "NUMA",
        "NetworkHotplug",
        "NodeRestriction",
    ];

    #[test]
    fn a_gate_that_became_general_is_named_once() {
        let gates = json!(["NUMA", "LiveMigration", "NUMA"]);
        assert_eq!(features(&gates, Some("1.0.0")), ["LiveMigration", "NUMA"]);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(major_minor("1.10.0"), Some((1, 10)));
        assert_eq!(major_minor("1.7.0-beta.0"), Some((1, 7)));
        assert_eq!(major_minor("1.6+build"), Some((1, 6)));
        assert_eq!(major_minor("devel"), None);
    }

    #[test]
    fn what_cannot_be_read_says_nothing_about_devices() {
        assert_eq!(unusable("NOT_INSTALLED").permitted_devices, Some(BTreeSet::new()));
        assert_eq!(describe(&[]).permitted_devices, Some(BTreeSet::new()));
    }
}
