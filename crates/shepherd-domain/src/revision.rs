//! Revisions of machines: documents as they were applied, and what lies between two of them.
//!
//! Whoever sees a machine sees its revisions, so values that look like secrets are masked, however they got into a
//! document. What merely names a Secret of the cluster is no secret and stays.

mod diff;
mod secrets;

use serde::Serialize;
use serde_json::Value;
use strum::{Display, IntoStaticStr};

pub use diff::diff;
pub use secrets::mask;

/// What happened to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Display, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum ChangeOp {
    /// It is there only afterwards.
    Add,
    /// It was there only before.
    Remove,
    /// It is another one.
    Replace,
}

impl ChangeOp {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One difference between two documents. Values that look like secrets are masked on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Where, as `spec.template.spec.domain.devices.disks[name=root].disk.bus`. Entries of a list are told by their
    /// names when all of them have one, else by their index; a key that is no plain word stands in `["…"]`.
    pub path: String,
    /// What happened.
    pub op: ChangeOp,
    /// The value before; `None` when it was added.
    pub old: Option<Value>,
    /// The value afterwards; `None` when it was removed.
    pub new: Option<Value>,
}

/// A stored document is no YAML, or cannot be written as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the document is damaged")]
pub struct DamagedDocument;

/// Reads the YAML of a revision.
///
/// # Errors
/// When it is no YAML.
pub fn parse(yaml: &str) -> Result<Value, DamagedDocument> {
    serde_saphyr::from_str(yaml).map_err(|_| DamagedDocument)
}

/// The YAML of a document whose values that look like secrets are masked.
///
/// # Errors
/// When the document cannot be written as YAML.
pub fn masked_yaml(document: &Value) -> Result<String, DamagedDocument> {
    serde_saphyr::to_string(&mask(document)).map_err(|_| DamagedDocument)
}
