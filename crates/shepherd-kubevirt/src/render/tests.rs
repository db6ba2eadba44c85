//! Documents as they are, and what holds for all of them.

use proptest::prelude::*;
use shepherd_domain::catalog::{
    CloudInit, DataVolumeSource, ExtraVolume, Firmware, GpuDevice, Guest, ImageSource, InstanceSize, Network,
    TemplateSpec, VolumeSource,
};
use shepherd_domain::ids::{EventId, InstanceSizeId, UserId, VmId};
use shepherd_domain::labels;
use shepherd_domain::rendering::{Placement, VmIdentity};
use shepherd_domain::spec::EffectiveNumbers;

use super::*;

struct Case {
    identity: VmIdentity,
    template: TemplateSpec,
    size: InstanceSize,
    numbers: EffectiveNumbers,
    placement: Placement,
    run_strategy: &'static str,
}

impl Case {
    fn new(image_source: ImageSource) -> Self {
        Self {
            identity: VmIdentity {
                vm_id: VmId::from_bits(1),
                event_id: EventId::from_bits(2),
                name: "prod-shop-web-06".to_owned(),
                namespace: "prod".to_owned(),
                system: "shop".to_owned(),
                service: "web".to_owned(),
                instance: "06".to_owned(),
                ticket_number: "TKT-000123".to_owned(),
                created_by: UserId::from_bits(3),
                revision: 1,
            },
            template: TemplateSpec {
                image_source,
                cloud_init: None,
                volumes: Vec::new(),
                networks: Vec::new(),
                guest: Guest::default(),
            },
            size: InstanceSize {
                id: InstanceSizeId::from_bits(4),
                name: "medium".to_owned(),
                display_name: None,
                description: None,
                cpu_cores: 4,
                memory_mb: 8_192,
                disk_gb: 100,
                min_disk_gb: 50,
                max_disk_gb: 500,
                cpu_request: None,
                memory_request_mb: None,
                dedicated_cpu: false,
                requires_gpu: false,
                requires_sriov: false,
                requires_hugepages: false,
                hugepages_size: None,
                gpu_devices: Vec::new(),
                capabilities: Vec::new(),
                sort_order: 0,
                enabled: true,
            },
            numbers: EffectiveNumbers {
                cpu_cores: 4,
                cpu_request: 4,
                memory_mb: 8_192,
                memory_request_mb: 8_192,
                disk_gb: 120,
            },
            placement: Placement {
                storage_class: Some("fast".to_owned()),
            },
            run_strategy: "Always",
        }
    }

    fn render(&self) -> VmDocument {
        KubeVirtRenderer.render(&RenderInput {
            identity: &self.identity,
            template: &self.template,
            size: &self.size,
            numbers: self.numbers,
            placement: &self.placement,
            run_strategy: self.run_strategy,
        })
    }

    fn yaml(&self) -> String {
        KubeVirtRenderer.to_yaml(&self.render())
    }
}

fn container_disk() -> ImageSource {
    ImageSource::ContainerDisk {
        image: "quay.io/containerdisks/fedora:42".to_owned(),
        pull_policy: None,
    }
}

fn everything() -> Case {
    let mut case = Case::new(ImageSource::DataVolume(DataVolumeSource::Registry {
        url: "docker://registry/image".to_owned(),
        secret_ref: Some("pull".to_owned()),
    }));
    case.template.cloud_init = Some(CloudInit {
        user_data: Some("#cloud-config\nusers: []\n".to_owned()),
        network_data: Some("version: 2\n".to_owned()),
    });
    case.template.volumes = vec![
        ExtraVolume {
            name: "scratch".to_owned(),
            source: VolumeSource::EmptyDisk { size_gb: 10 },
        },
        ExtraVolume {
            name: "settings".to_owned(),
            source: VolumeSource::ConfigMap {
                name: "web-settings".to_owned(),
            },
        },
        ExtraVolume {
            name: "keys".to_owned(),
            source: VolumeSource::Secret {
                name: "web-keys".to_owned(),
            },
        },
    ];
    case.template.networks = vec![
        Network::Pod {},
        Network::Multus {
            name: "fast".to_owned(),
            attachment: "net/sriov-a".to_owned(),
        },
        Network::Multus {
            name: "slow".to_owned(),
            attachment: "net/bridge-b".to_owned(),
        },
    ];
    case.template.guest = Guest {
        firmware: Firmware::Efi,
        disk_bus: "sata".to_owned(),
    };
    case.size.dedicated_cpu = true;
    case.size.requires_sriov = true;
    case.size.requires_hugepages = true;
    case.size.hugepages_size = Some("1Gi".to_owned());
    case.size.requires_gpu = true;
    case.size.gpu_devices = vec![GpuDevice {
        name: "gpu1".to_owned(),
        device_name: "nvidia.com/A10".to_owned(),
    }];
    case
}

#[test]
fn a_container_disk_gets_a_data_disk() {
    insta::assert_snapshot!("container_disk", Case::new(container_disk()).yaml());
}

#[test]
fn a_volume_is_cloned() {
    let mut case = Case::new(ImageSource::Pvc {
        namespace: "images".to_owned(),
        name: "fedora-42".to_owned(),
    });
    case.placement.storage_class = None;
    insta::assert_snapshot!("pvc", case.yaml());
}

