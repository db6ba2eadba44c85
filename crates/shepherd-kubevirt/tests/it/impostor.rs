//! Something that answers where a cluster should be: answers no simulator gives.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use shepherd_domain::infrastructure::InstanceType;
use shepherd_kubevirt::{CallLimits, KubeVirtProvider};
use shepherd_ports::providers::{ConsoleProvider, InstanceTypeProvider, ProviderError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::lab::{CLUSTER, provider};
use crate::simulator;

const PATIENCE: Duration = Duration::from_secs(20);

/// An HTTP server that says what it is told to.
struct Impostor {
    listener: TcpListener,
    provider: Arc<KubeVirtProvider>,
    /// First lines of the requests so far.
    asked: Mutex<Vec<String>>,
}

impl Impostor {
    async fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let real = simulator().await;
        let mut kubeconfig: Value = serde_saphyr::from_str(&real.kubeconfig()).expect("a kubeconfig is YAML");
        real.stop().await;
        kubeconfig["clusters"][0]["cluster"]["server"] = Value::from(format!("http://{address}"));
        Self {
            listener,
            provider: provider(&kubeconfig.to_string(), CallLimits::default()).0,
            asked: Mutex::default(),
        }
    }

    /// Answers every request until the work is done; `answer` gets the head of the request.
    async fn during<T>(&self, answer: impl Fn(&str) -> String, work: impl Future<Output = T>) -> T {
        tokio::select! {
            never = self.serve(&answer) => match never {},
            done = work => done,
        }
    }

    async fn serve(&self, answer: &impl Fn(&str) -> String) -> Infallible {
        loop {
            let mut socket = self.answer(answer).await;
            // Whether the client still listens is its own affair.
            let _closed = socket.shutdown().await;
        }
    }

    /// Answers one request, and keeps the connection open.
    async fn answer(&self, answer: &impl Fn(&str) -> String) -> TcpStream {
        let (mut socket, _) = self.listener.accept().await.expect("a client");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let byte = socket.read_u8().await.expect("the request has an end");
            head.push(char::from(byte));
        }
        let line = head.lines().next().unwrap_or_default().to_owned();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        let bytes = answer(&head);
        socket.write_all(bytes.as_bytes()).await.expect("the client listens");
        socket
    }

    fn was_asked_for(&self, path: &str) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().any(|line| line.contains(path))
    }
}

/// An answer with a body.
fn answer(code: u16, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {code} X\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn json_answer(body: &Value) -> String {
    answer(200, "application/json", &body.to_string())
}

/// The list of groups of a cluster that serves instance types in these versions.
fn groups(versions: &[&str]) -> Value {
    let group = |name: &str, versions: &[&str]| {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
            .collect();
        json!({"name": name, "versions": versions, "preferredVersion": versions[0]})
    };
    let mut groups = vec![group("kubevirt.io", &["v1"])];
    if !versions.is_empty() {
        groups.push(group("instancetype.kubevirt.io", versions));
    }
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

#[tokio::test]
async fn a_cluster_without_instance_types_says_so() {
    let impostor = Impostor::new().await;
    let unreadable: [&[&str]; 2] = [&[], &["v7"]];
    for versions in unreadable {
        let provider = &impostor.provider;
        let refusals = impostor
            .during(|_| json_answer(&groups(versions)), async {
                [
                    provider.list_instance_types(CLUSTER, "shop").await.err(),
                    provider.list_cluster_instance_types(CLUSTER).await.err(),
                    provider.list_preferences(CLUSTER, "shop").await.err(),
                    provider.list_cluster_preferences(CLUSTER).await.err(),
                ]
            })
            .await;
        for refusal in refusals {
            assert!(
                matches!(&refusal, Some(ProviderError::Unsupported(why)) if why.contains("instancetype.kubevirt.io")),
                "{versions:?}: {refusal:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_newest_version_of_instance_types_is_read() {
    let impostor = Impostor::new().await;
    let list = json!({
        "kind": "VirtualMachineClusterInstancetypeList",
        "apiVersion": "instancetype.kubevirt.io/v1",
        "metadata": {"resourceVersion": "1"},
        "items": [{"metadata": {"name": "u1.small"}, "spec": {"cpu": {"guest": 1}, "memory": {"guest": "2Gi"}}}],
    });
    let say = |head: &str| {
        if head.starts_with("GET /apis/instancetype.kubevirt.io/v1/") {
            json_answer(&list)
        } else {
            json_answer(&groups(&["v1beta1", "v1", "v1alpha1"]))
        }
    };
    let found = impostor
        .during(say, impostor.provider.list_cluster_instance_types(CLUSTER))
        .await;
    let small = InstanceType {
        name: "u1.small".to_owned(),
        cpu: Some(1),
        memory: Some("2Gi".to_owned()),
        cluster_wide: true,
    };
    assert_eq!(found, Ok(vec![small]));
    assert!(impostor.was_asked_for("/v1/virtualmachineclusterinstancetypes"));
}

/// The upgrade a request asks for, in a subprotocol.
fn upgrade(head: &str, protocol: &str) -> String {
    let key = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .map(|(_, key)| key.trim())
        .unwrap_or_default();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {}\r\nsec-websocket-protocol: {protocol}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
}

#[tokio::test]
async fn an_upgrade_to_something_else_is_refused() {
    let impostor = Impostor::new().await;
    let open = || impostor.provider.get_vnc_connection(CLUSTER, "shop", "web-01");
    let other_protocol = |head: &str| upgrade(head, "v5.channel.k8s.io");
    let other_request = |_: &str| upgrade("", "plain.kubevirt.io");
    let no_upgrade = |_: &str| answer(200, "text/html", "<html>welcome</html>");
    for refusal in [
        impostor.during(other_protocol, open()).await.err(),
        impostor.during(other_request, open()).await.err(),
        impostor.during(no_upgrade, open()).await.err(),
    ] {
        assert!(matches!(refusal, Some(ProviderError::Schema(_))), "{refusal:?}");
    }
    let page = |_: &str| answer(404, "text/html", "<html>no such host</html>");
    let refusal = impostor.during(page, open()).await.err();
    assert!(
        matches!(refusal, Some(ProviderError::Unreachable(_))),
        "a proxy's page does not prove that the machine is off: {refusal:?}"
    );
}

#[tokio::test]
async fn a_dropped_console_closes_its_connection() {
    let impostor = Impostor::new().await;
    let plain = |head: &str| upgrade(head, "plain.kubevirt.io");
    let (mut socket, opened) = tokio::join!(
        impostor.answer(&plain),
        impostor.provider.get_serial_console(CLUSTER, "shop", "web-01")
    );
    let mut console = opened.expect("the console opens");
    // A binary message of three bytes, as servers send it: unmasked.
    socket.write_all(b"\x82\x03log").await.expect("the console listens");
    let mut said = [0; 3];
    console.read_exact(&mut said).await.expect("the console speaks");
    assert_eq!(&said, b"log");
    drop(console);
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "the connection stays open");
}
