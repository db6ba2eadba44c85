//! `devices`: disks, interfaces, GPUs and the rest.

use crate::schema::node::Node;

pub(super) fn devices() -> Node {
    let named = || Node::object([("name", Node::string()), ("virtiofs", Node::object([]))]);
    Node::object([
        ("autoattachGraphicsDevice", Node::boolean()),
        ("autoattachInputDevice", Node::boolean()),
        ("autoattachMemBalloon", Node::boolean()),
        ("autoattachPodInterface", Node::boolean()),
        ("autoattachSerialConsole", Node::boolean()),
        ("autoattachVSOCK", Node::boolean()),
        ("blockMultiQueue", Node::boolean()),
        ("clientPassthrough", Node::object([])),
        ("disableHotplug", Node::boolean()),
        ("disks", Node::list(disk())),
        ("filesystems", Node::list(named())),
        ("gpus", Node::list(gpu())),
        ("hostDevices", Node::list(host_device())),
        ("inputs", Node::list(input())),
        ("interfaces", Node::list(interface())),
        ("networkInterfaceMultiqueue", Node::boolean()),
        ("rng", Node::object([])),
        (
            "sound",
            Node::object([("model", Node::string()), ("name", Node::string())]),
        ),
        ("tpm", Node::object([("persistent", Node::boolean())])),
        ("useVirtioTransitional", Node::boolean()),
        ("watchdog", watchdog()),
    ])
}

fn disk() -> Node {
    let cdrom = Node::object([
        ("bus", Node::string()),
        ("readonly", Node::boolean()),
        ("tray", Node::string()),
    ]);
    let plain = Node::object([
        ("bus", Node::string()),
        ("pciAddress", Node::string()),
        ("readonly", Node::boolean()),
    ]);
    let lun = Node::object([
        ("bus", Node::string()),
        ("readonly", Node::boolean()),
        ("reservation", Node::boolean()),
    ]);
    let custom = Node::object([("logical", Node::integer()), ("physical", Node::integer())]);
    let block_size = Node::object([
        ("custom", custom),
        ("matchVolume", Node::object([("enabled", Node::boolean())])),
    ]);
    Node::object([
        ("blockSize", block_size),
        ("bootOrder", Node::integer()),
        ("cache", Node::string()),
        ("cdrom", cdrom),
        ("dedicatedIOThread", Node::boolean()),
        ("disk", plain),
        ("io", Node::string()),
        ("lun", lun),
        ("name", Node::string()),
        ("serial", Node::string()),
        ("shareable", Node::boolean()),
        ("tag", Node::string()),
    ])
}

fn gpu() -> Node {
    let display = Node::object([
        ("enabled", Node::boolean()),
        ("ramFB", Node::object([("enabled", Node::boolean())])),
    ]);
    Node::object([
        ("deviceName", Node::string()),
        ("name", Node::string()),
        ("tag", Node::string()),
        ("virtualGPUOptions", Node::object([("display", display)])),
    ])
}

fn host_device() -> Node {
    Node::object(["deviceName", "name", "tag"].map(|key| (key, Node::string())))
}

fn input() -> Node {
    Node::object(["bus", "name", "type"].map(|key| (key, Node::string())))
}

fn interface() -> Node {
    let port = Node::object([
        ("name", Node::string()),
        ("port", Node::integer()),
        ("protocol", Node::string()),
    ]);
    Node::object([
        ("acpiIndex", Node::integer()),
        ("bootOrder", Node::integer()),
        ("bridge", Node::object([])),
        ("dhcpOptions", dhcp_options()),
        ("macAddress", Node::string()),
        ("masquerade", Node::object([])),
        ("model", Node::string()),
        ("name", Node::string()),
        ("pciAddress", Node::string()),
        ("ports", Node::list(port)),
        ("sriov", Node::object([])),
        ("tag", Node::string()),
    ])
}

fn dhcp_options() -> Node {
    let private = Node::object([("option", Node::integer()), ("value", Node::string())]);
    Node::object([
        ("bootFileName", Node::string()),
        ("ntpServers", Node::list(Node::string())),
        ("privateOptions", Node::list(private)),
        ("tftpServerName", Node::string()),
    ])
}

fn watchdog() -> Node {
    Node::object([
        ("i6300esb", Node::object([("action", Node::string())])),
        ("name", Node::string()),
    ])
}
