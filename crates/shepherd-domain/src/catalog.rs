//! The catalogue: templates say what boots, instance sizes say on which hardware.

mod size;
mod template;

pub use size::{GpuDevice, InstanceSize, SizeDraft};
pub use template::{
    CloudInit, DataVolumeSource, ExtraVolume, Firmware, Guest, ImageSource, Network, TemplateSpec, TemplateStatus,
    VolumeSource,
};
