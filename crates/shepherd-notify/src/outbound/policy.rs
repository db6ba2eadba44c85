//! Which URLs and addresses requests may go to.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{PoisonError, RwLock};

use ipnet::IpNet;
use shepherd_domain::network::{AddressClass, classify, embedded, is_local_name, is_metadata_name};
use shepherd_ports::outbound::OutboundError;
use url::{Host, Url};

/// Most bytes of a URL.
const MAX_URL: usize = 2048;

/// How a target is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// With TLS.
    Https,
    /// Without; only to addresses of the allow-list.
    Http,
}

/// Why an address or a name is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It must not be reached.
    #[error("the address is not allowed")]
    Blocked,
    /// It may be reached by HTTPS only.
    #[error("the address is not allowed without TLS")]
    PlainHttp,
    /// The name leads nowhere.
    #[error("the name cannot be looked up")]
    Unknown,
}

/// A URL of a form that may be sent to, if its host may.
#[derive(Clone, Debug)]
pub(super) struct Target {
    url: Url,
    scheme: Scheme,
    host: Host,
    host_text: String,
}

impl Target {
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// The host in its normal spelling: lower case, IDNA, IPv4 in dotted decimals.
    pub(super) fn host_text(&self) -> &str {
        &self.host_text
    }
}

/// The rules, with the networks that an operator opened.
#[derive(Debug)]
pub(super) struct Policy {
    allowlist: RwLock<Vec<IpNet>>,
}

impl Policy {
    pub(super) fn new(allowlist: Vec<IpNet>) -> Self {
        Self {
            allowlist: RwLock::new(allowlist),
        }
    }

    /// Opens other networks from now on.
    pub(super) fn set_allowlist(&self, allowlist: Vec<IpNet>) {
        *self.allowlist.write().unwrap_or_else(PoisonError::into_inner) = allowlist;
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// [`OutboundError::InvalidUrl`]; [`OutboundError::Blocked`] for the name of a metadata service, or of this host unless loopback
    /// is in the list.
    pub(super) fn target(&self, text: &str) -> Result<Target, OutboundError> {
        // The parser drops tabs and line ends wherever they stand, so that a URL would not be what people read.
        if text.len() > MAX_URL || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(OutboundError::InvalidUrl("the URL is too long or holds blanks"));
        }
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            return Err(OutboundError::InvalidUrl("not an HTTPS URL"));
        };
        // It also takes backslashes for slashes, and any number of them before the host.
        if rest.starts_with('/') || text.contains('\\') {
            return Err(OutboundError::InvalidUrl("not a URL"));
        }
        let url = Url::parse(text).map_err(|_| OutboundError::InvalidUrl("not a URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OutboundError::InvalidUrl("credentials do not belong into a URL"));
        }
        if url.fragment().is_some() {
            return Err(OutboundError::InvalidUrl("a fragment is never sent"));
        }
        let host = url
            .host()
            .map(|host| host.to_owned())
            .ok_or(OutboundError::InvalidUrl("the URL has no host"))?;
        if let Host::Domain(name) = &host {
            if name.trim_end_matches('.').is_empty() {
                return Err(OutboundError::InvalidUrl("the URL has no host"));
            }
            if is_metadata_name(name) || (is_local_name(name) && !self.lists(IpAddr::V4(Ipv4Addr::LOCALHOST))) {
                return Err(OutboundError::Blocked { host: name.clone() });
            }
        }
        let host_text = url.host_str().unwrap_or_default().to_owned();
        Ok(Target {
            url,
            scheme,
            host,
            host_text,
        })
    }

    /// Judges one address.
    pub(super) fn judge(&self, address: IpAddr, scheme: Scheme) -> Result<(), Refusal> {
        let listed = self.lists(address);
        let open = match classify(address) {
            AddressClass::Public => true,
            // Whatever a list says: credentials of the machine itself are to be had there.
            AddressClass::LinkLocal | AddressClass::Metadata | AddressClass::CloudHost => false,
            AddressClass::Unspecified
            | AddressClass::Loopback
            | AddressClass::Private
            | AddressClass::Multicast
            | AddressClass::Broadcast
            | AddressClass::Reserved => listed,
        };
        match (open, scheme) {
            (false, _) => Err(Refusal::Blocked),
            (true, Scheme::Http) if !listed => Err(Refusal::PlainHttp),
            (true, Scheme::Http | Scheme::Https) => Ok(()),
        }
    }

    /// Whether the allow-list holds the address, or the IPv4 address that it leads to.
    fn lists(&self, address: IpAddr) -> bool {
        let inner = match address {
            IpAddr::V6(address) => embedded(address).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        let allowlist = self.allowlist.read().unwrap_or_else(PoisonError::into_inner);
        let holds = |address: &IpAddr| allowlist.iter().any(|network| network.contains(address));
        holds(&address) || inner.as_ref().is_some_and(holds)
    }
}
