//! Disks: the root, what comes with it, and the further volumes of a template.

use std::fmt::Display;

use serde_json::{Value, json};
use shepherd_domain::catalog::{DataVolumeSource, ExtraVolume, ImageSource, VolumeSource};
use shepherd_domain::rendering::RenderInput;

use super::{cloud_init, metadata};

/// Disk that boots.
const ROOT: &str = "root";
/// Persistent disk beside an ephemeral root.
const DATA: &str = "data";

/// Three lists that belong together by name.
#[derive(Default)]
pub(super) struct Disks {
    /// `domain.devices.disks`.
    pub disks: Vec<Value>,
    /// `volumes`.
    pub volumes: Vec<Value>,
    /// `dataVolumeTemplates`; the machine owns what is made of them.
    pub data_volumes: Vec<Value>,
}

/// All disks, the root first, because guests boot from the first one.
pub(super) fn disks(input: &RenderInput<'_>) -> Disks {
    let mut made = Disks::default();
    let disk_gb = input.numbers.disk_gb;
    match &input.template.image_source {
        ImageSource::ContainerDisk { image, pull_policy } => {
            let mut source = json!({"image": image});
            if let Some(policy) = pull_policy {
                source["imagePullPolicy"] = Value::from(policy.as_str());
            }
            made.add(input, ROOT, json!({"containerDisk": source}));
            made.add_data_volume(input, DATA, disk_gb, &blank());
        }
        ImageSource::Pvc { namespace, name } => made.add_data_volume(input, ROOT, disk_gb, &copy_of(namespace, name)),
        ImageSource::DataVolume(source) => made.add_data_volume(input, ROOT, disk_gb, &filled_from(source)),
    }
    for volume in &input.template.volumes {
        made.add_extra(input, volume);
    }
    if let Some(volume) = cloud_init::volume(input) {
        made.add(input, cloud_init::VOLUME, volume);
    }
    made
}

impl Disks {
    fn add(&mut self, input: &RenderInput<'_>, name: &str, mut volume: Value) {
        volume["name"] = Value::from(name);
        self.volumes.push(volume);
        self.disks
            .push(json!({"name": name, "disk": {"bus": input.template.guest.disk_bus}}));
    }

    fn add_data_volume(&mut self, input: &RenderInput<'_>, name: &str, size_gb: impl Display, source: &Value) {
        let full_name = format!("{}-{name}", input.identity.name);
        self.add(input, name, json!({"dataVolume": {"name": full_name}}));
        self.data_volumes.push(json!({
            "metadata": {"name": full_name, "labels": metadata::labels(input.identity)},
            "spec": {"source": source, "storage": storage(input, size_gb)},
        }));
    }

    fn add_extra(&mut self, input: &RenderInput<'_>, volume: &ExtraVolume) {
        let name = &volume.name;
        match &volume.source {
            VolumeSource::EmptyDisk { size_gb } => {
                self.add(input, name, json!({"emptyDisk": {"capacity": format!("{size_gb}Gi")}}));
            }
            VolumeSource::ConfigMap { name: map } => self.add(input, name, json!({"configMap": {"name": map}})),
            VolumeSource::Secret { name: secret } => self.add(input, name, json!({"secret": {"secretName": secret}})),
            VolumeSource::DataVolume { size_gb, source } => {
                self.add_data_volume(input, name, size_gb, &filled_from(source));
            }
        }
    }
}

/// The `storage` API leaves access and volume modes to the storage profile of the class, which knows whether the
/// class can be shared between nodes.
fn storage(input: &RenderInput<'_>, size_gb: impl Display) -> Value {
    let mut storage = json!({"resources": {"requests": {"storage": format!("{size_gb}Gi")}}});
    if let Some(class) = &input.placement.storage_class {
        storage["storageClassName"] = Value::from(class.as_str());
    }
    storage
}

/// The `source` of a data volume.
///
/// The importer compares checksums since CDI 1.65. A cluster whose definitions do not know the field refuses the
/// document, because a checksum that nobody compares must not look like one that was.
fn filled_from(source: &DataVolumeSource) -> Value {
    match source {
        DataVolumeSource::Http {
            url,
            secret_ref,
            checksum,
        } => {
            let mut remote = remote(url, secret_ref.as_deref());
            if let Some(checksum) = checksum {
                remote["checksum"] = Value::from(checksum.as_str());
            }
            json!({"http": remote})
        }
        DataVolumeSource::Registry { url, secret_ref } => json!({"registry": remote(url, secret_ref.as_deref())}),
        DataVolumeSource::S3 { url, secret_ref } => json!({"s3": remote(url, secret_ref.as_deref())}),
        DataVolumeSource::Pvc { namespace, name } => copy_of(namespace, name),
        DataVolumeSource::Blank {} => blank(),
    }
}

fn remote(url: &str, secret_ref: Option<&str>) -> Value {
    let mut remote = json!({"url": url});
    if let Some(secret) = secret_ref {
        remote["secretRef"] = Value::from(secret);
    }
    remote
}

fn copy_of(namespace: &str, name: &str) -> Value {
    json!({"pvc": {"namespace": namespace, "name": name}})
}

fn blank() -> Value {
    json!({"blank": {}})
}
