//! The HTTP client for what this program sends.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Client, redirect};

/// A client for requests to this address. One for plain HTTP needs no certificate authorities, which a bare machine may
/// not have.
pub(crate) fn for_address(url: &str) -> anyhow::Result<Client> {
    // It wants to know whose cryptography it would use; a second call finds the first one's choice.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(Duration::from_secs(30));
    let client = if url.starts_with("http://") {
        client.tls_certs_only([])
    } else {
        client
    };
    client.build().context("make an HTTP client")
}
