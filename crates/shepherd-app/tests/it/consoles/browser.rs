//! What a browser does with a console: it asks for one, carries the cookie, and speaks RFB over the WebSocket.

use futures::{SinkExt as _, StreamExt as _};
use reqwest::header::SET_COOKIE;
use reqwest::{Method, RequestBuilder, Upgraded};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use vnc::{PixelFormat, VncClient, VncConnector, VncEncoding, VncEvent, X11Event};

use crate::client::{Caller, Reply, send};
use crate::server::{PATIENCE, Replica};
use crate::world::World;

/// Key and answer of RFC 6455.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Width and height of the simulated screen.
const WIDTH: usize = 320;
const HEIGHT: usize = 200;
/// What fits between viewer and WebSocket, in bytes.
const PIPE: usize = 64 * 1024;

/// The WebSocket of a console.
pub type Socket = WebSocketStream<Upgraded>;

/// Asks for the console of a machine.
pub async fn ask(caller: &Caller, vm: &str) -> Reply {
    caller.post(&format!("/vms/{vm}/console/request"), &json!({})).await
}

/// The token that an answer gives.
#[track_caller]
pub fn token(reply: &Reply) -> String {
    let cookie = reply.header("set-cookie");
    let value = cookie
        .strip_prefix("vnc_bootstrap=")
        .and_then(|rest| rest.split_once(';'));
    let (value, _) = value.expect("an answer with access gives a token");
    assert!(!value.is_empty(), "the cookie was taken back");
    value.to_owned()
}

/// Asks for a console that is given at once; answers the token.
pub async fn admitted(caller: &Caller, vm: &str) -> String {
    let reply = ask(caller, vm).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    token(&reply)
}

/// A request for the console with a token, by somebody who is nobody but for it.
pub fn visit(world: &World, at: &Replica, vm: &str, token: &str) -> RequestBuilder {
    let request = world.anonymous().at(at).request(Method::GET, &format!("/vms/{vm}/vnc"));
    request.header("cookie", format!("vnc_bootstrap={token}"))
}

/// The same, and asks for the WebSocket; the page is missing.
pub fn upgrade(world: &World, at: &Replica, vm: &str, token: &str) -> RequestBuilder {
    visit(world, at, vm, token)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY)
        .header("sec-websocket-protocol", "binary")
}

/// The same from a page of our own.
pub fn knock(world: &World, at: &Replica, vm: &str, token: &str) -> RequestBuilder {
    upgrade(world, at, vm, token).header("origin", at.site(""))
}

/// The WebSocket, or the refusal.
pub async fn answered(request: RequestBuilder) -> Result<Socket, Box<Reply>> {
    let response = request.send().await.expect("the server should answer");
    if response.status() != 101 {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("the answer should be complete");
        let body = serde_json::from_str(&text).unwrap_or_default();
        return Err(Box::new(Reply {
            status,
            headers,
            text,
            body,
        }));
    }
    let header = |name: &str| response.headers()[name].to_str().unwrap_or_default().to_owned();
    assert_eq!(header("sec-websocket-accept"), ACCEPT);
    assert_eq!(header("sec-websocket-protocol"), "binary");
    let cleared = response.headers()[SET_COOKIE].to_str().unwrap_or_default().to_owned();
    assert!(
        cleared.starts_with("vnc_bootstrap=;") && cleared.contains("Max-Age=0"),
        "{cleared}"
    );
    let upgraded = response.upgrade().await.expect("the connection is a WebSocket now");
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await)
}

/// Opens the console with a token.
pub async fn enter(world: &World, at: &Replica, vm: &str, token: &str) -> Socket {
    match answered(knock(world, at, vm, token)).await {
        Ok(socket) => socket,
        Err(reply) => panic!("the console stays closed: {} {}", reply.status, reply.text),
    }
}

/// The refusal of a request that must not open anything.
pub async fn refusal(request: RequestBuilder) -> Reply {
    match answered(request).await {
        Ok(_) => panic!("the console was opened"),
        Err(reply) => *reply,
    }
}

/// Asks for a console, opens it and says hello, so that bytes went both ways.
pub async fn opened(world: &World, caller: &Caller, at: &Replica, vm: &str) -> Socket {
    let token = admitted(&caller.at(at), vm).await;
    let mut socket = enter(world, at, vm, &token).await;
    greet(&mut socket).await;
    socket
}

