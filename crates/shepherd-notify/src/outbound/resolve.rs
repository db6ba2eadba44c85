//! Names become addresses here, and only addresses that were judged leave.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::policy::{Policy, Refusal, Scheme};

/// Looks names up.
#[async_trait]
pub(super) trait NameLookup: Send + Sync {
    /// All addresses of a name.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the operating system.
pub(super) struct SystemLookup;

#[async_trait]
impl NameLookup for SystemLookup {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// The addresses of a name, if every one of them may be connected to. One that may not refuses the name: whoever
/// answers for a name must not be able to hide an inner address among outer ones.
pub(super) async fn judged_addresses(
    lookup: &dyn NameLookup,
    policy: &Policy,
    name: &str,
    scheme: Scheme,
) -> Result<Vec<IpAddr>, Refusal> {
    let found = lookup.addresses(name).await.map_err(|_| Refusal::Unknown)?;
    if found.is_empty() {
        return Err(Refusal::Unknown);
    }
    for address in &found {
        policy.judge(*address, scheme)?;
    }
    Ok(found)
}

/// The resolver of a client for one scheme.
pub(super) struct CheckedResolver {
    policy: Arc<Policy>,
    lookup: Arc<dyn NameLookup>,
    scheme: Scheme,
}

impl CheckedResolver {
    pub(super) fn new(policy: Arc<Policy>, lookup: Arc<dyn NameLookup>, scheme: Scheme) -> Self {
        Self { policy, lookup, scheme }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, lookup, scheme) = (Arc::clone(&self.policy), Arc::clone(&self.lookup), self.scheme);
        Box::pin(async move {
            let judged = judged_addresses(&*lookup, &policy, name.as_str(), scheme).await?;
            // Port 0 stands for the port of the URL.
            let addresses: Addrs = Box::new(judged.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
