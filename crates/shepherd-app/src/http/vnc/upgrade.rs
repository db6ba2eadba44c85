//! The request that asks for a WebSocket, and who may ask.

use actix_web::HttpRequest;
use actix_web::http::header::{
    CONNECTION, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use shepherd_domain::problem::{ErrorCode, Problem};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::Url;

/// The only subprotocol: the bytes of the console in binary messages, which is also what happens without one.
const PROTOCOL: &str = "binary";
/// Bytes of a key.
const KEY_LEN: usize = 16;

/// A request for a WebSocket that can be answered.
pub(in crate::http) struct Handshake {
    accept: String,
    offers_protocol: bool,
}

/// Whether a request asks for a WebSocket.
pub(in crate::http) fn is_wanted(request: &HttpRequest) -> bool {
    names(request, UPGRADE, "websocket")
}

impl Handshake {
    /// Reads what RFC 6455 asks of a request.
    ///
    /// # Errors
    /// INVALID_REQUEST.
    pub(in crate::http) fn read(request: &HttpRequest) -> Result<Self, Problem> {
        let invalid = |reason: &str| Problem::new(ErrorCode::InvalidRequest).with("reason", reason);
        // Of a request with further protocols the server would keep the bytes that follow to itself.
        let upgrade = header(request, UPGRADE).unwrap_or_default();
        if !upgrade.trim().eq_ignore_ascii_case("websocket") {
            return Err(invalid("Upgrade names another protocol"));
        }
        if !names(request, CONNECTION, "upgrade") {
            return Err(invalid("Connection does not name the upgrade"));
        }
        if !names(request, SEC_WEBSOCKET_VERSION, "13") {
            return Err(invalid("Sec-WebSocket-Version is not 13"));
        }
        let key = header(request, SEC_WEBSOCKET_KEY).unwrap_or_default();
        if STANDARD.decode(key).map(|key| key.len()) != Ok(KEY_LEN) {
            return Err(invalid("Sec-WebSocket-Key is no key"));
        }
        Ok(Self {
            accept: derive_accept_key(key.as_bytes()),
            offers_protocol: names(request, SEC_WEBSOCKET_PROTOCOL, PROTOCOL),
        })
    }

    /// `Sec-WebSocket-Accept`.
    pub(super) fn accept(&self) -> &str {
        &self.accept
    }

    /// `Sec-WebSocket-Protocol`, if one that is known was offered.
    pub(super) fn protocol(&self) -> Option<&'static str> {
        self.offers_protocol.then_some(PROTOCOL)
    }
}

/// Only pages of our own, and of origins that may call at all, open consoles: a WebSocket knows no other rule that
/// would keep foreign pages out.
///
/// # Errors
/// FORBIDDEN.
pub(in crate::http) fn require_origin(request: &HttpRequest, is_listed: impl Fn(&str) -> bool) -> Result<(), Problem> {
    let refused = || Problem::new(ErrorCode::Forbidden).with("reason", "origin");
    let mut origins = request.headers().get_all(ORIGIN);
    let origin = origins.next().and_then(|origin| origin.to_str().ok());
    let origin = origin.filter(|_| origins.next().is_none()).ok_or_else(refused)?;
    if is_listed(origin) || is_own(request, origin) {
        return Ok(());
    }
    Err(refused())
}

/// Whether a page was loaded from the host it calls. The scheme is the browser's: who stands in front of us may have
/// taken the encryption off. Anybody on the way can forge a page without encryption, so one counts only from the
/// browser's own host.
fn is_own(request: &HttpRequest, origin: &str) -> bool {
    let (Some(host), Ok(origin)) = (header(request, HOST), Url::parse(origin)) else {
        return false;
    };
    let is_trusted = match origin.scheme() {
        "https" => true,
        "http" => is_loopback(&origin),
        _ => false,
    };
    if !is_trusted {
        return false;
    }
    let own = Url::parse(&format!("{}://{host}", origin.scheme()));
    own.is_ok_and(|own| own.origin() == origin.origin())
}

fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

fn header(request: &HttpRequest, name: HeaderName) -> Option<&str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Whether a list in a header names something, in whatever case.
fn names(request: &HttpRequest, name: HeaderName, wanted: &str) -> bool {
    request
        .headers()
        .get_all(name)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    /// Key and accept key of RFC 6455.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn request(headers: &[(HeaderName, &str)]) -> HttpRequest {
        let mut request = TestRequest::default();
        for (name, value) in headers {
            request = request.insert_header((name.clone(), *value));
        }
        request.to_http_request()
    }

    #[test]
    fn a_browsers_request_is_answered_as_it_expects() {
        let asked = request(&[
            (UPGRADE, "WebSocket"),
            (CONNECTION, "keep-alive, Upgrade"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, KEY),
            (SEC_WEBSOCKET_PROTOCOL, "chat, binary"),
        ]);
        assert!(is_wanted(&asked));
        let handshake = Handshake::read(&asked).unwrap();
        assert_eq!(handshake.accept(), ACCEPT);
        assert_eq!(handshake.protocol(), Some("binary"));
    }

    #[test]
    fn what_is_missing_is_no_handshake() {
        let whole = [
            (UPGRADE, "websocket"),
            (CONNECTION, "Upgrade"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, KEY),
        ];
        assert_eq!(Handshake::read(&request(&whole)).unwrap().protocol(), None);
        for missing in 0..whole.len() {
            let mut headers = whole.to_vec();
            headers.remove(missing);
            assert!(Handshake::read(&request(&headers)).is_err(), "{:?}", whole[missing]);
        }
        assert!(!is_wanted(&request(&whole[1..])));
    }

    #[test]
    fn foreign_pages_and_those_of_nobody_are_refused() {
        let is_listed = |origin: &str| origin == "https://portal.example.org";
        let passes =
            |origin: &str, host: &str| require_origin(&request(&[(ORIGIN, origin), (HOST, host)]), is_listed).is_ok();
        assert!(passes("https://portal.example.org", "api.example.org"));
        assert!(passes("https://api.example.org", "api.example.org"));
        assert!(passes("https://api.example.org", "api.example.org:443"));
        assert!(passes("http://127.0.0.1:8080", "127.0.0.1:8080"));
        assert!(passes("http://localhost:8080", "localhost:8080"));
        assert!(passes("http://[::1]:8080", "[::1]:8080"));
        assert!(!passes("http://api.example.org", "api.example.org"));
        assert!(!passes("http://portal.example.org", "portal.example.org"));
        assert!(!passes("http://127.0.0.1.evil.example", "127.0.0.1.evil.example"));
        assert!(!passes("https://api.example.org:8443", "api.example.org"));
        assert!(!passes("https://api.example.org.evil.example", "api.example.org"));
        assert!(!passes("https://evil.example", "api.example.org"));
        assert!(!passes("null", "api.example.org"));
        assert!(!passes("", "api.example.org"));
        assert!(require_origin(&request(&[(HOST, "api.example.org")]), is_listed).is_err());
    }
}
