//! Disks: the root, what comes with it, and the further volumes of a template.

use serde_json::{Map, Value, json};
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
    match &input.template.image_source {
        ImageSource::ContainerDisk { image, pull_policy } => {
            let mut source = json!({"image": image});
            if let Some(policy) = pull_policy {
                source["imagePullPolicy"] = Value::from(policy.as_str());
            }
            made.add(input, ROOT, json!({"containerDisk": source}));
            made.add_data_volume(input, DATA, json!({"blank": {}}));
        }
        ImageSource::Pvc { namespace, name } => {
            made.add_data_volume(input, ROOT, json!({"pvc": {"namespace": namespace, "name": name}}))
        }
        ImageSource::DataVolume(source) => made.add_data_volume(input, ROOT, import(source)),
    }
    for volume in &input.template.volumes {
        made.add(input, &volume.name, extra(volume));
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

    fn add_data_volume(&mut self, input: &RenderInput<'_>, name: &str, source: Value) {
        let full_name = format!("{}-{name}", input.identity.name);
        self.add(input, name, json!({"dataVolume": {"name": full_name}}));
        self.data_volumes.push(json!({
            "metadata": {"name": full_name, "labels": metadata::labels(input.identity)},
            "spec": {"source": source, "storage": storage(input)},
        }));
    }
}

/// The `storage` API leaves access and volume modes to the storage profile of the class, which knows whether the
/// class can be shared between nodes.
fn storage(input: &RenderInput<'_>) -> Value {
    let mut storage = json!({"resources": {"requests": {"storage": format!("{}Gi", input.numbers.disk_gb)}}});
    if let Some(class) = &input.placement.storage_class {
        storage["storageClassName"] = Value::from(class.as_str());
    }
    storage
}

fn import(source: &DataVolumeSource) -> Value {
    let remote = |url: &str, secret_ref: Option<&str>| {
        let mut remote = Map::from_iter([("url".to_owned(), Value::from(url))]);
        if let Some(secret) = secret_ref {
            remote.insert("secretRef".to_owned(), Value::from(secret));
        }
        remote
    };
    match source {
        DataVolumeSource::Http { url, secret_ref } => json!({"http": remote(url, secret_ref.as_deref())}),
        DataVolumeSource::Registry { url, secret_ref } => json!({"registry": remote(url, secret_ref.as_deref())}),
        DataVolumeSource::S3 { url, secret_ref } => json!({"s3": remote(url, secret_ref.as_deref())}),
        DataVolumeSource::Blank {} => json!({"blank": {}}),
    }
}

fn extra(volume: &ExtraVolume) -> Value {
    match &volume.source {
        VolumeSource::EmptyDisk { size_gb } => json!({"emptyDisk": {"capacity": format!("{size_gb}Gi")}}),
        VolumeSource::ConfigMap { name } => json!({"configMap": {"name": name}}),
        VolumeSource::Secret { name } => json!({"secret": {"secretName": name}}),
    }
}