#[test]
fn an_image_is_imported() {
    let source = DataVolumeSource::Http {
        url: "https://images/fedora.qcow2".to_owned(),
        secret_ref: None,
    };
    insta::assert_snapshot!("http_import", Case::new(ImageSource::DataVolume(source)).yaml());
}

#[test]
fn an_overcommitted_machine_asks_for_less_than_it_may_use() {
    let mut case = Case::new(container_disk());
    case.numbers.cpu_request = 1;
    case.numbers.memory_request_mb = 4_096;
    insta::assert_snapshot!("overcommitted", case.yaml());
}

#[test]
fn everything_at_once() {
    insta::assert_snapshot!("everything", everything().yaml());
}

#[test]
fn the_cloud_init_secret_holds_the_data_and_the_document_does_not() {
    let document = everything().render();
    let secret = document.cloud_init.as_ref().unwrap();
    assert_eq!(secret["metadata"]["name"], "prod-shop-web-06-cloudinit");
    assert_eq!(
        secret["data"],
        json!({"networkdata": "dmVyc2lvbjogMgo=", "userdata": "I2Nsb3VkLWNvbmZpZwp1c2VyczogW10K"})
    );
    assert!(!KubeVirtRenderer.to_yaml(&document).contains("users:"));
}

#[test]
fn network_data_alone_still_comes_with_user_data() {
    let mut case = Case::new(container_disk());
    case.template.cloud_init = Some(CloudInit {
        user_data: None,
        network_data: Some("version: 2\n".to_owned()),
    });
    let secret = case.render().cloud_init.unwrap();
    assert_eq!(secret["data"]["userdata"], "I2Nsb3VkLWNvbmZpZwo=");
    case.template.cloud_init = Some(CloudInit::default());
    assert_eq!(case.render().cloud_init, None, "nothing to say, no Secret");
}

#[test]
fn labels_are_on_everything_that_is_made() {
    let document = everything().render();
    let labels = &document.object["metadata"]["labels"];
    assert_eq!(labels[labels::MANAGED_BY], labels::MANAGER);
    assert_eq!(&document.object["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!(
        &document.object["spec"]["dataVolumeTemplates"][0]["metadata"]["labels"],
        labels
    );
    assert_eq!(&document.cloud_init.unwrap()["metadata"]["labels"], labels);
}

#[test]
fn the_observed_run_strategy_is_kept() {
    let mut case = Case::new(container_disk());
    case.run_strategy = "Halted";
    assert_eq!(case.render().object["spec"]["runStrategy"], "Halted");
}

#[test]
fn the_first_attachment_is_the_sriov_one() {
    let interfaces =
        everything().render().object["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"].clone();
    assert_eq!(
        interfaces,
        json!([{"name": "default", "masquerade": {}}, {"name": "fast", "sriov": {}}, {"name": "slow", "bridge": {}}])
    );
}

#[test]
fn dedicated_processors_are_never_overcommitted() {
    let mut case = everything();
    case.numbers.cpu_request = 1;
    let resources = case.render().object["spec"]["template"]["spec"]["domain"]["resources"].clone();
    assert_eq!(resources["requests"], resources["limits"]);
}

#[test]
fn yaml_says_what_the_document_says() {
    let document = everything().render();
    let read: Value = serde_saphyr::from_str(&KubeVirtRenderer.to_yaml(&document)).unwrap();
    assert_eq!(read, document.object);
}

#[test]
fn the_order_of_keys_does_not_matter() {
    let one = VmDocument {
        object: json!({"b": {"d": 1, "c": [{"f": 1, "e": 2}]}, "a": 1}),
        cloud_init: None,
    };
    let other = VmDocument {
        object: json!({"a": 1, "b": {"c": [{"e": 2, "f": 1}], "d": 1}}),
        cloud_init: None,
    };
    assert_eq!(KubeVirtRenderer.to_yaml(&one), KubeVirtRenderer.to_yaml(&other));
    assert_eq!(
        canonical(one.object).to_string(),
        r#"{"a":1,"b":{"c":[{"e":2,"f":1}],"d":1}}"#
    );
}

#[test]
fn later_layers_win() {
    let mut base = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
    lay(&mut base, json!({"a": {"b": 3}, "l": [4], "d": null}));
    assert_eq!(base, json!({"a": {"b": 3, "c": 2}, "l": [4], "d": null}));
}

proptest! {
    #[test]
    fn equal_input_makes_equal_bytes(cpu in 1i32..64, request in 1i32..64, memory in 1i32..65_536, disk in 1i32..1_000, dedicated: bool) {
        let mut case = everything();
        case.size.dedicated_cpu = dedicated;
        case.numbers = EffectiveNumbers { cpu_cores: cpu, cpu_request: request, memory_mb: memory, memory_request_mb: memory, disk_gb: disk };
        prop_assert_eq!(case.yaml(), case.yaml());
        let resources = case.render().object["spec"]["template"]["spec"]["domain"]["resources"].clone();
        let number = |part: &str| resources[part]["cpu"].as_str().and_then(|text| text.parse::<i32>().ok());
        prop_assert!(number("requests") <= number("limits"));
    }
}
