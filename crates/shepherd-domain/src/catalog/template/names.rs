//! Names and addresses that a template may hold, each by its grammar.

use std::net::Ipv6Addr;

use super::reader::Node;
use crate::problem::Problem;

/// Most characters of a DNS label.
pub(super) const MAX_LABEL: usize = 63;
/// Most characters of a DNS subdomain, which is what most objects of a cluster are named by.
pub(super) const MAX_SUBDOMAIN: usize = 253;
/// Most characters of an image reference: 255 for the name, 128 for a tag, the rest for a digest.
pub(super) const MAX_IMAGE: usize = 530;
/// Most characters of a URL.
pub(super) const MAX_URL: usize = 2048;
/// Most characters of a user name in a Linux guest.
pub(super) const MAX_USER: usize = 32;

/// Most characters of the name in an image reference.
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;
/// Algorithms of an image digest and the length of its hexadecimal form.
const DIGESTS: [(&str, usize); 2] = [("sha256", 64), ("sha512", 128)];
/// Algorithms the importer knows and the length of the sum in hexadecimal form.
const CHECKSUMS: [(&str, usize); 4] = [("md5", 32), ("sha1", 40), ("sha256", 64), ("sha512", 128)];

const NOT_HTTP: &str = "must begin with https:// or http://";
const NOT_S3: &str = "must begin with https://, http:// or s3://";
const NOT_REGISTRY: &str = "must begin with docker:// or oci-archive:";
const NO_IMAGE: &str = "needs an image reference after docker://, such as docker://quay.io/containerdisks/debian:12";
const NO_ARCHIVE: &str = "needs the path of an archive after oci-archive:";
const NOT_PRINTABLE: &str = "has characters that a URL cannot have: percent-encode them";
const FRAGMENT: &str = "has a fragment, which no server ever sees: remove it from the # on";
const CREDENTIALS: &str = "has credentials: put them into a Secret and name it in secret_ref";
const NO_HOST: &str = "needs a host name or address after ://";

/// A DNS-1123 label: 1 to 63 of `a-z`, `0-9` and hyphens, which are neither first nor last.
pub(super) fn is_dns_label(name: &str) -> bool {
    (1..=MAX_LABEL).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// A DNS-1123 subdomain: labels joined by dots, at most 253 characters.
pub(super) fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= MAX_SUBDOMAIN && name.split('.').all(is_dns_label)
}

/// The name of a Secret, a ConfigMap or a claim.
pub(super) fn object_name(node: &Node<'_>) -> Result<String, Problem> {
    node.name(
        MAX_SUBDOMAIN,
        is_dns_subdomain,
        "the name of an object: lower-case letters, digits, hyphens and dots",
    )
}

/// A user name every Linux distribution takes.
pub(super) fn is_user_name(name: &str) -> bool {
    (1..=MAX_USER).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// `[registry[:port]/]name[:tag][@digest]`.
pub(super) fn is_image_reference(text: &str) -> bool {
    let (text, digest) = match text.split_once('@') {
        Some((text, digest)) => (text, Some(digest)),
        None => (text, None),
    };
    // A colon behind the last slash begins the tag; one before it is that of a port.
    let (name, tag) = match text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((name, tag)) => (name, Some(tag)),
        None => (text, None),
    };
    name.len() <= MAX_REPOSITORY
        && is_repository(name)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(|digest| is_sum(digest, &DIGESTS))
}

fn is_repository(name: &str) -> bool {
    match name.split_once('/') {
        // What comes first is a registry when it cannot be anything else.
        Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => {
            is_authority(first) && rest.split('/').all(is_path_component)
        }
        Some(_) | None => name.split('/').all(is_path_component),
    }
}

/// Lower-case letters and digits, with one of `.`, `_`, `__` or any number of hyphens between them.
fn is_path_component(component: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-');
    component.starts_with(is_plain) && component.ends_with(is_plain) && component.split(is_plain).all(is_separator)
}

fn is_tag(tag: &str) -> bool {
    (1..=MAX_TAG).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// `algorithm:hexadecimal` of one of these algorithms, in lower case.
fn is_sum(text: &str, algorithms: &[(&str, usize)]) -> bool {
    text.split_once(':').is_some_and(|(algorithm, sum)| {
        algorithms.contains(&(algorithm, sum.len())) && sum.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// `sha256:` and the like, in lower case whatever it was written in, because the importer compares the letters.
pub(super) fn checksum(node: &Node<'_>) -> Result<String, Problem> {
    let sum = node.line(MAX_SUBDOMAIN)?.to_ascii_lowercase();
    if is_sum(&sum, &CHECKSUMS) {
        Ok(sum)
    } else {
        Err(node.refused(
            "must be md5:, sha1:, sha256: or sha512: and the sum in hexadecimal, of the length that belongs to it",
        ))
    }
}

/// What is wrong with the address of an HTTP server, if anything.
pub(super) fn http_objection(url: &str) -> Option<&'static str> {
    url_objection(url, &["https", "http"], NOT_HTTP)
}

/// What is wrong with the address of an object in a store, if anything.
pub(super) fn s3_objection(url: &str) -> Option<&'static str> {
    url_objection(url, &["https", "http", "s3"], NOT_S3)
}

/// What is wrong with the address of an image in a registry, if anything.
pub(super) fn registry_objection(url: &str) -> Option<&'static str> {
    if let Some(image) = url.strip_prefix("docker://") {
        return (!is_image_reference(image)).then_some(NO_IMAGE);
    }
    match url.strip_prefix("oci-archive:") {
        None => Some(NOT_REGISTRY),
        Some(path) if path.trim_start_matches('/').is_empty() => Some(NO_ARCHIVE),
        Some(path) => (!is_printable(path)).then_some(NOT_PRINTABLE),
    }
}

fn url_objection(url: &str, schemes: &[&str], wrong_scheme: &'static str) -> Option<&'static str> {
    let Some((_, rest)) = url.split_once("://").filter(|(scheme, _)| schemes.contains(scheme)) else {
        return Some(wrong_scheme);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if rest.contains('#') {
        Some(FRAGMENT)
    } else if !is_printable(rest) {
        Some(NOT_PRINTABLE)
    } else if authority.contains('@') {
        Some(CREDENTIALS)
    } else {
        (!is_authority(authority)).then_some(NO_HOST)
    }
}

/// The characters of RFC 3986, reserved ones included.
fn is_printable(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b))
}

/// `host[:port]`, where the host is a name, an IPv4 address or an IPv6 address in brackets.
fn is_authority(text: &str) -> bool {
    let (is_host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (is_dns_subdomain(&host.to_ascii_lowercase()), port)
        }
    };
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}
