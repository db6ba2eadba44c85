//! Consoles of running machines: the upgrade of a request to a WebSocket, whose messages become a byte stream.
//!
//! The client library upgrades to the subprotocols of `exec` and its like only. KubeVirt speaks `plain.kubevirt.io`,
//! where every binary message is a piece of the stream; so the request is made, and its answer checked, by hand.

mod stream;

use async_trait::async_trait;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use kube::core::{DynamicObject, Resource, Status};
use shepherd_domain::ids::ClusterId;
use shepherd_ports::providers::{ConsoleConnection, ConsoleProvider, ProviderError};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::errors::{NOT_A_STATUS, provider_error};
use crate::machines::kind;
use crate::provider::KubeVirtProvider;

/// Group of the consoles.
const GROUP: &str = "subresources.kubevirt.io";
/// The subprotocol of all consoles.
const PROTOCOL: &str = "plain.kubevirt.io";

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Console {
    /// The screen.
    Vnc,
    /// The serial line.
    Serial,
}

impl Console {
    /// Last step of the path.
    fn name(self) -> &'static str {
        match self {
            Self::Vnc => "vnc",
            Self::Serial => "console",
        }
    }
}

#[async_trait]
impl ConsoleProvider for KubeVirtProvider {
    async fn get_vnc_connection(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<ConsoleConnection, ProviderError> {
        self.call(cluster, "get_vnc_connection", move |client| async move {
            open(&client, namespace, name, Console::Vnc).await
        })
        .await
    }

    async fn get_serial_console(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<ConsoleConnection, ProviderError> {
        self.call(cluster, "get_serial_console", move |client| async move {
            open(&client, namespace, name, Console::Serial).await
        })
        .await
    }
}

/// Opens a console of a running instance, which has the name of its machine.
///
/// # Errors
/// NotFound when there is no instance, Invalid when it does not run or has no such console, Schema when the answer is
/// no upgrade to a console.
async fn open(
    client: &Client,
    namespace: &str,
    name: &str,
    console: Console,
) -> Result<ConsoleConnection, ProviderError> {
    let key = generate_key();
    let request = request(namespace, name, console, &key)?;
    let response = client.send(request).await.map_err(|error| provider_error(&error))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(response).await);
    }
    check(response.headers(), &key)?;
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|error| provider_error(&kube::Error::HyperError(error)))?;
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(stream::limits())).await;
    Ok(Box::new(stream::MessageStream::new(socket)))
}

fn request(namespace: &str, name: &str, console: Console, key: &str) -> Result<Request<Body>, ProviderError> {
    let instances = kind(GROUP, "v1", "VirtualMachineInstance", "virtualmachineinstances");
    let path = DynamicObject::url_path(&instances, Some(namespace));
    let mut request = kube::core::request::Request::new(path)
        .get_subresource(console.name(), name)
        .map_err(|error| provider_error(&kube::Error::BuildRequest(error)))?;
    let key = HeaderValue::from_str(key).map_err(|_| ProviderError::Schema("the key is no header value".to_owned()))?;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    headers.insert(SEC_WEBSOCKET_KEY, key);
    Ok(request.map(Body::from))
}

/// Why there was no upgrade.
async fn refusal(response: Response<Body>) -> ProviderError {
    let code = response.status();
    if !code.is_client_error() && !code.is_server_error() {
        return ProviderError::Schema(format!("HTTP {} where a console should begin", code.as_u16()));
    }
    let body = match response.into_body().collect_bytes().await {
        Ok(body) => body,
        Err(error) => return provider_error(&error),
    };
    let status = match serde_json::from_slice::<Status>(&body) {
        Ok(status) => status,
        Err(_) => Status::failure(String::from_utf8_lossy(&body).trim(), NOT_A_STATUS),
    };
    provider_error(&kube::Error::Api(status.with_code(code.as_u16()).boxed()))
}

