//! The guest: how it boots, and who enters it first.

use serde::{Deserialize, Serialize};

use super::names;
use super::reader::{Node, Object};
use crate::problem::Problem;

/// Most characters of a hint.
const MAX_HINT: usize = 64;
/// Buses that KubeVirt attaches a disk by.
const BUSES: [(&str, &str); 4] = [("virtio", "virtio"), ("sata", "sata"), ("scsi", "scsi"), ("usb", "usb")];
const FIRMWARES: [(&str, Firmware); 2] = [("bios", Firmware::Bios), ("efi", Firmware::Efi)];
/// The account that cloud images of most distributions have.
const ACCESS_USER: &str = "cloud-user";

/// What the platform should know about the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guest {
    /// The operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_hints: Option<OsHints>,
    /// The account that is given the one-time password: a Linux user name.
    pub access_user: String,
    /// Whether there is a one-time password.
    pub initial_password: bool,
    /// How it boots.
    pub firmware: Firmware,
    /// Disk bus: `virtio`, or `sata`, `scsi` or `usb` when the guest lacks the driver.
    pub disk_bus: String,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            os_hints: None,
            access_user: ACCESS_USER.to_owned(),
            initial_password: true,
            firmware: Firmware::Bios,
            disk_bus: "virtio".to_owned(),
        }
    }
}

/// What is known about the operating system; for people and inventories, nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OsHints {
    /// For example `linux` or `windows`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// For example `debian`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// For example `12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
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

/// Reads the guest of a spec. What it does not say is the default.
pub(super) fn read(node: &Node<'_>) -> Result<Guest, Problem> {
    let object = node.object(&["os_hints", "access_user", "initial_password", "firmware", "disk_bus"])?;
    let mut guest = Guest::default();
    if let Some(node) = object.optional("os_hints") {
        guest.os_hints = os_hints(&node)?;
    }
    if let Some(node) = object.optional("access_user") {
        guest.access_user = node.name(
            names::MAX_USER,
            names::is_user_name,
            "a Linux user name: lower-case letters, digits, _ and -, beginning with a letter or _",
        )?;
    }
    if let Some(node) = object.optional("initial_password") {
        guest.initial_password = node.flag()?;
    }
    if let Some(node) = object.optional("firmware") {
        guest.firmware = node.choice(&FIRMWARES)?;
    }
    if let Some(node) = object.optional("disk_bus") {
        guest.disk_bus = node.choice(&BUSES)?.to_owned();
    }
    Ok(guest)
}

/// No hint at all is the same as none given.
fn os_hints(node: &Node<'_>) -> Result<Option<OsHints>, Problem> {
    let object = node.object(&["family", "distribution", "version"])?;
    let hints = OsHints {
        family: hint(&object, "family")?,
        distribution: hint(&object, "distribution")?,
        version: hint(&object, "version")?,
    };
    Ok((hints != OsHints::default()).then_some(hints))
}

fn hint(object: &Object<'_>, key: &str) -> Result<Option<String>, Problem> {
    object
        .optional(key)
        .map(|node| node.line(MAX_HINT).map(str::to_owned))
        .transpose()
}
