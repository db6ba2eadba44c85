//! `domain`: processors, memory, firmware, clock and features.

use super::devices;
use crate::schema::node::Node;

pub(super) fn domain() -> Node {
    Node::object([
        ("chassis", chassis()),
        ("clock", clock()),
        ("cpu", cpu()),
        ("devices", devices::devices()),
        ("features", features()),
        ("firmware", firmware()),
        ("ioThreadsPolicy", Node::string()),
        ("machine", Node::object([("type", Node::string())])),
        ("memory", memory()),
        ("resources", resources()),
    ])
}

fn cpu() -> Node {
    let feature = Node::object([("name", Node::string()), ("policy", Node::string())]);
    Node::object([
        ("cores", Node::integer()),
        ("dedicatedCpuPlacement", Node::boolean()),
        ("features", Node::list(feature)),
        ("isolateEmulatorThread", Node::boolean()),
        ("maxSockets", Node::integer()),
        ("model", Node::string()),
        ("numa", Node::object([("guestMappingPassthrough", Node::object([]))])),
        ("realtime", Node::object([("mask", Node::string())])),
        ("sockets", Node::integer()),
        ("threads", Node::integer()),
    ])
}

fn memory() -> Node {
    Node::object([
        ("guest", Node::quantity()),
        ("hugepages", Node::object([("pageSize", Node::string())])),
    ])
}

fn resources() -> Node {
    Node::object([
        ("limits", Node::map(Node::quantity())),
        ("overcommitGuestOverhead", Node::boolean()),
        ("requests", Node::map(Node::quantity())),
    ])
}

fn firmware() -> Node {
    let efi = Node::object([("persistent", Node::boolean()), ("secureBoot", Node::boolean())]);
    let bootloader = Node::object([("bios", Node::object([("useSerial", Node::boolean())])), ("efi", efi)]);
    Node::object([
        ("bootloader", bootloader),
        ("serial", Node::string()),
        ("uuid", Node::string()),
    ])
}

fn chassis() -> Node {
    Node::object(["asset", "manufacturer", "serial", "sku", "version"].map(|key| (key, Node::string())))
}

fn clock() -> Node {
    let present = || ("present", Node::boolean());
    let ticking = || Node::object([present(), ("tickPolicy", Node::string())]);
    let rtc = Node::object([present(), ("tickPolicy", Node::string()), ("track", Node::string())]);
    let timer = Node::object([
        ("hpet", ticking()),
        ("hyperv", Node::object([present()])),
        ("kvm", Node::object([present()])),
        ("pit", ticking()),
        ("rtc", rtc),
    ]);
    Node::object([
        ("timer", timer),
        ("timezone", Node::string()),
        ("utc", Node::object([("offsetSeconds", Node::integer())])),
    ])
}

fn enabled() -> Node {
    Node::object([("enabled", Node::boolean())])
}

fn features() -> Node {
    let apic = Node::object([("enabled", Node::boolean()), ("endOfInterrupt", Node::boolean())]);
    Node::object([
        ("acpi", enabled()),
        ("apic", apic),
        ("hyperv", hyperv()),
        ("kvm", Node::object([("hidden", Node::boolean())])),
        ("pvspinlock", enabled()),
        ("smm", enabled()),
    ])
}

fn hyperv() -> Node {
    let spinlocks = Node::object([("enabled", Node::boolean()), ("spinlocks", Node::integer())]);
    let synictimer = Node::object([("direct", enabled()), ("enabled", Node::boolean())]);
    let vendorid = Node::object([("enabled", Node::boolean()), ("vendorid", Node::string())]);
    Node::object([
        ("evmcs", enabled()),
        ("frequencies", enabled()),
        ("ipi", enabled()),
        ("reenlightenment", enabled()),
        ("relaxed", enabled()),
        ("reset", enabled()),
        ("runtime", enabled()),
        ("spinlocks", spinlocks),
        ("synic", enabled()),
        ("synictimer", synictimer),
        // Later versions know more of this one.
        ("tlbflush", enabled()),
        ("vapic", enabled()),
        ("vendorid", vendorid),
        ("vpindex", enabled()),
    ])
}
