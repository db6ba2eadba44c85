//! Networks of a machine.

use serde::{Deserialize, Serialize};

use super::names;
use super::reader::Node;
use crate::problem::Problem;

/// Most networks of a template.
const MAX_NETWORKS: usize = 16;
/// Name of the interface on the pod network.
const POD: &str = "default";
/// Most characters of `namespace/name`.
const MAX_ATTACHMENT: usize = names::MAX_LABEL + 1 + names::MAX_SUBDOMAIN;

/// A network of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Network {
    /// The pod network with masquerade.
    Pod {},
    /// A network attachment definition.
    Multus {
        /// Interface name: a DNS label, unique among the networks of the machine.
        name: String,
        /// `namespace/name` of the attachment, or its name alone when it is in the namespace of the machine.
        attachment: String,
    },
}

impl Network {
    fn name(&self) -> &str {
        match self {
            Self::Pod {} => POD,
            Self::Multus { name, .. } => name,
        }
    }
}

/// Reads the networks of a spec.
pub(super) fn read(node: &Node<'_>) -> Result<Vec<Network>, Problem> {
    let mut networks: Vec<Network> = Vec::new();
    for entry in node.entries(MAX_NETWORKS)? {
        let object = entry.object(&["pod", "multus"])?;
        let network = match (object.optional("pod"), object.optional("multus")) {
            (Some(_), Some(second)) => return Err(second.refused("is a second network: make it an entry of its own")),
            (None, None) => return Err(object.refused("is no network: add `pod: {}` or `multus: {name, attachment}`")),
            (Some(pod), None) => {
                pod.object(&[])?;
                Network::Pod {}
            }
            (None, Some(multus)) => self::multus(&multus)?,
        };
        if networks.iter().any(|other| other.name() == network.name()) {
            return Err(entry.refused(&taken(&network)));
        }
        networks.push(network);
    }
    Ok(networks)
}

fn multus(node: &Node<'_>) -> Result<Network, Problem> {
    let object = node.object(&["name", "attachment"])?;
    let at_name = object.required("name")?;
    let name = at_name.name(names::MAX_LABEL, names::is_dns_label, "a DNS label")?;
    if name == POD {
        return Err(at_name.refused("is the name of the pod network: choose another one"));
    }
    let attachment = object.required("attachment")?.name(
        MAX_ATTACHMENT,
        is_attachment,
        "`namespace/name` of a network attachment",
    )?;
    Ok(Network::Multus { name, attachment })
}

fn is_attachment(text: &str) -> bool {
    match text.split_once('/') {
        Some((namespace, name)) => names::is_dns_label(namespace) && names::is_dns_subdomain(name),
        None => names::is_dns_subdomain(text),
    }
}

fn taken(network: &Network) -> String {
    match network {
        Network::Pod {} => "is a second pod network: remove it".to_owned(),
        Network::Multus { name, .. } => format!("another network is named {name} as well: choose another name"),
    }
}
