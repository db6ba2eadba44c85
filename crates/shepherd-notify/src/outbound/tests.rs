//! What the resolver lets through, with names that answer as a test wants them to.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use shepherd_ports::outbound::OutboundRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

/// Answers the nth question with the nth answer, and all later ones with the last.
struct Script {
    answers: Vec<Vec<&'static str>>,
    asked: AtomicUsize,
}

impl Script {
    fn of(answers: &[&[&'static str]]) -> Arc<Self> {
        Arc::new(Self {
            answers: answers.iter().map(|answer| answer.to_vec()).collect(),
            asked: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl NameLookup for Script {
    async fn addresses(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.answers.get(number).or(self.answers.last()).unwrap();
        Ok(answer.iter().map(|text| text.parse().unwrap()).collect())
    }
}

fn loopback() -> Vec<IpNet> {
    vec!["127.0.0.1/32".parse().unwrap()]
}

fn blocked(host: &str) -> OutboundError {
    OutboundError::Blocked { host: host.to_owned() }
}

fn get(url: String) -> OutboundRequest {
    OutboundRequest {
        method: OutboundMethod::Get,
        url,
        headers: Vec::new(),
        body: Vec::new(),
        timeout: PATIENCE,
    }
}

/// Answers one request with 204.
async fn receiver() -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    #[expect(clippy::disallowed_methods, reason = "the test awaits it")]
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    });
    (port, answering)
}

#[tokio::test]
async fn a_name_with_one_inner_address_among_outer_ones_is_blocked() {
    for answer in [
        &["1.1.1.1", "10.0.0.1"][..],
        &["127.0.0.1"],
        &["1.1.1.1", "::1"],
        &["::ffff:169.254.169.254"],
        &["64:ff9b::a00:1", "2606:4700::1111"],
    ] {
        let client = GuardedClient::with_lookup(Vec::new(), Script::of(&[answer]));
        let url = "https://receiver.example.org/audit";
        assert_eq!(
            client.check(url).await,
            Err(blocked("receiver.example.org")),
            "{answer:?}"
        );
        let sent = client.send(get(url.to_owned())).await;
        assert_eq!(sent, Err(blocked("receiver.example.org")), "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_changes_after_the_check_is_judged_again() {
    let script = Script::of(&[&["1.1.1.1"], &["10.0.0.1"]]);
    let client = GuardedClient::with_lookup(Vec::new(), script.clone());
    let url = "https://receiver.example.org/audit";
    assert_eq!(client.check(url).await, Ok(()));
    assert_eq!(
        client.send(get(url.to_owned())).await,
        Err(blocked("receiver.example.org"))
    );
    assert_eq!(script.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_judged_address_is_the_one_that_is_connected_to() {
    let (port, answering) = receiver().await;
    // A second look-up would answer an address that is not allowed.
    let script = Script::of(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let client = GuardedClient::with_lookup(loopback(), script.clone());
    let sent = client.send(get(format!("http://receiver.example.org:{port}/"))).await;
    assert_eq!(sent.map(|answer| answer.status), Ok(204));
    assert_eq!(script.asked.load(Ordering::Relaxed), 1);
    answering.await.unwrap();
}

#[tokio::test]
async fn plain_http_needs_every_address_to_be_listed() {
    let plain = OutboundError::InvalidUrl("plain HTTP is for networks of the allow-list only");
    let rows: [(&[&'static str], Result<(), OutboundError>); 4] = [
        (&["127.0.0.1"], Ok(())),
        (&["127.0.0.1", "1.1.1.1"], Err(plain.clone())),
        (&["1.1.1.1"], Err(plain)),
        (&["127.0.0.1", "10.0.0.1"], Err(blocked("receiver.example.org"))),
    ];
    for (answer, expected) in rows {
        let client = GuardedClient::with_lookup(loopback(), Script::of(&[answer]));
        assert_eq!(
            client.check("http://receiver.example.org/audit").await,
            expected,
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_name_without_addresses_is_no_place() {
    let client = GuardedClient::with_lookup(Vec::new(), Script::of(&[&[]]));
    let unknown = Err(OutboundError::Failed("the host name cannot be looked up"));
    assert_eq!(client.check("https://receiver.example.org").await, unknown);
}

#[tokio::test]
async fn hosts_are_judged_in_their_normal_spelling() {
    let client = GuardedClient::with_lookup(Vec::new(), Script::of(&[&["1.1.1.1"]]));
    let spelled = |text: &str| client.policy.target(text).map(|target| target.host_text().to_owned());
    for (url, host) in [
        ("https://2130706433/", "127.0.0.1"),
        ("https://0x7f.1/", "127.0.0.1"),
        ("https://0177.0.0.1/", "127.0.0.1"),
        ("https://127.1/", "127.0.0.1"),
        ("https://%31%32%37.0.0.1/", "127.0.0.1"),
        ("https://１２７.0.0.1/", "127.0.0.1"),
        ("https://[::FFFF:127.0.0.1]/", "[::ffff:7f00:1]"),
        ("https://EXAMPLE.org/", "example.org"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
    ] {
        assert_eq!(spelled(url).as_deref(), Ok(host), "{url}");
    }
}

#[tokio::test]
async fn another_list_holds_for_the_next_request() {
    let client = GuardedClient::with_lookup(Vec::new(), Script::of(&[]));
    let (refused, open) = (Err(blocked("127.0.0.1")), Ok(()));
    assert_eq!(client.check("https://127.0.0.1/audit").await, refused);
    client.set_allowlist(loopback());
    assert_eq!(client.check("https://127.0.0.1/audit").await, open);
    client.set_allowlist(Vec::new());
    assert_eq!(client.check("https://127.0.0.1/audit").await, refused);
}
