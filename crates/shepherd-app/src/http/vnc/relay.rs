//! One open console: bytes both ways until somebody has a reason to end it.

use std::cell::Cell;
use std::time::Duration;

use actix_web::web::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use shepherd_ports::providers::ConsoleConnection;
use shepherd_usecases::Platform;
use shepherd_usecases::console::proxy::{Console, End, Meter};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::wire::Wire;

/// Largest message of a browser, in bytes, however many frames it comes in.
const LARGEST_MESSAGE: usize = 1024 * 1024;
/// What is read from either side at once, in bytes.
const BUFFER: usize = 16 * 1024;
/// Most bytes that wait for a browser: a piece and many pongs. One that pings and reads nothing gets no more memory.
const MOST_WAITING: usize = 64 * 1024;
/// Between two pings.
const PING: Duration = Duration::from_secs(20);
/// A browser of which nothing was heard for so long is gone.
const SILENCE: Duration = PING.saturating_mul(2);
/// How long the end of a console may take to be written down.
const NOTE: Duration = Duration::from_secs(5);
/// How long a browser has for its goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

type Sink = SplitSink<WebSocketStream<Wire>, Message>;
type Stream = SplitStream<WebSocketStream<Wire>>;

/// Which side ended the relay.
enum Ended {
    /// The browser.
    Browser(End),
    /// The cluster.
    Cluster,
}

/// Relays a console, writes down why it ended, and says goodbye.
pub(super) async fn run(
    platform: &Platform,
    console: &Console,
    wire: Wire,
    called: watch::Receiver<()>,
    shutdown: CancellationToken,
) {
    let socket = WebSocketStream::from_raw_socket(wire, Role::Server, Some(limits())).await;
    let (mut sink, mut stream) = socket.split();
    let end = tokio::select! {
        end = relay(platform, console, &mut sink, &mut stream) => end,
        end = console.watch(platform, called) => end,
        () = shutdown.cancelled() => End::Shutdown,
    };
    note(platform, console, end).await;
    farewell(&mut sink, &mut stream, end).await;
}

/// Writes down why a console ended.
pub(super) async fn note(platform: &Platform, console: &Console, end: End) {
    match tokio::time::timeout(NOTE, console.end(platform, end)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the end of a console could not be written down"
        ),
        Err(_) => tracing::warn!("the end of a console took too long to be written down"),
    }
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        // Every piece leaves at once, and one at a time.
        .write_buffer_size(0)
        .max_write_buffer_size(MOST_WAITING)
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE))
}

async fn relay(platform: &Platform, console: &Console, sink: &mut Sink, stream: &mut Stream) -> End {
    let cluster = match console.connect(platform).await {
        Ok(cluster) => cluster,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a cluster did not open a console"
            );
            return console.end_of_stream(platform).await;
        }
    };
    let (from_cluster, to_cluster) = tokio::io::split(cluster);
    let heard = Cell::new(Instant::now());
    let ended = tokio::select! {
        ended = to_machine(stream, to_cluster, &console.meter, &heard) => ended,
        ended = to_browser(sink, from_cluster, &console.meter, &heard) => ended,
        () = silence(&heard) => Ended::Browser(End::BrowserSilent),
    };
    match ended {
        Ended::Browser(end) => end,
        Ended::Cluster => console.end_of_stream(platform).await,
    }
}

/// What the browser sends. The next message is taken when the cluster has taken the last one.
async fn to_machine(
    stream: &mut Stream,
    mut cluster: WriteHalf<ConsoleConnection>,
    meter: &Meter,
    heard: &Cell<Instant>,
) -> Ended {
    while let Some(message) = stream.next().await {
        heard.set(Instant::now());
        match message {
            Ok(Message::Binary(bytes)) => {
                if cluster.write_all(&bytes).await.is_err() || cluster.flush().await.is_err() {
                    return Ended::Cluster;
                }
                meter.count_in(&bytes);
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Ok(Message::Close(_)) => return Ended::Browser(End::BrowserLeft),
            Ok(Message::Text(_)) => return Ended::Browser(End::ProtocolError),
            Err(error) => return Ended::Browser(fault(&error)),
        }
    }
    Ended::Browser(End::BrowserLeft)
}

/// What the machine sends, and pings. More is read when the connection has taken the last piece; a browser that takes
/// pieces, however slowly, is there.
async fn to_browser(
    sink: &mut Sink,
    mut cluster: ReadHalf<ConsoleConnection>,
    meter: &Meter,
    heard: &Cell<Instant>,
) -> Ended {
    let mut buffer = vec![0; BUFFER];
    let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            read = cluster.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return Ended::Cluster,
                Ok(length) => {
                    let sent = sink.send(Message::Binary(Bytes::copy_from_slice(&buffer[..length]))).await;
                    meter.count_out(length);
                    heard.set(Instant::now());
                    sent
                }
            },
            _ = ping.tick() => sink.send(Message::Ping(Bytes::new())).await,
        };
        if let Err(error) = sent {
            return Ended::Browser(fault(&error));
        }
    }
}

/// Ends when nothing was heard of the browser for too long.
async fn silence(heard: &Cell<Instant>) {
    loop {
        tokio::time::sleep_until(heard.get() + SILENCE).await;
        if heard.get().elapsed() >= SILENCE {
            return;
        }
    }
}

/// Whether a browser went away or made a mistake.
fn fault(error: &Error) -> End {
    let has_left = matches!(
        error,
        Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Io(_)
            | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing)
    );
    if has_left { End::BrowserLeft } else { End::ProtocolError }
}

/// Says why it is over, and waits a moment for the answer: closing at once could take the words back.
async fn farewell(sink: &mut Sink, stream: &mut Stream, end: End) {
    let frame = CloseFrame {
        code: CloseCode::from(end.close_code()),
        reason: Utf8Bytes::from_static(end.as_str()),
    };
    let goodbye = async {
        // A browser that closed first has its answer already; it leaves while the stream is read.
        let _said = sink.send(Message::Close(Some(frame))).await;
        while let Some(Ok(_)) = stream.next().await {}
    };
    if tokio::time::timeout(FAREWELL, goodbye).await.is_err() {
        tracing::debug!("a browser did not answer the end of its console");
    }
}
