//! Templates: a typed spec that knows no hardware, no names and no variables.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::{Display, EnumString, IntoStaticStr};

use crate::problem::{ErrorCode, Problem};

/// The life of a template version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum TemplateStatus {
    /// Being written.
    Draft,
    /// Offered for new machines; one per name.
    Active,
    /// No new machines.
    Deprecated,
    /// Hidden everywhere except by id.
    Archived,
}

impl TemplateStatus {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What boots and how the guest is initialised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateSpec {
    /// Where the root disk comes from.
    pub image_source: ImageSource,
    /// Guest initialisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,
    /// Further volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<ExtraVolume>,
    /// Networks; none means the pod network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// Hints about the guest.
    #[serde(default)]
    pub guest: Guest,
}

/// Exactly one source of the root disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ImageSource {
    /// An image in a registry; the disk itself is ephemeral.
    ContainerDisk {
        /// Image reference.
        image: String,
        /// `Always`, `IfNotPresent` or `Never`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pull_policy: Option<String>,
    },
    /// A volume that is cloned.
    Pvc {
        /// Namespace of the source.
        namespace: String,
        /// Name of the source.
        name: String,
    },
    /// An import.
    DataVolume(DataVolumeSource),
}

/// Where an import comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case", deny_unknown_fields)]
pub enum DataVolumeSource {
    /// Over HTTP.
    Http {
        /// Address of the image.
        url: String,
        /// Secret with credentials.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_ref: Option<String>,
    },
    /// From a container registry.
    Registry {
        /// `docker://...`
        url: String,
        /// Secret with credentials.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_ref: Option<String>,
    },
    /// From an object store.
    S3 {
        /// Address of the object.
        url: String,
        /// Secret with credentials.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_ref: Option<String>,
    },
    /// An empty disk.
    Blank {},
}

/// cloud-init documents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudInit {
    /// `#cloud-config` YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// Network configuration YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_data: Option<String>,
}

/// A further volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraVolume {
    /// Disk and volume name.
    pub name: String,
    /// What it holds.
    #[serde(flatten)]
    pub source: VolumeSource,
}

/// What a further volume holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum VolumeSource {
    /// Scratch space of this many GiB.
    EmptyDisk {
        /// Size in GiB.
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
}

/// A network of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Network {
    /// The pod network with masquerade.
    Pod {},
    /// A network attachment definition.
    Multus {
        /// Interface name.
        name: String,
        /// `namespace/name` of the attachment.
        attachment: String,
    },
}

/// Hints about the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guest {
    /// How it boots.
    pub firmware: Firmware,
    /// Disk bus, `virtio` unless the guest lacks the driver.
    pub disk_bus: String,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            firmware: Firmware::Bios,
            disk_bus: "virtio".to_owned(),
        }
    }
}

/// How a guest boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// BIOS.
    #[default]
    Bios,
    /// UEFI.
    Efi,
}

/// Keys a template may not have at any depth: hardware belongs to the instance size, identity to the platform.
const PROHIBITED: &[&str] = &[
    "cpu",
    "memory",
    "resources",
    "domain",
    "required_features",
    "required_hardware",
    "dedicated_cpu",
    "hugepages_size",
    "running",
    "runstrategy",
    "run_strategy",
    "metadata",
    "labels",
];

impl TemplateSpec {
    /// Parses a template spec by allow-list.
    ///
    /// # Errors
    /// TEMPLATE_SPEC_VIOLATION with the path and a hint.
    pub fn parse(value: &Value) -> Result<Self, Problem> {
        check_prohibited(value, &mut "spec".to_owned())?;
        let spec: Self =
            serde_json::from_value(value.clone()).map_err(|error| violation("spec", &error.to_string()))?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), Problem> {
        match &self.image_source {
            ImageSource::ContainerDisk { image, pull_policy } => {
                non_empty("spec.image_source.container_disk.image", image)?;
                if pull_policy
                    .as_deref()
                    .is_some_and(|policy| !["Always", "IfNotPresent", "Never"].contains(&policy))
                {
                    return Err(violation(
                        "spec.image_source.container_disk.pull_policy",
                        "one of Always, IfNotPresent, Never",
                    ));
                }
            }
            ImageSource::Pvc { namespace, name } => {
                non_empty("spec.image_source.pvc.namespace", namespace)?;
                non_empty("spec.image_source.pvc.name", name)?;
            }
            ImageSource::DataVolume(source) => match source {
                DataVolumeSource::Http { url, .. }
                | DataVolumeSource::Registry { url, .. }
                | DataVolumeSource::S3 { url, .. } => {
                    non_empty("spec.image_source.data_volume.url", url)?;
                }
                DataVolumeSource::Blank {} => {}
            },
        }
        if let Some(user_data) = self.cloud_init.as_ref().and_then(|init| init.user_data.as_deref())
            && !user_data.trim_start().starts_with("#cloud-config")
        {
            return Err(violation("spec.cloud_init.user_data", "starts with #cloud-config"));
        }
        let mut names: Vec<&str> = vec!["root", "data", "cloudinit"];
        for (index, volume) in self.volumes.iter().enumerate() {
            if names.contains(&volume.name.as_str()) || !is_dns_label(&volume.name) {
                return Err(violation(
                    &format!("spec.volumes[{index}].name"),
                    "a DNS label of its own",
                ));
            }
            names.push(&volume.name);
        }
        Ok(())
    }
}

fn is_dns_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn non_empty(path: &str, text: &str) -> Result<(), Problem> {
    if text.trim().is_empty() {
        Err(violation(path, "must not be empty"))
    } else {
        Ok(())
    }
}

fn violation(path: &str, hint: &str) -> Problem {
    Problem::new(ErrorCode::TemplateSpecViolation)
        .with("path", path)
        .with("hint", hint.chars().take(300).collect::<String>())
}

/// Looks for prohibited keys and template delimiters, whatever their nesting or spelling.
fn check_prohibited(value: &Value, path: &mut String) -> Result<(), Problem> {
    let base = path.len();
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                path.push('.');
                path.push_str(key);
                let lower = key.to_lowercase();
                let last = lower.rsplit('.').next().unwrap_or_default();
                if PROHIBITED.contains(&lower.as_str()) || PROHIBITED.contains(&last) || lower.starts_with("requires_")
                {
                    return Err(violation(path, "hardware and identity do not belong into a template"));
                }
                check_prohibited(inner, path)?;
                path.truncate(base);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                check_prohibited(inner, path)?;
                path.truncate(base);
            }
        }
        Value::String(text) if text.contains("{{") => return Err(violation(path, "templates have no variables")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}
