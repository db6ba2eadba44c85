//! Volumes beside the root disk.

use serde::{Deserialize, Serialize};

use super::image_source::{DATA_VOLUME_KEYS, DataVolumeSource, data_volume};
use super::names;
use super::reader::{Node, Object};
use crate::problem::Problem;

/// Most further volumes of a template.
const MAX_VOLUMES: usize = 16;
/// Largest volume in GiB, 1 PiB, as with the disks of sizes.
const MAX_GB: u32 = 1_048_576;
/// Disks the platform adds itself.
const RESERVED: [&str; 3] = ["root", "data", "cloudinit"];
/// What a volume may be.
const CONTENTS: [&str; 4] = ["empty_disk", "config_map", "secret", "data_volume"];

/// A further volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraVolume {
    /// Disk and volume name: a DNS label, unique among the disks of the machine.
    pub name: String,
    /// What it holds.
    #[serde(flatten)]
    pub source: VolumeSource,
}

impl ExtraVolume {
    /// Its size in GiB, when the template sets one.
    pub fn size_gb(&self) -> Option<u32> {
        match &self.source {
            VolumeSource::EmptyDisk { size_gb } | VolumeSource::DataVolume { size_gb, .. } => Some(*size_gb),
            VolumeSource::ConfigMap { .. } | VolumeSource::Secret { .. } => None,
        }
    }
}

/// What a further volume holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeSource {
    /// Scratch space that is lost with the machine's pod.
    EmptyDisk {
        /// Size in GiB, at least 1.
        size_gb: u32,
    },
    /// A ConfigMap of the namespace.
    ConfigMap {
        /// Its name.
        name: String,
    },
    /// A Secret of the namespace.
    Secret {
        /// Its name.
        name: String,
    },
    /// A persistent disk that the machine owns.
    DataVolume {
        /// Size in GiB, at least 1.
        size_gb: u32,
        /// What it is filled with.
        #[serde(flatten)]
        source: DataVolumeSource,
    },
}

/// Reads the further volumes of a spec.
pub(super) fn read(node: &Node<'_>) -> Result<Vec<ExtraVolume>, Problem> {
    let mut volumes: Vec<ExtraVolume> = Vec::new();
    for entry in node.entries(MAX_VOLUMES)? {
        let object = entry.object(&["name", "empty_disk", "config_map", "secret", "data_volume"])?;
        let at_name = object.required("name")?;
        let name = at_name.name(names::MAX_LABEL, names::is_dns_label, "a DNS label")?;
        if RESERVED.contains(&name.as_str()) {
            return Err(at_name.refused("is the name of a disk that the platform adds: choose another one"));
        }
        if volumes.iter().any(|volume| volume.name == name) {
            return Err(at_name.refused("is the name of another volume: choose another one"));
        }
        let source = content(&object)?;
        volumes.push(ExtraVolume { name, source });
    }
    Ok(volumes)
}

fn content(volume: &Object<'_>) -> Result<VolumeSource, Problem> {
    let mut given = CONTENTS
        .iter()
        .filter_map(|key| volume.optional(key).map(|node| (*key, node)));
    let Some((key, node)) = given.next() else {
        return Err(volume.refused(&format!("holds nothing: add one of {}", CONTENTS.join(", "))));
    };
    if let Some((_, second)) = given.next() {
        return Err(second.refused("is a second content: a volume has exactly one, so remove this one or the other"));
    }
    match key {
        "empty_disk" => Ok(VolumeSource::EmptyDisk {
            size_gb: size(&node.object(&["size_gb"])?)?,
        }),
        "config_map" => Ok(VolumeSource::ConfigMap { name: name(&node)? }),
        "secret" => Ok(VolumeSource::Secret { name: name(&node)? }),
        _ => {
            let keys: Vec<&str> = ["size_gb"].into_iter().chain(DATA_VOLUME_KEYS).collect();
            let object = node.object(&keys)?;
            Ok(VolumeSource::DataVolume {
                size_gb: size(&object)?,
                source: data_volume(&object)?,
            })
        }
    }
}

fn size(object: &Object<'_>) -> Result<u32, Problem> {
    object.required("size_gb")?.whole(1..=MAX_GB)
}

fn name(node: &Node<'_>) -> Result<String, Problem> {
    names::object_name(&node.object(&["name"])?.required("name")?)
}
