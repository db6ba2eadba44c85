//! What addresses stand for, by the registries of special-purpose addresses (RFC 6890 and what followed it).

use std::net::IpAddr;

use shepherd_domain::network::AddressClass::{self, *};
use shepherd_domain::network::{classify, is_local_name, is_metadata_name};

/// The first and last address of a range, and some in between, with its class.
const ADDRESSES: &[(AddressClass, &[&str])] = &[
    (
        Public,
        &[
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860::8888",
            "::ffff:1.1.1.1",
            "::1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
        ],
    ),
    (
        Unspecified,
        &["0.0.0.0", "0.255.255.255", "::", "::ffff:0.0.0.0", "::2"],
    ),
    (
        Loopback,
        &[
            "127.0.0.0",
            "127.0.0.1",
            "127.255.255.255",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ],
    ),
    (
        LinkLocal,
        &[
            "169.254.0.0",
            "169.254.169.254",
            "169.254.255.255",
            "fe80::1",
            "febf:ffff::",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ],
    ),
    (
        Metadata,
        &["100.100.100.200", "fd00:ec2::254", "::ffff:100.100.100.200"],
    ),
    (CloudHost, &["168.63.129.16", "192.0.0.192", "fd20:ce::254"]),
    (
        Private,
        &[
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.0",
            "192.168.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "fc00::1",
            "fdff:ffff::",
            "fec0::1",
            "feff::1",
            "::ffff:10.0.0.1",
        ],
    ),
    (Multicast, &["224.0.0.1", "239.255.255.255", "ff02::1"]),
    (Broadcast, &["255.255.255.255", "::ffff:255.255.255.255"]),
    (
        Reserved,
        &[
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "240.0.0.0",
            "255.255.255.254",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "3fff::1",
            "64:ff9b:1::a00:1",
            "100::1",
            "4000::1",
            "5f00::1",
        ],
    ),
];

#[test]
fn every_special_range_has_its_class() {
    for (class, addresses) in ADDRESSES {
        for text in *addresses {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(classify(address), *class, "{text}");
        }
    }
}

#[test]
fn names_are_known_in_any_spelling() {
    for name in [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "localhost.localdomain",
        "ip6-loopback",
    ] {
        assert!(is_local_name(name), "{name}");
    }
    for name in [
        "metadata.google.internal",
        "Metadata.Google.Internal.",
        "metadata",
        "instance-data.ec2.internal",
    ] {
        assert!(is_metadata_name(name), "{name}");
    }
    for name in ["example.org", "localhost.example.org", "metadata.example.org", "", "."] {
        assert!(!is_local_name(name) && !is_metadata_name(name), "{name}");
    }
}
