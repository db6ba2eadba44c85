//! Documents to apply, made by the renderer, as they are in production.

use serde_json::Value;
use shepherd_domain::catalog::{
    CloudInit, ExtraVolume, Firmware, Guest, ImageSource, InstanceSize, Network, TemplateSpec, VolumeSource,
};
use shepherd_domain::ids::{EventId, InstanceSizeId, UserId, VmId};
use shepherd_domain::rendering::{Placement, RenderInput, VmDocument, VmIdentity};
use shepherd_domain::spec::EffectiveNumbers;
use shepherd_kubevirt::KubeVirtRenderer;
use shepherd_ports::providers::VmRenderer;

/// What goes into a document.
pub struct Plan {
    identity: VmIdentity,
    template: TemplateSpec,
    size: InstanceSize,
    numbers: EffectiveNumbers,
    run_strategy: &'static str,
}

impl Plan {
    /// A small machine that stays off, so that nothing but the calls of a case changes it.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            identity: VmIdentity {
                vm_id: VmId::from_bits(0x11),
                event_id: EventId::from_bits(0x12),
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                system: "shop".to_owned(),
                service: "web".to_owned(),
                instance: "01".to_owned(),
                ticket_number: "TKT-000001".to_owned(),
                created_by: UserId::from_bits(0x13),
                revision: 1,
            },
            template: TemplateSpec {
                image_source: ImageSource::ContainerDisk {
                    image: "quay.io/containerdisks/fedora:42".to_owned(),
                    pull_policy: None,
                },
                cloud_init: None,
                volumes: Vec::new(),
                networks: Vec::new(),
                guest: Guest::default(),
            },
            size: size(),
            numbers: EffectiveNumbers {
                cpu_cores: 1,
                cpu_request: 1,
                memory_mb: 1_024,
                memory_request_mb: 1_024,
                disk_gb: 1,
            },
            run_strategy: "Halted",
        }
    }

    /// The machine starts at once.
    pub fn running(mut self) -> Self {
        self.run_strategy = "Always";
        self
    }

    /// It has this many cores.
    pub fn cores(mut self, cores: i32) -> Self {
        self.numbers.cpu_cores = cores;
        self.numbers.cpu_request = cores;
        self
    }

    /// It has this much memory.
    pub fn memory_mb(mut self, memory_mb: i32) -> Self {
        self.numbers.memory_mb = memory_mb;
        self.numbers.memory_request_mb = memory_mb;
        self
    }

    /// Its guest is initialised.
    pub fn cloud_init(mut self) -> Self {
        self.template.cloud_init = Some(CloudInit {
            user_data: Some("#cloud-config\nusers: []\n".to_owned()),
            network_data: Some("version: 2\n".to_owned()),
        });
        self
    }

    /// It uses every part of a document that needs no special hardware.
    pub fn with_everything(self) -> Self {
        let mut plan = self.cloud_init();
        plan.template.volumes = vec![
            ExtraVolume {
                name: "scratch".to_owned(),
                source: VolumeSource::EmptyDisk { size_gb: 1 },
            },
            ExtraVolume {
                name: "settings".to_owned(),
                source: VolumeSource::ConfigMap {
                    name: "settings".to_owned(),
                },
            },
            ExtraVolume {
                name: "keys".to_owned(),
                source: VolumeSource::Secret {
                    name: "keys".to_owned(),
                },
            },
        ];
        plan.template.networks = vec![
            Network::Pod {},
            Network::Multus {
                name: "extra".to_owned(),
                attachment: "default/extra".to_owned(),
            },
        ];
        plan.template.guest = Guest {
            firmware: Firmware::Efi,
            disk_bus: "sata".to_owned(),
        };
        plan.size.dedicated_cpu = true;
        plan.size.requires_hugepages = true;
        plan.size.hugepages_size = Some("2Mi".to_owned());
        plan
    }

    /// The document.
    pub fn document(&self) -> VmDocument {
        KubeVirtRenderer.render(&RenderInput {
            identity: &self.identity,
            template: &self.template,
            size: &self.size,
            numbers: self.numbers,
            placement: &Placement::default(),
            run_strategy: self.run_strategy,
        })
    }
}

/// Paths that `wanted` has and `found` lacks or has otherwise.
pub fn differences(wanted: &Value, found: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare(wanted, found, "", &mut paths);
    paths
}

fn compare(wanted: &Value, found: &Value, path: &str, differences: &mut Vec<String>) {
    if let (Some(wanted), Some(found)) = (wanted.as_object(), found.as_object()) {
        for (key, value) in wanted {
            compare(
                value,
                &found.get(key).cloned().unwrap_or_default(),
                &format!("{path}.{key}"),
                differences,
            );
        }
    } else if let (Some(wanted), Some(found)) = (wanted.as_array(), found.as_array()) {
        for (index, value) in wanted.iter().enumerate() {
            compare(
                value,
                &found.get(index).cloned().unwrap_or_default(),
                &format!("{path}[{index}]"),
                differences,
            );
        }
    } else if wanted != found {
        differences.push(path.to_owned());
    }
}

fn size() -> InstanceSize {
    InstanceSize {
        id: InstanceSizeId::from_bits(0x14),
        name: "small".to_owned(),
        display_name: None,
        description: None,
        cpu_cores: 1,
        memory_mb: 1_024,
        disk_gb: 1,
        min_disk_gb: 1,
        max_disk_gb: 10,
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
    }
}
