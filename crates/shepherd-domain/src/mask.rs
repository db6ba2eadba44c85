//! The mask: which paths of a virtual machine a form shows, and under which names (catalog.md §3).
//!
//! It selects paths and nothing else; types and options come from the schema.

use serde::{Deserialize, Serialize};

use crate::catalog::SpecPath;
use crate::schema::VmSchema;

/// Most fields of either list.
const MAX_FIELDS: usize = 100;

/// One field of a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskField {
    /// Where it stands in a VirtualMachine, from `spec` on.
    pub path: String,
    /// What people read.
    pub display_name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl MaskField {
    fn new(path: &str, display_name: &str, description: &str) -> Self {
        Self {
            path: path.to_owned(),
            display_name: display_name.to_owned(),
            description: Some(description.to_owned()),
        }
    }
}

/// Which fields a form shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Number of the mask, for those who edit it.
    pub version: u32,
    /// Fields that are always shown.
    #[serde(default)]
    pub quick_fields: Vec<MaskField>,
    /// Fields that are shown when asked for.
    #[serde(default)]
    pub advanced_fields: Vec<MaskField>,
}

/// What is wrong with a mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// It is not YAML, or not the YAML of a mask.
    #[error("{0}")]
    Syntax(String),
    /// A list is too long.
    #[error("{list}: at most 100 fields")]
    TooMany {
        /// Which one.
        list: &'static str,
    },
    /// A field has no name.
    #[error("{list}: {path} has no display_name")]
    Nameless {
        /// In which list.
        list: &'static str,
        /// Its path.
        path: String,
    },
    /// A path stands there twice.
    #[error("{list}: {path} stands there twice")]
    Twice {
        /// In which list the second one is.
        list: &'static str,
        /// The path.
        path: String,
    },
    /// A path is not known.
    #[error("{list}: {path} is not a known path{}", hint(.suggestion.as_deref()))]
    UnknownPath {
        /// In which list.
        list: &'static str,
        /// The path.
        path: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |path| format!("; perhaps {path} is meant"))
}

impl Default for Mask {
    fn default() -> Self {
        let below_domain = |path: &str| format!("spec.template.spec.domain.{path}");
        Self {
            version: 1,
            quick_fields: vec![
                MaskField::new(
                    &below_domain("cpu.cores"),
                    "CPU cores",
                    "Virtual processors of the machine",
                ),
                MaskField::new(
                    &below_domain("resources.requests.memory"),
                    "Memory",
                    "Memory that is set aside for the machine",
                ),
            ],
            advanced_fields: vec![
                MaskField::new(
                    &below_domain("devices.gpus"),
                    "GPUs",
                    "Graphics processors of the machine",
                ),
                MaskField::new(
                    &below_domain("memory.hugepages.pageSize"),
                    "Huge pages",
                    "Size of the memory pages that back the machine",
                ),
                MaskField::new(
                    &below_domain("cpu.dedicatedCpuPlacement"),
                    "Dedicated CPUs",
                    "Whether the processors are the machine's alone",
                ),
            ],
        }
    }
}

impl Mask {
    /// Reads a mask file and checks it against a schema: the product's own, which every cluster covers.
    ///
    /// # Errors
    /// See [`MaskError`]; the first one.
    pub fn from_yaml(text: &str, schema: &VmSchema) -> Result<Self, MaskError> {
        // Errors name the place and repeat no lines: they end in logs.
        let options = serde_saphyr::options! { with_snippet: false };
        let mask: Self =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| MaskError::Syntax(error.to_string()))?;
        mask.check(schema)?;
        Ok(mask)
    }

    fn check(&self, schema: &VmSchema) -> Result<(), MaskError> {
        let mut seen = Vec::new();
        for (list, fields) in [
            ("quick_fields", &self.quick_fields),
            ("advanced_fields", &self.advanced_fields),
        ] {
            if fields.len() > MAX_FIELDS {
                return Err(MaskError::TooMany { list });
            }
            for field in fields {
                let path = || field.path.clone();
                if field.display_name.trim().is_empty() {
                    return Err(MaskError::Nameless { list, path: path() });
                }
                if seen.contains(&field.path.as_str()) {
                    return Err(MaskError::Twice { list, path: path() });
                }
                let parsed = SpecPath::parse(&field.path).ok();
                if parsed.as_ref().and_then(|parsed| schema.at(parsed)).is_none() {
                    let suggestion = parsed.and_then(|parsed| schema.suggest(&parsed));
                    return Err(MaskError::UnknownPath {
                        list,
                        path: path(),
                        suggestion,
                    });
                }
                seen.push(field.path.as_str());
            }
        }
        Ok(())
    }
}
