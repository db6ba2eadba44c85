//! Console streams: the WebSocket upgrade of `vnc` and `console`, and the carrying of bytes between the client
//! and the guest in [`crate::console`].
//!
//! A stream is one future inside the body of its response, so nothing runs beside the connection: when the
//! client stops reading, the body is no longer asked for bytes, the pipe fills up, and the guest waits.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::{Method, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use futures::{SinkExt as _, StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, duplex, split};
use tokio::sync::watch::Receiver;
use tokio::time::Interval;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::Call;
use super::reply::{Reply, cut};
use super::route::{Console, ConsoleKind, Target};
use crate::cluster::Cluster;
use crate::console::Guest;
use crate::console::rfb::Rfb;
use crate::console::serial::Serial;
use crate::faults::StreamFault;
use crate::resources::INSTANCES;
use crate::status::ApiError;
use crate::{host, object};

/// The subprotocol KubeVirt speaks. A client that offers none is served all the same.
const PROTOCOL: &str = "plain.kubevirt.io";
/// What fits into the pipe between a guest and its client, in bytes.
const PIPE: usize = 64 * 1024;
/// The largest message taken from a client, in bytes.
const MESSAGE_LIMIT: usize = 1024 * 1024;
/// The largest message sent to a client, in bytes.
const CHUNK: usize = 16 * 1024;
/// How many times in a second a bell rings, each time as often as its rate asks for.
const BEATS: u64 = 50;
/// Between two of these times.
const BEAT: Duration = Duration::from_millis(20);
/// How long what was sent before a cut has to leave: actix drops what it has not written yet.
const FLUSH: Duration = Duration::from_millis(50);

/// A client's wish to upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upgrade {
    key: String,
    protocols: Vec<String>,
    /// What is going to happen to the stream.
    pub fault: Option<StreamFault>,
}

impl Upgrade {
    /// Reads the handshake; `None` when the request is none.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        let text = |name: header::HeaderName| request.headers().get(name)?.to_str().ok();
        let is_upgrade = request.method() == Method::GET
            && request.head().upgrade()
            && text(header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
            && text(header::SEC_WEBSOCKET_VERSION) == Some("13");
        if !is_upgrade {
            return None;
        }
        let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
        let protocols = offered
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|protocol| protocol.trim().to_owned())
            .collect();
        Some(Self {
            key: text(header::SEC_WEBSOCKET_KEY)?.to_owned(),
            protocols,
            fault: None,
        })
    }
}

/// A console that is about to be opened.
#[derive(Debug)]
pub(crate) struct Session {
    cluster: Arc<Cluster>,
    console: Console,
    /// The instance the client sees; one of the same name that comes later is another machine.
    uid: String,
    upgrade: Upgrade,
}

/// Checks that the instance has a console to show.
pub(crate) fn open(cluster: &Arc<Cluster>, call: &Call, console: Console) -> Result<Reply, ApiError> {
    let target = &console.target;
    let instance = cluster
        .read(|store| store.get(&INSTANCES, target.namespace(), target.name()))
        .ok_or_else(|| not_found(target))?;
    let devices = &instance["spec"]["domain"]["devices"];
    let (attached, absence) = match console.kind {
        ConsoleKind::Vnc => ("autoattachGraphicsDevice", "No graphics devices are present."),
        ConsoleKind::Serial => ("autoattachSerialConsole", "No serial consoles are present."),
    };
    if devices[attached] == false {
        return Err(ApiError::bad_request(absence));
    }
    if instance["status"]["phase"] != "Running" {
        return Err(ApiError::bad_request("VMI is not running"));
    }
    let upgrade = call.upgrade.clone().ok_or_else(|| {
        ApiError::bad_request(
            "websocket: the client is not using the websocket protocol: 'upgrade' token not found in 'Connection' \
             header",
        )
    })?;
    Ok(Reply::Console(Box::new(Session {
        cluster: Arc::clone(cluster),
        uid: object::uid(&instance).to_owned(),
        console,
        upgrade,
    })))
}