/// Waits for the machine's greeting and answers it up to the point where the screen may be asked for.
pub async fn greet(socket: &mut Socket) {
    let said = timeout(PATIENCE, socket.next())
        .await
        .expect("the machine should greet");
    assert_eq!(said.unwrap().unwrap(), Message::binary(b"RFB 003.008\n".to_vec()));
    let hello = Message::binary(b"RFB 003.008\n\x01\x01".to_vec());
    socket.send(hello).await.unwrap();
    let mut left: usize = 2 + 4 + 24;
    while left > 0 {
        let said = timeout(PATIENCE, socket.next())
            .await
            .expect("the machine should answer");
        let length = said.unwrap().unwrap().into_data().len();
        left = left.saturating_sub(length);
    }
}

/// The code with which the server closes; whatever else comes before is read.
pub async fn goodbye(socket: &mut Socket) -> u16 {
    let closed = async {
        while let Some(message) = socket.next().await {
            if let Ok(Message::Close(Some(frame))) = message {
                return Some(u16::from(frame.code));
            }
        }
        None
    };
    let code = timeout(PATIENCE, closed).await.expect("the console should be closed");
    code.expect("the server should say why")
}

/// A page looks whether the console can be opened.
pub async fn look(world: &World, at: &Replica, vm: &str, token: &str) -> Reply {
    send(visit(world, at, vm, token)).await
}

/// A viewer that draws what the machine shows, by an implementation of RFB that is not ours.
pub struct Viewer {
    client: VncClient,
    /// Colours (red, green, blue), row by row.
    pub canvas: Vec<[u8; 3]>,
    _wire: JoinSet<()>,
}

impl Viewer {
    /// Does the handshake over an open console.
    pub async fn over(socket: Socket) -> Self {
        let (near, far) = duplex(PIPE);
        let mut wire = JoinSet::new();
        wire.spawn(carry(socket, far));
        let connector = VncConnector::new(near)
            .set_auth_method(async { Ok(String::new()) })
            .add_encoding(VncEncoding::Raw)
            .allow_shared(true)
            .set_pixel_format(PixelFormat::rgba());
        let started = connector.build().unwrap().try_start();
        let connected = timeout(PATIENCE, started).await.expect("the machine should answer");
        Self {
            client: connected.unwrap().finish().unwrap(),
            canvas: vec![[0; 3]; WIDTH * HEIGHT],
            _wire: wire,
        }
    }

    /// The colour of a pixel.
    pub fn colour(&self, x: usize, y: usize) -> [u8; 3] {
        self.canvas[y * WIDTH + x]
    }

    /// Draws until the picture is as wanted.
    pub async fn see(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let seen = async {
            while !wanted(self) {
                if let VncEvent::RawImage(area, data) = self.client.recv_event().await.unwrap() {
                    self.draw(area, &data);
                }
            }
        };
        let seen = timeout(PATIENCE, seen).await;
        assert!(seen.is_ok(), "the viewer does not see {what}");
    }

    fn draw(&mut self, area: vnc::Rect, data: &[u8]) {
        let (left, top, width) = (usize::from(area.x), usize::from(area.y), usize::from(area.width));
        for (row, line) in data.chunks(width * 4).enumerate() {
            for (column, pixel) in line.chunks_exact(4).enumerate() {
                self.canvas[(top + row) * WIDTH + left + column] = [pixel[0], pixel[1], pixel[2]];
            }
        }
    }

    /// Presses a key, and asks for what has changed.
    pub async fn press(&self, key: char) {
        self.does(X11Event::KeyEvent((u32::from(key), true).into())).await;
    }

    /// Clicks somewhere, and asks for what has changed.
    pub async fn click(&self, x: u16, y: u16) {
        self.does(X11Event::PointerEvent((x, y, 1).into())).await;
    }

    async fn does(&self, event: X11Event) {
        self.client.input(event).await.unwrap();
        self.client.input(X11Event::Refresh).await.unwrap();
    }
}

/// The bytes of a viewer as messages, and back.
async fn carry(socket: Socket, viewer: DuplexStream) {
    let (mut from_viewer, mut to_viewer) = tokio::io::split(viewer);
    let (mut sink, mut stream) = socket.split();
    let out = async {
        let mut buffer = vec![0_u8; PIPE];
        while let Ok(length @ 1..) = from_viewer.read(&mut buffer).await {
            let message = Message::binary(buffer[..length].to_vec());
            if sink.send(message).await.is_err() {
                break;
            }
        }
    };
    let back = async {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Binary(bytes) = message
                && to_viewer.write_all(&bytes).await.is_err()
            {
                break;
            }
        }
    };
    tokio::select! {
        () = out => {}
        () = back => {}
    }
}
