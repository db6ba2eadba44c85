//! Screens and serial lines over WebSockets.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use reqwest::{Method, RequestBuilder, Response, Upgraded};
use serde_json::json;
use shepherd_simulator::{FaultEffect, FaultRule};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::server::{MACHINES, MERGE, POWER, Server, answer, machine};

const VNC: &str = "virtualmachineinstances/web/vnc";
const SERIAL: &str = "virtualmachineinstances/web/console";
/// How long a test waits for bytes that should be there at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing has to come for a stream to count as standing still.
const SILENCE: Duration = Duration::from_millis(200);

fn handshake(request: RequestBuilder) -> RequestBuilder {
    request
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

async fn ask(server: &Server, console: &str, protocol: &str) -> Response {
    let request = handshake(server.request(Method::GET, &format!("{POWER}/{console}")));
    request.header("sec-websocket-protocol", protocol).send().await.unwrap()
}

/// An open console.
struct Client {
    socket: WebSocketStream<Upgraded>,
    buffer: Vec<u8>,
}

impl Client {
    async fn open(server: &Server, console: &str) -> Self {
        let response = ask(server, console, "plain.kubevirt.io").await;
        assert_eq!(response.status(), 101);
        assert_eq!(
            response.headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(response.headers()["sec-websocket-protocol"], "plain.kubevirt.io");
        let upgraded = response.upgrade().await.unwrap();
        Self {
            socket: WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await,
            buffer: Vec::new(),
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    /// Receives more; `false` at the end of the stream.
    async fn receive(&mut self) -> bool {
        match tokio::time::timeout(PATIENCE, self.socket.next()).await.unwrap() {
            Some(Ok(Message::Binary(bytes))) => {
                self.buffer.extend_from_slice(&bytes);
                true
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => false,
            Some(Ok(_)) => true,
        }
    }

    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.receive().await, "the stream ended after {:?}", self.buffer);
        }
        self.buffer.drain(..length).collect()
    }

    async fn wait_for(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.buffer).contains(text) {
            assert!(self.receive().await, "the stream ended without {text:?}");
        }
        self.buffer.clear();
    }

    async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(SILENCE, self.socket.next()).await.is_err()
    }
}

async fn running() -> Server {
    let server = Server::start().await;
    server.post(MACHINES, &machine("Always")).await;
    server.wait_for_status("Running").await;
    server
}

#[tokio::test]
async fn a_viewer_sees_what_it_types() {
    let server = running().await;
    let mut viewer = Client::open(&server, VNC).await;
    assert_eq!(viewer.take(12).await, b"RFB 003.008\n");
    viewer.send(b"RFB 003.008\n").await;
    assert_eq!(viewer.take(2).await, [1, 1]);
    viewer.send(&[1, 1]).await;
    assert_eq!(viewer.take(4).await, [0; 4]);
    let init = viewer.take(24).await;
    assert_eq!(init[..4], [1, 64, 0, 200], "320 by 200");
    assert_eq!(viewer.take(11).await, b"default/web");

    let whole = [3, 0, 0, 0, 0, 0, 1, 64, 0, 200];
    viewer.send(&whole).await;
    let before = viewer.take(16 + 320 * 200 * 4).await;
    viewer.send(&[4, 1, 0, 0, 0, 0, 0, b'x']).await;
    viewer.send(&whole).await;
    let after = viewer.take(16 + 320 * 200 * 4).await;
    assert_eq!(before[..16], after[..16]);
    assert_ne!(before, after, "the key left its mark");
}

#[tokio::test]
async fn a_serial_line_answers_and_hangs_up() {
    let server = running().await;
    let mut line = Client::open(&server, SERIAL).await;
    line.wait_for("default/web on ttyS0").await;
    line.send(b"hostname\r").await;
    line.wait_for("\r\nweb\r\n").await;
    line.send(b"exit\r").await;
    line.wait_for("logout").await;
    while line.receive().await {}
}

