//! Volumes, networks and the guest.

use serde_json::{Value, json};
use shepherd_domain::catalog::{Firmware, Guest, InstanceSize, SizeDraft, TemplateSpec};
use shepherd_domain::ids::InstanceSizeId;

use super::{full, refusal, stored, with};

/// A size with disks of 10 to `max_disk_gb` GiB.
fn size(max_disk_gb: i32) -> Option<InstanceSize> {
    let draft: SizeDraft = serde_json::from_value(json!({
        "name": "small",
        "cpu_cores": 1,
        "memory_mb": 1024,
        "disk_gb": 10,
        "min_disk_gb": 10,
        "max_disk_gb": max_disk_gb,
    }))
    .ok()?;
    draft.into_size(InstanceSizeId::from_bits(1)).ok()
}

fn scratch(name: &str) -> Value {
    json!({"name": name, "empty_disk": {"size_gb": 1}})
}

fn multus(name: &str, attachment: &str) -> Value {
    json!({"multus": {"name": name, "attachment": attachment}})
}

#[test]
fn volumes_have_names_of_their_own_and_one_content() {
    for (volume, path) in [
        (scratch("root"), ".name"),
        (scratch("data"), ".name"),
        (scratch("cloudinit"), ".name"),
        (scratch("first"), ".name"),
        (scratch(""), ".name"),
        (scratch("A"), ".name"),
        (scratch("-a"), ".name"),
        (scratch("a.b"), ".name"),
        (scratch(&"a".repeat(64)), ".name"),
        (json!({"name": 1, "empty_disk": {"size_gb": 1}}), ".name"),
        (json!({"empty_disk": {"size_gb": 1}}), ""),
        (json!({"name": "a"}), ""),
        (json!("a"), ""),
        (json!({"name": "a", "empty_disk": {}}), ".empty_disk"),
        (
            json!({"name": "a", "empty_disk": {"size_gb": 0}}),
            ".empty_disk.size_gb",
        ),
        (
            json!({"name": "a", "empty_disk": {"size_gb": -1}}),
            ".empty_disk.size_gb",
        ),
        (
            json!({"name": "a", "empty_disk": {"size_gb": 1.5}}),
            ".empty_disk.size_gb",
        ),
        (
            json!({"name": "a", "empty_disk": {"size_gb": "1Gi"}}),
            ".empty_disk.size_gb",
        ),
        (
            json!({"name": "a", "empty_disk": {"size_gb": u64::MAX}}),
            ".empty_disk.size_gb",
        ),
        (
            json!({"name": "a", "empty_disk": {"size_gb": 1}, "secret": {"name": "b"}}),
            ".secret",
        ),
        (json!({"name": "a", "host_path": {"path": "/"}}), ".host_path"),
        (json!({"name": "a", "config_map": {"name": "B"}}), ".config_map.name"),
        (
            json!({"name": "a", "secret": {"name": "b", "optional": true}}),
            ".secret.optional",
        ),
        (
            json!({"name": "a", "secret": {"name": "x".repeat(254)}}),
            ".secret.name",
        ),
        (json!({"name": "a", "data_volume": {"source": "blank"}}), ".data_volume"),
        (json!({"name": "a", "data_volume": {"size_gb": 1}}), ".data_volume"),
        (
            json!({"name": "a", "data_volume": {"size_gb": 1, "source": "http"}}),
            ".data_volume",
        ),
        (
            json!({"name": "a", "data_volume": {"size_gb": 1, "source": "blank", "url": "x"}}),
            ".data_volume.url",
        ),
    ] {
        let document = with("volumes", json!([scratch("first"), volume]));
        assert_eq!(refusal(&document).0, format!("spec.volumes[1]{path}"), "{document}");
    }
    assert_eq!(refusal(&with("volumes", json!({"a": 1}))).0, "spec.volumes");
}

#[test]
fn there_are_at_most_sixteen_volumes_and_networks() {
    let volumes = |count: usize| (0..count).map(|index| scratch(&format!("v{index}"))).collect::<Value>();
    let networks = |count: usize| {
        (0..count)
            .map(|index| multus(&format!("n{index}"), "a/b"))
            .collect::<Value>()
    };
    stored(&with("volumes", volumes(16)));
    stored(&with("networks", networks(16)));
    assert_eq!(refusal(&with("volumes", volumes(17))).0, "spec.volumes");
    assert_eq!(refusal(&with("networks", networks(17))).0, "spec.networks");
}

