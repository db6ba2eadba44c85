//! The table, by what the documents show.

use serde_json::json;
use shepherd_domain::catalog::{
    CloudInit, DataVolumeSource, ExtraVolume, Firmware, GpuDevice, ImageSource, Network, OsHints, VolumeSource,
};
use shepherd_domain::rendering::GuestPassword;

use super::Golden;

/// The document that clusters refuse whose definitions know no checksums of imports.
pub const CHECKSUM: &str = "data_volume_checksum";

/// Every golden document, under a name of its own.
pub fn all() -> Vec<Golden> {
    let mut all = images();
    all.extend(hardware());
    all.extend(volumes());
    all.extend(networks());
    all.extend(guests());
    all.extend(cloud_init());
    all.extend(placements());
    all.extend(overrides());
    all.push(Golden::with("everything", everything));
    all
}

fn images() -> Vec<Golden> {
    let data_volume = |name, source| {
        Golden::with(name, |golden| {
            golden.template.image_source = ImageSource::DataVolume(source);
        })
    };
    vec![
        Golden::plain("container_disk"),
        Golden::with("container_disk_pull_policy", |golden| {
            golden.template.image_source = ImageSource::ContainerDisk {
                image: "registry.example.com/images/debian@sha256:5d3c".to_owned(),
                pull_policy: Some("IfNotPresent".to_owned()),
            };
        }),
        Golden::with("pvc", |golden| {
            golden.template.image_source = ImageSource::Pvc {
                namespace: "images".to_owned(),
                name: "fedora-42".to_owned(),
            };
        }),
        data_volume("data_volume_http", http(None)),
        data_volume(
            CHECKSUM,
            http(Some(
                "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            )),
        ),
        data_volume(
            "data_volume_registry",
            DataVolumeSource::Registry {
                url: "docker://registry.example.com/images/debian:12".to_owned(),
                secret_ref: Some("pull".to_owned()),
            },
        ),
        data_volume(
            "data_volume_s3",
            DataVolumeSource::S3 {
                url: "https://s3.example.com/images/debian.qcow2".to_owned(),
                secret_ref: Some("bucket".to_owned()),
            },
        ),
        data_volume("data_volume_pvc", copy()),
        data_volume("data_volume_blank", DataVolumeSource::Blank {}),
    ]
}

fn http(checksum: Option<&str>) -> DataVolumeSource {
    DataVolumeSource::Http {
        url: "https://images.example.com/debian-12.qcow2".to_owned(),
        secret_ref: None,
        checksum: checksum.map(str::to_owned),
    }
}

fn copy() -> DataVolumeSource {
    DataVolumeSource::Pvc {
        namespace: "images".to_owned(),
        name: "debian-12".to_owned(),
    }
}

fn hardware() -> Vec<Golden> {
    let hugepages = |name, page_size: &str| {
        Golden::with(name, |golden| {
            golden.size.requires_hugepages = true;
            golden.size.hugepages_size = Some(page_size.to_owned());
        })
    };
    vec![
        Golden::with("overcommit_cpu", |golden| golden.numbers.cpu_request = 1),
        Golden::with("overcommit_memory", |golden| golden.numbers.memory_request_mb = 4_096),
        Golden::with("overcommit_both", |golden| {
            golden.numbers.cpu_request = 2;
            golden.numbers.memory_request_mb = 6_144;
        }),
        Golden::with("dedicated_cpu", |golden| golden.size.dedicated_cpu = true),
        hugepages("hugepages_2mi", "2Mi"),
        hugepages("hugepages_1gi", "1Gi"),
        Golden::with("gpu", |golden| gpus(golden, 1)),
        Golden::with("gpus", |golden| gpus(golden, 2)),
        Golden::with("sriov", |golden| {
            golden.size.requires_sriov = true;
            golden.template.networks = vec![
                Network::Pod {},
                attachment("fast", "net/sriov-a"),
                attachment("slow", "b"),
            ];
        }),
    ]
}

fn gpus(golden: &mut Golden, count: usize) {
    golden.size.requires_gpu = true;
    golden.size.gpu_devices = (1..=count)
        .map(|number| GpuDevice {
            name: format!("gpu{number}"),
            device_name: "nvidia.com/A10".to_owned(),
        })
        .collect();
}

fn volumes() -> Vec<Golden> {
    let one = |name, volume| Golden::with(name, |golden| golden.template.volumes = vec![volume]);
    let mut all: Vec<Golden> = vec![
        one(
            "volume_empty_disk",
            extra("scratch", VolumeSource::EmptyDisk { size_gb: 10 }),
        ),
        one("volume_config_map", extra("settings", config_map())),
        one("volume_secret", extra("keys", secret())),
        one(
            "volume_data_volume",
            extra("archive", data(200, DataVolumeSource::Blank {})),
        ),
    ];
    all.push(Golden::with("volumes_of_every_kind", every_volume));
    all
}

fn every_volume(golden: &mut Golden) {
    golden.template.volumes = vec![
        extra("scratch", VolumeSource::EmptyDisk { size_gb: 10 }),
        extra("settings", config_map()),
        extra("keys", secret()),
        extra("archive", data(200, DataVolumeSource::Blank {})),
        extra("tools", data(20, http(None))),
        extra("copy", data(30, copy())),
    ];
}

fn extra(name: &str, source: VolumeSource) -> ExtraVolume {
    ExtraVolume {
        name: name.to_owned(),
        source,
    }
}

fn config_map() -> VolumeSource {
    VolumeSource::ConfigMap {
        name: "web-settings".to_owned(),
    }
}

fn secret() -> VolumeSource {
    VolumeSource::Secret {
        name: "web-keys".to_owned(),
    }
}

fn data(size_gb: u32, source: DataVolumeSource) -> VolumeSource {
    VolumeSource::DataVolume { size_gb, source }
}

fn networks() -> Vec<Golden> {
    let on = |name, networks| Golden::with(name, |golden| golden.template.networks = networks);
    vec![
        on("network_pod", vec![Network::Pod {}]),
        on("network_multus", vec![attachment("lan", "net/lan")]),
        on(
            "network_pod_and_multus",
            vec![Network::Pod {}, attachment("lan", "lan")],
        ),
    ]
}

fn attachment(name: &str, attachment: &str) -> Network {
    Network::Multus {
        name: name.to_owned(),
        attachment: attachment.to_owned(),
    }
}

fn guests() -> Vec<Golden> {
    vec![
        Golden::with("uefi", |golden| golden.template.guest.firmware = Firmware::Efi),
        Golden::with("disk_bus_sata", |golden| {
            golden.template.guest.disk_bus = "sata".to_owned()
        }),
        Golden::with("os_hints", |golden| {
            golden.template.guest.os_hints = Some(OsHints {
                family: Some("linux".to_owned()),
                distribution: Some("debian".to_owned()),
                version: Some("12".to_owned()),
            });
        }),
    ]
}

/// User data whose meaning and comments would not survive being written anew.
const USER_DATA: &str = "#cloud-config\n# The team's keys.\nssh_authorized_keys:\n- ssh-ed25519 AAAAC3Nza team\n\
                         write_files:\n- path: /etc/motd\n  permissions: 0644\n  content: |\n    welcome\nssh_pwauth: false\n";
const NETWORK_DATA: &str = "version: 2\nethernets:\n  enp1s0:\n    dhcp4: true\n";
const EXISTING: &str = "#cloud-config\n---\nchpasswd:\n  expire: false\n  list: |\n    cloud-user:old\n    backup:kept\n  \
                        users:\n  - name: cloud-user\n    password: older\n    type: text\n  - {name: admin, type: RANDOM}\n\
                        packages:\n- qemu-guest-agent\n";

fn cloud_init() -> Vec<Golden> {
    let told = |name, user_data: Option<&str>, network_data: Option<&str>| {
        Golden::with(name, |golden| {
            golden.template.cloud_init = Some(CloudInit {
                user_data: user_data.map(str::to_owned),
                network_data: network_data.map(str::to_owned),
            });
        })
    };
    vec![
        told("cloud_init_user_data", Some(USER_DATA), None),
        told("cloud_init_network_data", None, Some(NETWORK_DATA)),
        told("cloud_init_both", Some(USER_DATA), Some(NETWORK_DATA)),
        with_password(told("cloud_init_password", Some(USER_DATA), Some(NETWORK_DATA))),
        with_password(told("cloud_init_existing_chpasswd", Some(EXISTING), None)),
        with_password(Golden::plain("cloud_init_password_alone")),
        Golden::with("cloud_init_password_not_at_hand", |golden| {
            golden.template.guest.initial_password = true;
        }),
    ]
}

fn with_password(mut golden: Golden) -> Golden {
    golden.template.guest.initial_password = true;
    golden.guest_password = Some(GuestPassword {
        username: golden.template.guest.access_user.clone(),
        hash:
            "$6$rounds=5000$saltsaltsaltsalt$Zm9yIGEgdGVzdCBvbmx5LCB0aGlzIGlzIG5vIGhhc2ggb2YgYW55dGhpbmcgYXQgYWxsIQ./AB"
                .to_owned(),
    });
    golden
}

fn placements() -> Vec<Golden> {
    let class = |name, class: Option<&str>| {
        Golden::with(name, |golden| {
            golden.placement.storage_class = class.map(str::to_owned);
        })
    };
    vec![
        class("storage_class_chosen", Some("fast")),
        class("storage_class_default", Some("standard")),
        class("storage_class_none", None),
        Golden::with("modified_numbers", |golden| {
            golden.numbers.cpu_cores = 6;
            golden.numbers.cpu_request = 3;
            golden.numbers.memory_mb = 12_288;
            golden.numbers.memory_request_mb = 12_288;
            golden.numbers.disk_gb = 250;
            golden.identity.revision = 2;
        }),
        Golden::with("run_strategy_kept", |golden| golden.run_strategy = "RerunOnFailure"),
        // A machine that was there before the platform keeps its name, which follows no rule of the platform.
        Golden::with("adopted_names", |golden| {
            golden.identity.name = "legacydb".to_owned();
            golden.identity.namespace = "old-team".to_owned();
            golden.identity.instance = "01".to_owned();
            golden.identity.revision = 4;
            golden.run_strategy = "Halted";
        }),
    ]
}

fn overrides() -> Vec<Golden> {
    let set = |name, overrides: serde_json::Value| Golden::with(name, |golden| golden.override_with(&overrides));
    vec![
        set(
            "override_scalar",
            json!({
                "spec.template.spec.domain.cpu.model": "host-passthrough",
                "spec.template.spec.terminationGracePeriodSeconds": 30.0,
            }),
        ),
        set(
            "override_list_index",
            json!({
                "spec.template.spec.domain.devices.interfaces[0].model": "e1000e",
                "spec.template.spec.tolerations[0]": {"key": "gpu", "operator": "Exists"},
            }),
        ),
        set(
            "override_list_name",
            json!({
                "spec.template.spec.domain.devices.disks[name=root].cache": "none",
                "spec.template.spec.domain.devices.disks[name=swap].disk.bus": "virtio",
                "spec.template.spec.volumes[name=swap].emptyDisk.capacity": "4Gi",
            }),
        ),
        set(
            "override_nested",
            json!({"spec.template.spec.domain": {
                "features": {"acpi": {}, "smm": {"enabled": true}},
                "ioThreadsPolicy": "auto",
                "cpu": {"maxSockets": 4},
            }}),
        ),
        set(
            "override_loses_to_the_approver",
            json!({
                "spec.template.spec.domain.cpu.cores": 16,
                "spec.template.spec.domain.memory.guest": "64Gi",
                "spec.template.spec.domain.resources.requests.memory": "64Gi",
            }),
        ),
    ]
}

/// Every part at once.
pub fn everything(golden: &mut Golden) {
    every_volume(golden);
    gpus(golden, 1);
    golden.template.image_source = ImageSource::DataVolume(copy());
    golden.template.networks = vec![
        Network::Pod {},
        attachment("fast", "net/sriov-a"),
        attachment("slow", "net/b"),
    ];
    golden.template.guest.firmware = Firmware::Efi;
    golden.template.guest.disk_bus = "sata".to_owned();
    golden.template.cloud_init = Some(CloudInit {
        user_data: Some(USER_DATA.to_owned()),
        network_data: Some(NETWORK_DATA.to_owned()),
    });
    golden.size.dedicated_cpu = true;
    golden.size.requires_sriov = true;
    golden.size.requires_hugepages = true;
    golden.size.hugepages_size = Some("1Gi".to_owned());
    golden.override_with(&json!({
        "spec.template.spec.domain.cpu.model": "host-passthrough",
        "spec.template.spec.domain.devices.disks[name=root].cache": "none",
        "spec.template.spec.nodeSelector": {"disk": "ssd"},
    }));
    *golden = with_password(golden.clone());
}
