//! Documents to apply, made by the renderer, as they are in production.

use serde_json::Value;
use shepherd_domain::catalog::{CloudInit, ExtraVolume, Firmware, Network, VolumeSource};
use shepherd_domain::ids::{EventId, UserId, VmId};
use shepherd_domain::rendering::VmDocument;

use crate::golden::Golden;

/// What goes into a document.
pub struct Plan(Golden);

impl Plan {
    /// A small machine that stays off, so that nothing but the calls of a case changes it.
    pub fn new(namespace: &str, name: &str) -> Self {
        let mut golden = Golden::plain("plan").named(namespace, name);
        golden.identity.vm_id = VmId::from_bits(0x11);
        golden.identity.event_id = EventId::from_bits(0x12);
        golden.identity.created_by = UserId::from_bits(0x13);
        golden.numbers.disk_gb = 1;
        golden.placement.storage_class = None;
        golden.run_strategy = "Halted";
        Self(golden).cores(1).memory_mb(1_024)
    }

    /// The machine starts at once.
    pub fn running(mut self) -> Self {
        self.0.run_strategy = "Always";
        self
    }

    /// It has this many cores.
    pub fn cores(mut self, cores: i32) -> Self {
        self.0.numbers.cpu_cores = cores;
        self.0.numbers.cpu_request = cores;
        self
    }

    /// It has this much memory.
    pub fn memory_mb(mut self, memory_mb: i32) -> Self {
        self.0.numbers.memory_mb = memory_mb;
        self.0.numbers.memory_request_mb = memory_mb;
        self
    }

    /// Its guest is initialised.
    pub fn cloud_init(mut self) -> Self {
        self.0.template.cloud_init = Some(CloudInit {
            user_data: Some("#cloud-config\nusers: []\n".to_owned()),
            network_data: Some("version: 2\n".to_owned()),
        });
        self
    }

    /// It uses every part of a document that needs no special hardware.
    pub fn with_everything(self) -> Self {
        let mut plan = self.cloud_init();
        let volume = |name: &str, source| ExtraVolume {
            name: name.to_owned(),
            source,
        };
        let name = |name: &str| name.to_owned();
        plan.0.template.volumes = vec![
            volume("scratch", VolumeSource::EmptyDisk { size_gb: 1 }),
            volume("settings", VolumeSource::ConfigMap { name: name("settings") }),
            volume("keys", VolumeSource::Secret { name: name("keys") }),
        ];
        plan.0.template.networks = vec![
            Network::Pod {},
            Network::Multus {
                name: name("extra"),
                attachment: name("default/extra"),
            },
        ];
        plan.0.template.guest.firmware = Firmware::Efi;
        plan.0.template.guest.disk_bus = name("sata");
        plan.0.size.dedicated_cpu = true;
        plan.0.size.requires_hugepages = true;
        plan.0.size.hugepages_size = Some(name("2Mi"));
        plan
    }

    /// The document.
    pub fn document(&self) -> VmDocument {
        self.0.document()
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