/// KubeVirt names the resource in the singular here.
fn not_found(target: &Target) -> ApiError {
    let (def, name) = (target.def, target.name());
    let mut error = ApiError::not_found(def, name);
    error.message = format!("{}.{} {name:?} not found", def.singular, def.group);
    error
}

impl Session {
    /// The answer that turns the connection into the stream.
    pub fn into_response(self, payload: Payload) -> HttpResponse {
        let mut response = HttpResponse::SwitchingProtocols();
        response.upgrade("websocket");
        response.insert_header((
            header::SEC_WEBSOCKET_ACCEPT,
            derive_accept_key(self.upgrade.key.as_bytes()),
        ));
        if self.upgrade.protocols.iter().any(|offered| offered == PROTOCOL) {
            response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL));
        }
        let outlet = Outlet::of(self, payload);
        response.streaming(stream::unfold(outlet, |mut outlet| async move {
            let item = outlet.next().await?;
            Some((item, outlet))
        }))
    }
}

/// The body of the response: what leaves for the client, and the future that makes it.
struct Outlet {
    cluster: Arc<Cluster>,
    /// `None` once the guest has hung up.
    work: Option<Pin<Box<dyn Future<Output = ()>>>>,
    wire: ReadHalf<DuplexStream>,
    fault: Option<StreamFault>,
    sent: u64,
    is_finished: bool,
    drops: Receiver<u64>,
    stall: Receiver<bool>,
}

impl Outlet {
    fn of(session: Session, payload: Payload) -> Self {
        let (near, far) = duplex(PIPE);
        let (wire, inlet) = split(far);
        let cluster = Arc::clone(&session.cluster);
        let fault = session.upgrade.fault;
        let work = async move {
            tokio::select! {
                () = talk(session, near) => {}
                () = feed(payload, inlet) => {}
            }
        };
        Self {
            work: Some(Box::pin(work)),
            wire,
            fault,
            sent: 0,
            is_finished: false,
            drops: cluster.stream_drops(),
            stall: cluster.stream_stall(),
            cluster,
        }
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.is_finished {
            return None;
        }
        let mut buffer = vec![0; CHUNK];
        let room = match self.fault {
            Some(StreamFault::Breaks { after_bytes, .. }) => {
                usize::try_from(after_bytes - self.sent).unwrap_or(CHUNK).min(CHUNK)
            }
            Some(StreamFault::Rings { .. }) | None => CHUNK,
        };
        if room == 0 {
            return self.break_off().await;
        }
        loop {
            let is_stalled = *self.stall.borrow_and_update();
            let work = self.work.as_mut();
            tokio::select! {
                biased;
                () = self.cluster.shutdown.cancelled() => return self.finish(),
                _ = self.drops.changed() => return self.finish(),
                changed = self.stall.changed() => if changed.is_err() { return self.finish() },
                read = self.wire.read(&mut buffer[..room]), if !is_stalled => {
                    // Nothing to read means that the guest has gone and everything it said was sent.
                    let length = read.unwrap_or_default();
                    if length == 0 {
                        self.is_finished = true;
                        return None;
                    }
                    self.sent += u64::try_from(length).unwrap_or(u64::MAX);
                    buffer.truncate(length);
                    return Some(Ok(Bytes::from(buffer)));
                }
                () = progress(work), if !is_stalled => self.work = None,
            }
        }
    }

    /// What a fault does once its bytes are through.
    async fn break_off(&mut self) -> Option<io::Result<Bytes>> {
        let cuts = matches!(self.fault, Some(StreamFault::Breaks { cuts: true, .. }));
        tokio::select! {
            () = self.cluster.shutdown.cancelled() => {}
            _ = self.drops.changed() => {}
            () = tokio::time::sleep(FLUSH), if cuts => {}
        }
        self.finish()
    }

    fn finish(&mut self) -> Option<io::Result<Bytes>> {
        self.is_finished = true;
        Some(Err(cut()))
    }
}

