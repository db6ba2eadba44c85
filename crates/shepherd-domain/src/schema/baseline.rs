//! The product's own schema: what it renders, derives columns from, shows, and lets sizes set.
//!
//! Only what every supported version of KubeVirt knows stands here, so that a machine that passes can be made
//! anywhere. `shepherd-kubevirt` compares it with the definition of a real cluster.

mod devices;
mod domain;
mod storage;

use super::node::Node;

/// `spec` of a VirtualMachine.
pub(super) fn spec() -> Node {
    Node::object([
        ("dataVolumeTemplates", Node::list(storage::data_volume_template())),
        ("runStrategy", Node::string()),
        ("running", Node::boolean()),
        (
            "template",
            Node::object([("metadata", Node::map(Node::any())), ("spec", instance())]),
        ),
    ])
}

/// `spec` of the instance.
fn instance() -> Node {
    Node::object([
        ("accessCredentials", Node::list(Node::map(Node::any()))),
        ("affinity", Node::map(Node::any())),
        ("architecture", Node::string()),
        ("dnsConfig", Node::map(Node::any())),
        ("dnsPolicy", Node::string()),
        ("domain", domain::domain()),
        ("evictionStrategy", Node::string()),
        ("hostname", Node::string()),
        ("livenessProbe", Node::map(Node::any())),
        ("networks", Node::list(network())),
        ("nodeSelector", Node::map(Node::string())),
        ("priorityClassName", Node::string()),
        ("readinessProbe", Node::map(Node::any())),
        ("schedulerName", Node::string()),
        ("startStrategy", Node::string()),
        ("subdomain", Node::string()),
        ("terminationGracePeriodSeconds", Node::integer()),
        ("tolerations", Node::list(toleration())),
        ("topologySpreadConstraints", Node::list(Node::map(Node::any()))),
        ("volumes", Node::list(storage::volume())),
    ])
}

fn network() -> Node {
    Node::object([
        ("name", Node::string()),
        (
            "pod",
            Node::object([("vmIPv6NetworkCIDR", Node::string()), ("vmNetworkCIDR", Node::string())]),
        ),
        (
            "multus",
            Node::object([("default", Node::boolean()), ("networkName", Node::string())]),
        ),
    ])
}

fn toleration() -> Node {
    Node::object([
        ("effect", Node::string()),
        ("key", Node::string()),
        ("operator", Node::string()),
        ("tolerationSeconds", Node::integer()),
        ("value", Node::string()),
    ])
}