/// Whether an upgrade is the one that was asked for: an answer to this request, and in the protocol of consoles.
fn check(headers: &HeaderMap, key: &str) -> Result<(), ProviderError> {
    let refuse = |what: &str| Err(ProviderError::Schema(format!("the upgrade to a console {what}")));
    let value = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    if !value(UPGRADE).eq_ignore_ascii_case("websocket") {
        return refuse("leads to no WebSocket");
    }
    let mut options = value(CONNECTION).split(',');
    if !options.any(|option| option.trim().eq_ignore_ascii_case("upgrade")) {
        return refuse("does not upgrade the connection");
    }
    if value(SEC_WEBSOCKET_ACCEPT) != derive_accept_key(key.as_bytes()) {
        return refuse("answers another request");
    }
    if value(SEC_WEBSOCKET_PROTOCOL) != PROTOCOL {
        return refuse("does not speak plain.kubevirt.io");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Key and accept key of RFC 6455.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn granted() -> HeaderMap {
        [
            (UPGRADE, "WebSocket"),
            (CONNECTION, "keep-alive, upgrade"),
            (SEC_WEBSOCKET_ACCEPT, ACCEPT),
            (SEC_WEBSOCKET_PROTOCOL, PROTOCOL),
        ]
        .into_iter()
        .map(|(name, value)| (name, HeaderValue::from_static(value)))
        .collect()
    }

    async fn refused(code: u16, body: &str) -> ProviderError {
        let body = Body::from(body.as_bytes().to_vec());
        refusal(Response::builder().status(code).body(body).unwrap()).await
    }

    #[test]
    fn the_request_asks_for_an_upgrade() {
        for (console, path) in [(Console::Vnc, "vnc"), (Console::Serial, "console")] {
            let request = request("shop", "web", console, KEY).unwrap();
            let wanted =
                format!("/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachineinstances/web/{path}");
            assert_eq!(request.uri().path(), wanted);
            assert_eq!(request.method(), "GET");
            assert_eq!(request.headers()[SEC_WEBSOCKET_KEY], KEY);
            assert_eq!(request.headers()[SEC_WEBSOCKET_PROTOCOL], PROTOCOL);
            assert_eq!(request.headers()[CONNECTION], "Upgrade");
        }
    }

    #[test]
    fn an_upgrade_is_what_was_asked_for() {
        assert_eq!(check(&granted(), KEY), Ok(()));
        for (name, wrong) in [
            (UPGRADE, "h2c"),
            (CONNECTION, "keep-alive"),
            (SEC_WEBSOCKET_ACCEPT, KEY),
            (SEC_WEBSOCKET_PROTOCOL, "v5.channel.k8s.io"),
        ] {
            let mut headers = granted();
            headers.insert(name.clone(), HeaderValue::from_static(wrong));
            assert!(matches!(check(&headers, KEY), Err(ProviderError::Schema(_))), "{name}");
            headers.remove(&name);
            assert!(
                matches!(check(&headers, KEY), Err(ProviderError::Schema(_))),
                "without {name}"
            );
        }
    }

    #[tokio::test]
    async fn refusals_are_those_of_the_cluster() {
        let said = |code: u16, reason: &str| {
            json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "why"}).to_string()
        };
        let error = refused(404, &said(404, "NotFound")).await;
        assert_eq!(error, ProviderError::NotFound("why".to_owned()));
        let error = refused(403, &said(403, "Forbidden")).await;
        assert_eq!(error, ProviderError::Forbidden("why".to_owned()));
        let error = refused(409, &said(409, "Conflict")).await;
        assert_eq!(error, ProviderError::Conflict("why".to_owned()));
        let error = refused(400, &said(400, "BadRequest")).await;
        assert!(matches!(error, ProviderError::Invalid { .. }), "{error:?}");
        let error = refused(500, &said(500, "InternalError")).await;
        assert!(matches!(error, ProviderError::Unreachable(_)), "{error:?}");
    }

    #[tokio::test]
    async fn an_answer_of_something_in_between_is_not_the_clusters() {
        let error = refused(404, "<html>no such host</html>").await;
        assert!(matches!(error, ProviderError::Unreachable(_)), "{error:?}");
        let error = refused(403, "{}").await;
        assert!(
            matches!(error, ProviderError::Forbidden(_)),
            "the code counts: {error:?}"
        );
        for code in [200, 204, 302] {
            let error = refused(code, "").await;
            assert!(matches!(error, ProviderError::Schema(_)), "{code}: {error:?}");
        }
    }
}
