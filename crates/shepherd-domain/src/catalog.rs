//! The catalogue: templates say what boots, instance sizes say on which hardware.

mod overrides;
mod size;
mod template;

pub use overrides::{PathError, Segment, SpecOverrides, SpecPath};
pub use size::{GpuDevice, InstanceSize, SizeDraft, SizePatch};
pub use template::{
    CloudInit, DataVolumeSource, ExtraVolume, FieldRule, Firmware, Guest, ImageSource, Network, OsHints, TemplateSpec,
    TemplateStatus, VolumeSource,
};