#[tokio::test]
async fn consoles_are_refused_as_kubevirt_refuses_them() {
    let server = Server::start().await;
    let path = format!("{POWER}/{VNC}");
    let (code, body) = answer(ask(&server, VNC, "plain.kubevirt.io").await).await;
    assert_eq!(code, 404);
    assert_eq!(body["message"], "virtualmachineinstance.kubevirt.io \"web\" not found");

    let mut headless = machine("Always");
    headless["spec"]["template"]["spec"]["domain"]["devices"]["autoattachGraphicsDevice"] = json!(false);
    server.cluster().freeze("default", "web");
    server.post(MACHINES, &headless).await;
    let instance =
        json!({"metadata": {"namespace": "default", "name": "web"}, "spec": {}, "status": {"phase": "Scheduled"}});
    server.cluster().put("VirtualMachineInstance", instance);
    let (code, body) = answer(ask(&server, VNC, "plain.kubevirt.io").await).await;
    assert_eq!((code, &body["message"]), (400, &json!("VMI is not running")));
    server.cluster().delete("VirtualMachineInstance", "default", "web");
    server.cluster().thaw("default", "web");
    server.wait_for_status("Running").await;
    let (code, body) = answer(ask(&server, VNC, "plain.kubevirt.io").await).await;
    assert_eq!(
        (code, &body["message"]),
        (400, &json!("No graphics devices are present."))
    );
    assert_eq!(server.get(&format!("{POWER}/{SERIAL}")).await.0, 400, "not a handshake");

    let anonymous = handshake(server.request_as("nonsense", Method::GET, &path))
        .send()
        .await
        .unwrap();
    assert_eq!(answer(anonymous).await.0, 401);
    let restricted = handshake(server.request_as(&server.restricted(), Method::GET, &path));
    let (code, body) = answer(restricted.send().await.unwrap()).await;
    assert_eq!(code, 403);
    let message = body["message"].as_str().unwrap();
    assert!(
        message.contains("cannot get resource \"virtualmachineinstances/vnc\""),
        "{message}"
    );
}

#[tokio::test]
async fn other_subprotocols_are_tolerated_and_not_confirmed() {
    let server = running().await;
    let response = ask(&server, SERIAL, "binary, base64").await;
    assert_eq!(response.status(), 101);
    assert!(!response.headers().contains_key("sec-websocket-protocol"));
    let response = ask(&server, SERIAL, "binary, plain.kubevirt.io").await;
    assert_eq!(response.headers()["sec-websocket-protocol"], "plain.kubevirt.io");
}

#[tokio::test]
async fn a_stream_ends_with_its_machine() {
    let server = running().await;
    let mut line = Client::open(&server, SERIAL).await;
    line.wait_for("web:~#").await;
    let halted = json!({"spec": {"runStrategy": "Halted"}});
    server.patch(&format!("{MACHINES}/web"), MERGE, &halted).await;
    while line.receive().await {}
}

#[tokio::test]
async fn streams_can_stall_break_and_be_refused() {
    let server = running().await;
    let faults = server.simulator.faults();
    let mut line = Client::open(&server, SERIAL).await;
    line.wait_for("web:~#").await;
    faults.stall_streams(true);
    line.send(b"hostname\r").await;
    assert!(line.is_silent().await);
    faults.stall_streams(false);
    line.wait_for("\r\nweb\r\n").await;
    faults.drop_streams();
    while line.receive().await {}

    faults.inject(FaultRule::next(
        1,
        "GET",
        "/console",
        FaultEffect::StallStream { after_bytes: 0 },
    ));
    assert!(Client::open(&server, SERIAL).await.is_silent().await);
    faults.inject(FaultRule::next(
        1,
        "GET",
        "/console",
        FaultEffect::DropStream { after_bytes: 10 },
    ));
    let mut broken = Client::open(&server, SERIAL).await;
    while broken.receive().await {}
    assert!(broken.buffer.is_empty(), "ten bytes hold no whole message");
    faults.inject(FaultRule::next(
        1,
        "GET",
        "/console",
        FaultEffect::status(503, "ServiceUnavailable"),
    ));
    assert_eq!(ask(&server, SERIAL, "plain.kubevirt.io").await.status(), 503);
}

#[tokio::test]
async fn a_bell_rings_beside_everything_else() {
    let server = running().await;
    let rings = FaultEffect::RingBells { per_second: 100_000 };
    server
        .simulator
        .faults()
        .inject(FaultRule::next(1, "GET", "/vnc", rings));
    let mut viewer = Client::open(&server, VNC).await;
    viewer.send(b"RFB 003.008\n\x01\x01").await;
    viewer.take(12 + 2 + 4 + 24 + "default/web".len()).await;
    assert_eq!(viewer.take(10_000).await, [2; 10_000]);
    viewer.send(&[3, 0, 0, 0, 0, 0, 0, 1, 0, 1]).await;
    let mut byte = viewer.take(1).await;
    while byte == [2] {
        byte = viewer.take(1).await;
    }
    let update = viewer.take(15 + 4).await;
    assert_eq!(update[..15], [0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], "one pixel");
}
