//! What an IP address or a host name stands for, as far as it decides whether the platform may connect there.
//!
//! Classification only: which class is refused is the rule of whoever asks. Nothing is resolved here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services that are neither loopback nor link-local.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);
/// Addresses by which clouds serve the machines that run on them: Azure, Oracle, Google.
const CLOUD_HOSTS_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
const CLOUD_HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254);
/// Names of metadata services.
const METADATA_NAMES: [&str; 4] = ["metadata.google.internal", "metadata.goog", "metadata", "instance-data"];
/// Names of this host.
const LOCAL_NAMES: [&str; 6] = [
    "localhost",
    "localhost.localdomain",
    "localhost6",
    "localhost6.localdomain6",
    "ip6-localhost",
    "ip6-loopback",
];

/// What an address stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// Reached over the internet.
    Public,
    /// `0.0.0.0/8` and `::`: this host, wherever a system lets one connect to it.
    Unspecified,
    /// This host.
    Loopback,
    /// This link; metadata services of clouds live here.
    LinkLocal,
    /// A metadata service that is not link-local.
    Metadata,
    /// Another address by which a cloud serves its machines.
    CloudHost,
    /// RFC 1918, shared address space (RFC 6598), unique local and site-local addresses.
    Private,
    /// Multicast.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// Documentation, benchmarks, protocol assignments, translation prefixes, and what is not assigned.
    Reserved,
}

/// What the address stands for. An IPv6 address that leads to an IPv4 one stands for that one.
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => embedded(address).map_or_else(|| classify_v6(address), classify_v4),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    let [a, b, c, _] = address.octets();
    if address == METADATA_V4 {
        return AddressClass::Metadata;
    }
    if CLOUD_HOSTS_V4.contains(&address) {
        return AddressClass::CloudHost;
    }
    match (a, b, c) {
        (0, ..) => AddressClass::Unspecified,
        (127, ..) => AddressClass::Loopback,
        (169, 254, _) => AddressClass::LinkLocal,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => AddressClass::Private,
        (224..=239, ..) => AddressClass::Multicast,
        _ if address.is_broadcast() => AddressClass::Broadcast,
        // Protocol assignments, 6to4 relays, documentation, benchmarks, and everything from 240 on.
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) | (240..=255, ..) => {
            AddressClass::Reserved
        }
        _ => AddressClass::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    if address.is_unspecified() {
        return AddressClass::Unspecified;
    }
    if address.is_loopback() {
        return AddressClass::Loopback;
    }
    if address == METADATA_V6 {
        return AddressClass::Metadata;
    }
    if address == CLOUD_HOST_V6 {
        return AddressClass::CloudHost;
    }
    match address.segments() {
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => AddressClass::Private,
        // Protocol assignments (Teredo, ORCHID, benchmarks) and documentation.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => AddressClass::Reserved,
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        // Nothing else is assigned, but the translation prefix of local networks, 64:ff9b:1::/48.
        _ => AddressClass::Reserved,
    }
}

/// The IPv4 address an IPv6 address leads to: mapped, compatible, 6to4 or NAT64.
pub fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x0064, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(join(high, low))
        }
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(join(high, low)),
        _ => None,
    }
}

/// Whether the name is that of a metadata service, in any spelling.
pub fn is_metadata_name(name: &str) -> bool {
    let name = plain(name);
    METADATA_NAMES.contains(&name.as_str()) || name.starts_with("instance-data.")
}

/// Whether the name is one of this host, in any spelling.
pub fn is_local_name(name: &str) -> bool {
    let name = plain(name);
    LOCAL_NAMES.contains(&name.as_str()) || name.ends_with(".localhost")
}

/// The name without the dots of its root, in lower case.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
