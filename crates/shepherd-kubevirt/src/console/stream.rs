//! The messages of a WebSocket as a byte stream.
//!
//! Nothing is read before it is asked for, and nothing is taken before the last piece is on its way, so that both ends
//! feel the pressure of the other: at most one message waits in each direction.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// Largest message that is taken, in bytes. KubeVirt's are 32 KiB at most.
const LARGEST_MESSAGE: usize = 1024 * 1024;
/// Largest message that is sent, in bytes.
const PIECE: usize = 16 * 1024;
/// What is asked of the connection at once, in bytes; a buffer of this size is kept per stream.
const READ_BUFFER: usize = 16 * 1024;
/// What may wait to be sent: a piece, its header, and what the protocol has to say in between.
const WRITE_BUFFER: usize = 2 * PIECE;

/// Bounds of a console's WebSocket.
pub(super) fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        // Every piece leaves at once: a key that was pressed must not wait for the next one.
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE))
}

/// A WebSocket whose binary messages are pieces of one stream.
///
/// Pings are answered while the stream is read. A close is the end of the stream, a lost connection an error. Text is
/// refused, as KubeVirt's own client does: not every byte is text, so a peer that sends it means something else.
pub(super) struct MessageStream<S> {
    socket: WebSocketStream<S>,
    /// What is left of the last message.
    unread: Bytes,
    /// Nothing more will come.
    has_ended: bool,
}

