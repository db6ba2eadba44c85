//! The two halves of an upgraded connection as one byte stream.
//!
//! What the browser sends is the body of its request; what it is sent is the body of the answer. Of neither is more
//! taken than is asked for, and nothing is written before the connection has taken what was written before.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::web::{Bytes, Payload};
use futures::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// Most bytes that are written at once.
const PIECE: usize = 32 * 1024;

/// An upgraded connection.
pub(super) struct Wire {
    payload: Payload,
    unread: Bytes,
    pieces: PollSender<Bytes>,
}

impl Wire {
    /// The connection whose request has this body, and whose answer sends these pieces.
    pub(super) fn new(payload: Payload, pieces: mpsc::Sender<Bytes>) -> Self {
        Self {
            payload,
            unread: Bytes::new(),
            pieces: PollSender::new(pieces),
        }
    }
}

/// The server has given the connection up.
fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.payload.poll_next_unpin(context)) {
                Some(Ok(bytes)) => self.unread = bytes,
                Some(Err(error)) => {
                    let lost = io::Error::new(io::ErrorKind::ConnectionAborted, error.to_string());
                    return Poll::Ready(Err(lost));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(piece) = bytes.chunks(PIECE).next() else {
            return Poll::Ready(Ok(0));
        };
        ready!(self.pieces.poll_reserve(context)).map_err(|_| gone())?;
        let sent = self.pieces.send_item(Bytes::copy_from_slice(piece));
        Poll::Ready(sent.map(|()| piece.len()).map_err(|_| gone()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pieces.close();
        Poll::Ready(Ok(()))
    }
}
