//! Networks and the interfaces on them.

use serde_json::{Value, json};
use shepherd_domain::catalog::Network;

/// Name of the interface on the pod network.
const POD: &str = "default";
/// What a template that names no network gets.
const POD_ONLY: &[Network] = &[Network::Pod {}];

/// Two lists that belong together by name.
pub(super) struct Networks {
    /// `domain.devices.interfaces`.
    pub interfaces: Vec<Value>,
    /// `networks`.
    pub networks: Vec<Value>,
}

/// The networks of a template, the pod network when it names none. The first attachment is the SR-IOV one when the
/// size asks for that.
pub(super) fn networks(wanted: &[Network], requires_sriov: bool) -> Networks {
    let wanted = if wanted.is_empty() { POD_ONLY } else { wanted };
    let mut sriov_wanted = requires_sriov;
    let mut made = Networks {
        interfaces: Vec::new(),
        networks: Vec::new(),
    };
    for network in wanted {
        match network {
            Network::Pod {} => {
                made.interfaces.push(json!({"name": POD, "masquerade": {}}));
                made.networks.push(json!({"name": POD, "pod": {}}));
            }
            Network::Multus { name, attachment } => {
                let binding = if std::mem::take(&mut sriov_wanted) {
                    "sriov"
                } else {
                    "bridge"
                };
                made.interfaces.push(json!({"name": name, binding: {}}));
                made.networks
                    .push(json!({"name": name, "multus": {"networkName": attachment}}));
            }
        }
    }
    made
}