/// Goes on with the work; without any there is nothing to wait for.
async fn progress(work: Option<&mut Pin<Box<dyn Future<Output = ()>>>>) {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// Carries what the client sends into the pipe. Never ends by itself: the guest notices the closed pipe.
async fn feed(mut payload: Payload, mut inlet: tokio::io::WriteHalf<DuplexStream>) {
    while let Some(Ok(bytes)) = payload.next().await {
        if inlet.write_all(&bytes).await.is_err() {
            break;
        }
    }
    if inlet.shutdown().await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// Lets the guest talk with its client until one of them hangs up, or the machine stops.
async fn talk(session: Session, pipe: DuplexStream) {
    let target = &session.console.target;
    let mut guest: Box<dyn Guest> = match session.console.kind {
        ConsoleKind::Vnc => Box::new(Rfb::of(target.namespace(), target.name())),
        ConsoleKind::Serial => Box::new(Serial::of(target.namespace(), target.name(), host::timestamp)),
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_LIMIT))
        .max_frame_size(Some(MESSAGE_LIMIT));
    let mut socket = WebSocketStream::from_raw_socket(pipe, Role::Server, Some(config)).await;
    let reason = {
        let bell = Bell::of(session.upgrade.fault);
        let talking = pin!(converse(guest.as_mut(), &mut socket, bell));
        let stopped = pin!(stopped(&session));
        tokio::select! {
            () = talking => "the console is closed",
            () = stopped => "the machine has stopped",
        }
    };
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: reason.into(),
    };
    if let Err(error) = socket.close(Some(frame)).await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "the client did not wait for the end"
        );
    }
}

async fn converse(guest: &mut dyn Guest, socket: &mut WebSocketStream<DuplexStream>, mut bell: Bell) {
    let greeting = guest.greet();
    if !say(socket, &greeting).await {
        return;
    }
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            rings = bell.rings(), if !guest.bell().is_empty() => {
                if !say(socket, &guest.bell().repeat(rings)).await {
                    return;
                }
                continue;
            }
        };
        let Some(Ok(message)) = message else { return };
        let answer = match &message {
            Message::Binary(bytes) => guest.receive(bytes),
            Message::Text(text) => guest.receive(text.as_bytes()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            Message::Close(_) => return,
        };
        if !say(socket, &answer.bytes).await || answer.ends {
            return;
        }
    }
}

/// A bell that rings at a steady rate; what a slow client missed is made up for.
struct Bell {
    /// `None` when it never rings.
    beat: Option<Interval>,
    /// Rings of one beat.
    rings: usize,
}

impl Bell {
    fn of(fault: Option<StreamFault>) -> Self {
        let per_second = match fault {
            Some(StreamFault::Rings { per_second }) => per_second,
            Some(StreamFault::Breaks { .. }) | None => 0,
        };
        let rings = usize::try_from(per_second / BEATS).unwrap_or(MESSAGE_LIMIT);
        Self {
            beat: (per_second > 0).then(|| tokio::time::interval(BEAT)),
            rings: rings.clamp(1, MESSAGE_LIMIT),
        }
    }

    /// Waits for the next beat; says how often it rings then.
    async fn rings(&mut self) -> usize {
        match &mut self.beat {
            Some(beat) => {
                beat.tick().await;
                self.rings
            }
            None => std::future::pending().await,
        }
    }
}

/// Sends bytes in messages of a moderate size; `false` when the client is gone.
async fn say(socket: &mut WebSocketStream<DuplexStream>, bytes: &[u8]) -> bool {
    for chunk in bytes.chunks(CHUNK) {
        if socket.send(Message::binary(chunk.to_vec())).await.is_err() {
            return false;
        }
    }
    true
}

/// Waits until the instance no longer runs.
async fn stopped(session: &Session) {
    let target = &session.console.target;
    let mut revisions = session.cluster.revisions();
    loop {
        revisions.mark_unchanged();
        let instance = session
            .cluster
            .read(|store| store.get(&INSTANCES, target.namespace(), target.name()));
        let is_running = instance
            .is_some_and(|instance| object::uid(&instance) == session.uid && instance["status"]["phase"] == "Running");
        if !is_running || revisions.changed().await.is_err() {
            return;
        }
    }
}