#[test]
fn no_volume_is_larger_than_the_disks_of_the_size() {
    let spec = TemplateSpec::parse(&full()).unwrap();
    assert_eq!(spec.largest_volume_gb(), Some(20));
    assert_eq!(spec.check_against(&size(20).unwrap()), Ok(()));
    let problem = spec.check_against(&size(19).unwrap()).unwrap_err();
    assert_eq!(problem.params["path"], "spec.volumes[3]");
    assert_eq!(problem.params["max_disk_gb"], 19);
    let without = TemplateSpec::parse(&with("volumes", json!([]))).unwrap();
    assert_eq!(without.largest_volume_gb(), None);
    assert_eq!(without.check_against(&size(10).unwrap()), Ok(()));
}

#[test]
fn networks_have_names_of_their_own_and_one_of_them_is_the_pods() {
    for (network, path) in [
        (json!({"pod": {}}), ""),
        (multus("storage", "other/net"), ""),
        (multus("default", "a/b"), ".multus.name"),
        (multus("Storage", "a/b"), ".multus.name"),
        (multus("x", "a/b/c"), ".multus.attachment"),
        (multus("x", "a.b/c"), ".multus.attachment"),
        (multus("x", "/c"), ".multus.attachment"),
        (json!({"multus": {"name": "x"}}), ".multus"),
        (
            json!({"pod": {}, "multus": {"name": "x", "attachment": "a/b"}}),
            ".multus",
        ),
        (json!({"pod": {"bridge": {}}}), ".pod.bridge"),
        (json!({"pod": true}), ".pod"),
        (json!({"sriov": {}}), ".sriov"),
        (json!({}), ""),
        (json!("pod"), ""),
    ] {
        let document = with(
            "networks",
            json!([{"pod": {}}, multus("storage", "infra/storage"), network]),
        );
        assert_eq!(refusal(&document).0, format!("spec.networks[2]{path}"), "{document}");
    }
    stored(&with(
        "networks",
        json!([multus("storage", "storage"), multus("backup", "infra/storage")]),
    ));
}

#[test]
fn a_guest_nobody_described_has_the_defaults() {
    let spec = TemplateSpec::parse(&with("guest", json!({}))).unwrap();
    assert_eq!(spec.guest, Guest::default());
    assert_eq!(spec.guest.firmware, Firmware::Bios);
    assert_eq!(spec.guest.disk_bus, "virtio");
    assert_eq!(spec.guest.access_user, "cloud-user");
    assert!(spec.guest.initial_password && spec.guest.os_hints.is_none());
    let before_passwords = json!({"firmware": "efi", "disk_bus": "sata"});
    let read: Guest = serde_json::from_value(before_passwords).unwrap();
    assert!(read.initial_password && read.access_user == "cloud-user");
}

#[test]
fn a_guest_says_what_it_may() {
    for (guest, path) in [
        (json!({"firmware": "uefi"}), ".firmware"),
        (json!({"firmware": true}), ".firmware"),
        (json!({"disk_bus": "ide"}), ".disk_bus"),
        (json!({"initial_password": "yes"}), ".initial_password"),
        (json!({"access_user": ""}), ".access_user"),
        (json!({"access_user": "Admin"}), ".access_user"),
        (json!({"access_user": "1st"}), ".access_user"),
        (json!({"access_user": "a:b"}), ".access_user"),
        (json!({"access_user": "a\nb"}), ".access_user"),
        (json!({"access_user": "a".repeat(33)}), ".access_user"),
        (json!({"os_hints": {"family": ""}}), ".os_hints.family"),
        (json!({"os_hints": {"kernel": "6"}}), ".os_hints.kernel"),
        (json!({"os_hints": "linux"}), ".os_hints"),
        (json!({"password": "secret"}), ".password"),
        (json!([]), ""),
    ] {
        assert_eq!(
            refusal(&with("guest", guest.clone())).0,
            format!("spec.guest{path}"),
            "{guest}"
        );
    }
    for bus in ["virtio", "sata", "scsi", "usb"] {
        assert_eq!(
            stored(&with("guest", json!({"disk_bus": bus})))["guest"]["disk_bus"],
            bus
        );
    }
}
