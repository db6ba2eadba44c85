//! Golden documents: one table of what goes into them, for snapshots, for the contract and for timing.

mod catalog;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use shepherd_domain::catalog::{Guest, ImageSource, InstanceSize, SpecOverrides, TemplateSpec};
use shepherd_domain::ids::{EventId, InstanceSizeId, UserId, VmId};
use shepherd_domain::rendering::{GuestPassword, Placement, RenderInput, VmDocument, VmIdentity};
use shepherd_domain::spec::EffectiveNumbers;
use shepherd_kubevirt::KubeVirtRenderer;
use shepherd_ports::providers::VmRenderer;

pub use catalog::{CHECKSUM, all, everything};

/// What one document is made of.
#[derive(Clone)]
pub struct Golden {
    /// What it shows.
    pub name: &'static str,
    /// Names and marks of the machine.
    pub identity: VmIdentity,
    /// The template.
    pub template: TemplateSpec,
    /// The size.
    pub size: InstanceSize,
    /// The numbers that were approved.
    pub numbers: EffectiveNumbers,
    /// Where it goes.
    pub placement: Placement,
    /// What the machine does by itself.
    pub run_strategy: &'static str,
    /// How its guest is first entered.
    pub guest_password: Option<GuestPassword>,
}

impl Golden {
    /// The document that every other one differs from in something: a container disk without cloud-init.
    pub fn plain(name: &'static str) -> Self {
        let template = TemplateSpec {
            image_source: ImageSource::ContainerDisk {
                image: "quay.io/containerdisks/fedora:42".to_owned(),
                pull_policy: None,
            },
            cloud_init: None,
            volumes: Vec::new(),
            networks: Vec::new(),
            guest: Guest {
                initial_password: false,
                ..Guest::default()
            },
        };
        Self {
            name,
            identity: identity(),
            template,
            size: size(),
            numbers: EffectiveNumbers {
                cpu_cores: 4,
                cpu_request: 4,
                memory_mb: 8_192,
                memory_request_mb: 8_192,
                disk_gb: 120,
            },
            placement: Placement {
                storage_class: Some("standard".to_owned()),
            },
            run_strategy: "Always",
            guest_password: None,
        }
    }

    /// The plain document with a change.
    pub fn with(name: &'static str, change: impl FnOnce(&mut Self)) -> Self {
        let mut golden = Self::plain(name);
        change(&mut golden);
        golden
    }

    /// The same under another address.
    pub fn named(mut self, namespace: &str, name: &str) -> Self {
        namespace.clone_into(&mut self.identity.namespace);
        name.clone_into(&mut self.identity.name);
        self
    }

    /// Sets the overrides of the size.
    pub fn override_with(&mut self, overrides: &Value) {
        let map = overrides.as_object().expect("overrides are a map");
        self.size.spec_overrides = parsed(map).expect("the overrides are allowed");
    }

    /// What the renderer is given.
    pub fn input(&self) -> RenderInput<'_> {
        RenderInput {
            identity: &self.identity,
            template: &self.template,
            size: &self.size,
            numbers: self.numbers,
            placement: &self.placement,
            run_strategy: self.run_strategy,
            guest_password: self.guest_password.as_ref(),
        }
    }

    /// The document.
    pub fn document(&self) -> VmDocument {
        KubeVirtRenderer.render(&self.input())
    }

    /// The machine.
    pub fn object(&self) -> Value {
        self.document().object
    }

    /// The machine as text, and below it what its Secret tells the guest.
    pub fn text(&self) -> String {
        let document = self.document();
        let mut text = KubeVirtRenderer.to_yaml(&document);
        for key in ["userdata", "networkdata"] {
            if let Some(data) = told(&document, key) {
                text.push_str(&format!("--- {key} of the Secret\n{data}"));
            }
        }
        text
    }
}

/// What the Secret of a document says under a key.
pub fn told(document: &VmDocument, key: &str) -> Option<String> {
    let encoded = document.cloud_init.as_ref()?["data"][key].as_str()?.to_owned();
    let bytes = STANDARD.decode(encoded).expect("data of a Secret is base64");
    Some(String::from_utf8(bytes).expect("cloud-init data is text"))
}

/// Overrides as the domain reads them; `None` when it refuses them.
pub fn parsed(overrides: &Map<String, Value>) -> Option<SpecOverrides> {
    SpecOverrides::parse(overrides).ok()
}

fn identity() -> VmIdentity {
    VmIdentity {
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
    }
}

/// A size without special hardware: 4 cores, 8 GiB, disks of 50 to 500 GiB.
pub fn size() -> InstanceSize {
    InstanceSize {
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
        spec_overrides: SpecOverrides::default(),
        capabilities: Vec::new(),
        sort_order: 0,
        enabled: true,
    }
}