impl<S> MessageStream<S> {
    /// The stream of an open socket.
    pub(super) fn new(socket: WebSocketStream<S>) -> Self {
        Self {
            socket,
            unread: Bytes::new(),
            has_ended: false,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> MessageStream<S> {
    /// Waits until there is something to read, or nothing more will be.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() && !self.has_ended {
            match ready!(self.socket.poll_next_unpin(context)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) => {
                    self.has_ended = true;
                    // The peer's goodbye is answered as far as that is possible at once; nobody waits for it.
                    let _answered = self.socket.poll_flush_unpin(context);
                }
                Some(Ok(Message::Text(_))) => {
                    self.has_ended = true;
                    let why = "the console sent text where bytes were expected";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
                }
                Some(Err(error)) => {
                    self.has_ended = true;
                    return Poll::Ready(Err(broken(error)));
                }
                None => self.has_ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for MessageStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_fill(context))?;
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MessageStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(piece) = bytes.chunks(PIECE).next() else {
            return Poll::Ready(Ok(0));
        };
        ready!(self.socket.poll_ready_unpin(context)).map_err(broken)?;
        let message = Message::Binary(Bytes::copy_from_slice(piece));
        self.socket.start_send_unpin(message).map_err(broken)?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush_unpin(context).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_ended {
            // The peer has said goodbye or is gone.
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_close_unpin(context).map_err(broken)
    }
}

fn broken(error: Error) -> io::Error {
    if let Error::Io(error) = error {
        return error;
    }
    let is_closed = matches!(
        error,
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(ProtocolError::SendAfterClosing)
    );
    let is_cut = matches!(error, Error::Protocol(ProtocolError::ResetWithoutClosingHandshake));
    let kind = if is_closed {
        io::ErrorKind::BrokenPipe
    } else if is_cut {
        io::ErrorKind::ConnectionReset
    } else {
        io::ErrorKind::InvalidData
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    /// What fits into the connection between the ends.
    const PIPE: usize = 1024;
    const PATIENCE: Duration = Duration::from_secs(20);

    type Peer = WebSocketStream<DuplexStream>;

    /// A stream, and the socket at its other end.
    async fn ends() -> (MessageStream<DuplexStream>, Peer) {
        let (near, far) = duplex(PIPE);
        let near = WebSocketStream::from_raw_socket(near, Role::Client, Some(limits())).await;
        let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        (MessageStream::new(near), far)
    }

    async fn say(peer: &mut Peer, message: Message) {
        peer.send(message).await.unwrap();
    }

    fn bytes(text: &'static str) -> Message {
        Message::Binary(Bytes::from_static(text.as_bytes()))
    }

    async fn read_all(stream: &mut MessageStream<DuplexStream>) -> io::Result<Vec<u8>> {
        let mut seen = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut seen))
            .await
            .expect("the stream ends")
            .map(|_| seen)
    }

    #[tokio::test]
    async fn messages_become_one_stream_that_ends_with_a_close() {
        let (mut stream, mut peer) = ends().await;
        for piece in ["RFB 0", "", "03.008\n"] {
            say(&mut peer, bytes(piece)).await;
        }
        say(&mut peer, Message::Close(None)).await;
        let mut first = [0; 3];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"RFB");
        assert_eq!(read_all(&mut stream).await.unwrap(), b" 003.008\n");
        assert_eq!(read_all(&mut stream).await.unwrap(), b"", "and stays at its end");
        assert!(
            matches!(peer.next().await, Some(Ok(Message::Close(_)))),
            "the close is answered"
        );
        let refusal = stream.write_all(b"x").await.unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::BrokenPipe);
        stream.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_written_leaves_at_once_in_pieces() {
        let (mut stream, mut peer) = ends().await;
        stream.write_all(b"x").await.unwrap();
        assert_eq!(peer.next().await.unwrap().unwrap(), bytes("x"), "without a flush");
        let long = vec![7_u8; PIECE + 1];
        let writing = async {
            stream.write_all(&long).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let reading = async {
            let mut lengths = Vec::new();
            while let Some(Ok(message)) = peer.next().await {
                if message.is_binary() {
                    lengths.push(message.len());
                }
            }
            lengths
        };
        let ((), lengths) = tokio::join!(writing, reading);
        assert_eq!(lengths, [PIECE, 1]);
    }

    #[tokio::test]
    async fn pings_are_answered_while_reading() {
        let (mut stream, mut peer) = ends().await;
        say(&mut peer, Message::Ping(Bytes::from_static(b"there?"))).await;
        say(&mut peer, bytes("x")).await;
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        assert!(
            stream.read_u8().now_or_never().is_none(),
            "the answer is sent meanwhile"
        );
        let answer = peer.next().await.unwrap().unwrap();
        assert_eq!(answer, Message::Pong(Bytes::from_static(b"there?")));
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_stops_the_writer() {
        let (mut stream, mut peer) = ends().await;
        let chunk = [7_u8; 4 * PIECE];
        let mut taken = 0;
        while let Some(length) = stream.write(&chunk).now_or_never() {
            taken += length.unwrap();
            assert!(taken <= WRITE_BUFFER + PIPE, "{taken} bytes wait for nobody");
        }
        let mut came = 0;
        let reading = async {
            while came < taken {
                came += peer.next().await.unwrap().unwrap().len();
            }
        };
        let (flushed, ()) = tokio::join!(stream.flush(), reading);
        flushed.unwrap();
        assert_eq!(came, taken, "and nothing of it is lost");
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_stops_the_peer() {
        let (mut stream, mut peer) = ends().await;
        let mut sent = 0;
        let chunk = Bytes::from(vec![7_u8; PIPE / 4]);
        while peer.send(Message::Binary(chunk.clone())).now_or_never().is_some() {
            sent += chunk.len();
            assert!(sent <= PIPE, "{sent} bytes wait for nobody");
        }
        assert_eq!(stream.read_u8().await.unwrap(), 7);
    }

    #[tokio::test]
    async fn text_is_no_piece_of_a_stream() {
        let (mut stream, mut peer) = ends().await;
        say(&mut peer, Message::text("hello")).await;
        let refusal = read_all(&mut stream).await.unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_message_beyond_all_measure_is_refused() {
        let (mut stream, mut peer) = ends().await;
        let flood = Message::Binary(Bytes::from(vec![7_u8; LARGEST_MESSAGE + 1]));
        assert!(peer.send(flood).now_or_never().is_none(), "only its beginning fits");
        let refusal = read_all(&mut stream).await.unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_lost_connection_is_not_an_end() {
        let (mut stream, mut peer) = ends().await;
        say(&mut peer, bytes("RFB")).await;
        drop(peer);
        let mut seen = [0; 3];
        stream.read_exact(&mut seen).await.unwrap();
        let loss = read_all(&mut stream).await.unwrap_err();
        assert_eq!(loss.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn whoever_drops_the_stream_ends_it() {
        let (stream, mut peer) = ends().await;
        drop(stream);
        assert!(matches!(peer.next().await, Some(Err(_)) | None));
    }
}
