//! Where the API server may be: anywhere behind HTTPS, except on this host, on its link, or at a metadata service.
//!
//! Private ranges are fine, because clusters live there. Names are not resolved: what a name means may change after
//! it was looked at, so network policy has to cover names.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use shepherd_domain::network::{AddressClass, classify, embedded, is_local_name, is_metadata_name};
use url::{Host, Url};

use super::Refusal;

/// The address in its normal spelling, if it may be connected to.
///
/// The normal spelling is what is stored, so that no later parser can read another host out of the original one.
pub(super) fn check(server: &str, allowlist: &[IpNet]) -> Result<String, Refusal> {
    let url = Url::parse(server.trim()).map_err(|_| Refusal::InsecureUrl)?;
    let plain = url.scheme() == "https"
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(Refusal::InsecureUrl);
    }
    let listed = |address: IpAddr| allowlist.iter().any(|network| network.contains(&address));
    let open = |address: IpAddr| {
        let inner = match address {
            IpAddr::V6(address) => embedded(address).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        !is_internal(address) || listed(address) || inner.is_some_and(listed)
    };
    let allowed = match url.host() {
        Some(Host::Ipv4(address)) => open(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => open(IpAddr::V6(address)),
        Some(Host::Domain(name)) => is_allowed_name(name, listed(IpAddr::V4(Ipv4Addr::LOCALHOST))),
        None => false,
    };
    if allowed {
        Ok(url.as_str().trim_end_matches('/').to_owned())
    } else {
        Err(Refusal::InsecureUrl)
    }
}

fn is_allowed_name(name: &str, loopback_listed: bool) -> bool {
    let rooted = name.trim_end_matches('.');
    !rooted.is_empty() && !is_metadata_name(name) && (!is_local_name(name) || loopback_listed)
}

/// Whether the address is on this host, on its link, or a service of the cloud's own hosts.
fn is_internal(address: IpAddr) -> bool {
    match classify(address) {
        AddressClass::Unspecified
        | AddressClass::Loopback
        | AddressClass::LinkLocal
        | AddressClass::Metadata
        | AddressClass::CloudHost
        | AddressClass::Multicast
        | AddressClass::Broadcast => true,
        AddressClass::Public | AddressClass::Private | AddressClass::Reserved => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_and_private_addresses_pass() {
        for (server, stored) in [
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("https://192.168.1.2/", "https://192.168.1.2"),
            ("https://api.example.com:443", "https://api.example.com"),
            (
                "https://rancher.example.com/k8s/clusters/c-1/",
                "https://rancher.example.com/k8s/clusters/c-1",
            ),
            ("https://[2001:db8::1]:6443", "https://[2001:db8::1]:6443"),
            ("https://[fd12::1]", "https://[fd12::1]"),
            ("https://0x0a000001", "https://10.0.0.1"),
        ] {
            assert_eq!(check(server, &[]).as_deref(), Ok(stored));
        }
    }

    #[test]
    fn this_host_its_link_and_metadata_services_do_not() {
        for server in [
            "http://10.0.0.1",
            "ftp://10.0.0.1",
            "10.0.0.1:6443",
            "https://",
            "https://user@10.0.0.1",
            "https://user:secret@10.0.0.1",
            "https://10.0.0.1/?a=b",
            "https://10.0.0.1/#a",
            "https://127.0.0.1",
            "https://127.9.9.9:6443",
            "https://0.0.0.0",
            "https://169.254.169.254",
            "https://169.254.0.1",
            "https://100.100.100.200",
            "https://224.0.0.1",
            "https://255.255.255.255",
            "https://2130706433",
            "https://0x7f000001",
            "https://0177.0.0.1",
            "https://127.1",
            "https://[::1]",
            "https://[::]",
            "https://[fe80::1]",
            "https://[ff02::1]",
            "https://[fd00:ec2::254]",
            "https://[::ffff:127.0.0.1]",
            "https://[::ffff:169.254.169.254]",
            "https://[::127.0.0.1]",
            "https://[64:ff9b::7f00:1]",
            "https://[2002:7f00:1::]",
            "https://localhost:6443",
            "https://LOCALHOST.",
            "https://api.localhost",
            "https://localhost.localdomain",
            "https://metadata.google.internal",
            "https://metadata.google.internal.",
            "https://instance-data.ec2.internal",
        ] {
            assert_eq!(check(server, &[]), Err(Refusal::InsecureUrl), "{server}");
        }
    }

    #[test]
    fn the_list_allows_addresses_and_with_loopback_its_names() {
        let list: Vec<IpNet> = ["127.0.0.0/8", "169.254.0.0/16", "::1/128"]
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        for server in [
            "https://127.0.0.1:6443",
            "https://[::1]:6443",
            "https://[::ffff:127.0.0.1]",
            "https://169.254.7.7",
            "https://localhost:6443",
            "https://a.localhost",
        ] {
            assert!(check(server, &list).is_ok(), "{server}");
        }
        for server in [
            "https://0.0.0.0",
            "https://[fe80::1]",
            "https://metadata.google.internal",
        ] {
            assert_eq!(check(server, &list), Err(Refusal::InsecureUrl), "{server}");
        }
    }
}
