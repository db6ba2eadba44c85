//! What leaves and what does not, with real connections on this machine.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test should end it where it stands"
)]

use std::time::{Duration, Instant};

use shepherd_notify::GuardedClient;
use shepherd_ports::outbound::{
    MAX_ANSWER_BYTES, OutboundAnswer, OutboundClient, OutboundError, OutboundMethod, OutboundRequest,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

const PATIENCE: Duration = Duration::from_secs(60);

fn client(allowlist: &[&str]) -> GuardedClient {
    GuardedClient::new(allowlist.iter().map(|network| network.parse().unwrap()).collect())
}

fn post(url: &str) -> OutboundRequest {
    OutboundRequest {
        method: OutboundMethod::Post,
        url: url.to_owned(),
        headers: vec![("x-key".to_owned(), Zeroizing::new("value".to_owned()))],
        body: b"{}".to_vec(),
        timeout: PATIENCE,
    }
}

/// Sends to a server that answers with these bytes; answers what it was sent, and what came of it.
async fn exchange(answer: Vec<u8>, request: impl FnOnce(u16) -> OutboundRequest) -> (String, Sent) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = client(&["127.0.0.1/32"]);
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_request(&mut stream).await;
        // The client may hang up in the middle of a long answer.
        let _ = stream.write_all(&answer).await;
        head
    };
    tokio::join!(serve, client.send(request(port)))
}

type Sent = Result<OutboundAnswer, OutboundError>;

/// Reads until the body `{}` is there.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while !text.ends_with(b"\r\n\r\n{}") {
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "the request broke off");
        text.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn inner_addresses_are_blocked_in_every_spelling() {
    let client = client(&[]);
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001::1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fec0::1]",
        "[ff02::1]",
        "localhost",
        "LOCALHOST.",
        "metadata.google.internal",
        "metadata.google.internal.",
    ] {
        let url = format!("https://{host}:8443/audit");
        let refused = |outcome: &Result<(), OutboundError>| matches!(outcome, Err(OutboundError::Blocked { .. }));
        let checked = client.check(&url).await;
        assert!(refused(&checked), "{host}: {checked:?}");
        let sent = client.send(post(&url)).await.map(drop);
        assert!(refused(&sent), "{host}: {sent:?}");
    }
}

#[tokio::test]
async fn no_list_opens_metadata_services() {
    let client = client(&["0.0.0.0/0", "::/0"]);
    for host in [
        "169.254.169.254",
        "169.254.1.1",
        "100.100.100.200",
        "168.63.129.16",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "metadata.google.internal",
    ] {
        let checked = client.check(&format!("https://{host}/")).await;
        assert!(matches!(checked, Err(OutboundError::Blocked { .. })), "{host}");
    }
    assert_eq!(client.check("https://10.0.0.1/").await, Ok(()));
    assert_eq!(client.check("https://[fd12::1]/").await, Ok(()));
}

#[tokio::test]
async fn urls_of_another_form_are_never_sent_to() {
    let client = client(&["127.0.0.1/32"]);
    let long = format!("https://example.org/{}", "a".repeat(2048));
    for url in [
        "",
        "example.org",
        "//example.org",
        "ftp://example.org",
        "file:///etc/passwd",
        "gopher://127.0.0.1",
        "https://",
        "https://.",
        "https:example.org",
        "https:/example.org",
        "https:///example.org",
        "https:\\\\example.org",
        "https://example.org\\@1.1.1.1",
        "HTTPS://example.org",
        "https://user@example.org",
        "https://user:word@example.org",
        "https://example.org/#part",
        "https://exam\tple.org",
        " https://example.org",
        "https://exa mple.org",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://1.1.1.1:99999",
        "https://256.0.0.1",
        "http://1.1.1.1",
        long.as_str(),
    ] {
        let checked = client.check(url).await;
        assert!(
            matches!(checked, Err(OutboundError::InvalidUrl(_))),
            "{url}: {checked:?}"
        );
    }
}

#[tokio::test]
async fn a_listed_address_may_be_reached_without_tls() {
    let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 4\r\n\r\ndone".to_vec();
    let (request, sent) = exchange(answer, |port| post(&format!("http://127.0.0.1:{port}/audit?a=b"))).await;
    assert!(request.starts_with("POST /audit?a=b HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nx-key: value\r\n"), "{request}");
    let answer = sent.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (201, b"done".as_slice()));
    assert!(answer.is_success());
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_no_way() {
    let answer = b"HTTP/1.1 307 Elsewhere\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n".to_vec();
    let (_, sent) = exchange(answer, |port| post(&format!("http://127.0.0.1:{port}/"))).await;
    let answer = sent.unwrap();
    assert_eq!(answer.status, 307);
    assert!(!answer.is_success());
}

#[tokio::test]
async fn a_long_answer_is_cut() {
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n".to_vec();
    answer.resize(10_000_000, b'x');
    let (_, sent) = exchange(answer, |port| post(&format!("http://127.0.0.1:{port}/"))).await;
    assert_eq!(sent.unwrap().body.len(), MAX_ANSWER_BYTES);
}

#[tokio::test]
async fn who_does_not_answer_is_given_up() {
    // The kernel accepts the connection; nobody reads from it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let request = OutboundRequest {
        timeout: Duration::from_millis(200),
        ..post(&format!("http://127.0.0.1:{port}/"))
    };
    let begun = Instant::now();
    assert_eq!(
        client(&["127.0.0.1/32"]).send(request).await,
        Err(OutboundError::Timeout)
    );
    assert!(begun.elapsed() < PATIENCE);
}

#[tokio::test]
async fn who_does_not_speak_tls_hears_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = client(&["127.0.0.1/32"]);
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 1024];
        let length = stream.read(&mut hello).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        hello[..length].to_vec()
    };
    let request = post(&format!("https://127.0.0.1:{port}/"));
    let both = async { tokio::join!(serve, client.send(request)) };
    let (hello, sent) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert_eq!(sent, Err(OutboundError::Failed("the connection failed")));
    assert_eq!(hello.first(), Some(&0x16), "a TLS handshake and no request");
}

#[tokio::test]
async fn nobody_there_is_a_failed_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let sent = client(&["127.0.0.1/32"])
        .send(post(&format!("http://127.0.0.1:{port}/")))
        .await;
    assert_eq!(sent, Err(OutboundError::Failed("the connection failed")));
}
