//! Templates: a typed spec that knows no hardware, no names and no variables.
//!
//! A spec is read by allow-list: every key that is not known here is refused with its path and a hint, so a key that
//! KubeVirt adds tomorrow cannot slip into a machine through a template. What was read once is trusted afterwards:
//! stored specs and snapshots are deserialised without being checked again.

mod cloud_init;
mod fields;
mod guest;
mod image_source;
mod lifecycle;
mod names;
mod networks;
mod prohibited;
mod reader;
mod spellings;
mod volumes;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use cloud_init::CloudInit;
pub use fields::FieldRule;
pub use guest::{Firmware, Guest, OsHints};
pub use image_source::{DataVolumeSource, ImageSource};
pub use lifecycle::TemplateStatus;
pub use networks::Network;
use reader::{Node, violation};
pub use volumes::{ExtraVolume, VolumeSource};

use super::InstanceSize;
use crate::problem::Problem;

/// Where paths of a spec begin.
const ROOT: &str = "spec";
/// What a spec consists of, as it is stored.
const KEYS: [&str; 5] = ["image_source", "cloud_init", "volumes", "networks", "guest"];
/// What stands beside a spec and is often looked for in it.
const BESIDE: [&str; 2] = ["quick_fields", "advanced_fields"];

/// What boots and how the guest is initialised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateSpec {
    /// Where the root disk comes from.
    pub image_source: ImageSource,
    /// Guest initialisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,
    /// Further volumes, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<ExtraVolume>,
    /// Networks, at most 16; none means the pod network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// The guest.
    #[serde(default)]
    pub guest: Guest,
}

impl TemplateSpec {
    /// Parses a template spec by allow-list. The accepted spellings of an image source become the one that is stored.
    ///
    /// # Errors
    /// TEMPLATE_SPEC_VIOLATION with the path of the first thing that is wrong and a hint what to do about it. Something
    /// that is missing is reported at the object that lacks it, so that the path always exists in what was sent.
    pub fn parse(value: &Value) -> Result<Self, Problem> {
        prohibited::check(ROOT, value)?;
        let undotted = spellings::undotted(ROOT, value)?;
        if let Some(key) = BESIDE.iter().find(|key| undotted.get(key).is_some()) {
            let hint = "stands beside the spec and not in it: move it one level up";
            return Err(violation(&format!("{ROOT}.{key}"), hint));
        }
        let spec = Node::new(ROOT, &undotted).object_or(&KEYS, &spellings::TOP_LEVEL)?;
        Ok(Self {
            image_source: image_source::read(&spec)?,
            cloud_init: spec
                .optional("cloud_init")
                .map_or(Ok(None), |node| cloud_init::read(&node))?,
            volumes: spec
                .optional("volumes")
                .map_or(Ok(Vec::new()), |node| volumes::read(&node))?,
            networks: spec
                .optional("networks")
                .map_or(Ok(Vec::new()), |node| networks::read(&node))?,
            guest: spec
                .optional("guest")
                .map_or(Ok(Guest::default()), |node| guest::read(&node))?,
        })
    }

    /// The form that is stored and hashed. Its keys are sorted, so equal specs have equal bytes.
    pub fn to_canonical(&self) -> Value {
        json!(self)
    }

    /// The size of the largest further volume in GiB, when there is one that has a size.
    pub fn largest_volume_gb(&self) -> Option<u32> {
        self.volumes.iter().filter_map(ExtraVolume::size_gb).max()
    }

    /// Checks the template against the size of a machine: no further volume is larger than the largest disk of the
    /// size.
    ///
    /// # Errors
    /// TEMPLATE_SPEC_VIOLATION at the volume.
    pub fn check_against(&self, size: &InstanceSize) -> Result<(), Problem> {
        let max = size.max_disk_gb;
        let too_large = |volume: &ExtraVolume| volume.size_gb().is_some_and(|gb| i64::from(gb) > i64::from(max));
        match self.volumes.iter().position(too_large) {
            None => Ok(()),
            Some(index) => {
                let hint = format!("the size {} allows disks of at most {max} GiB", size.name);
                Err(violation(&format!("{ROOT}.volumes[{index}]"), &hint).with("max_disk_gb", max))
            }
        }
    }
}
