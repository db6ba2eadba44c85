//! Whose I/O a request opens.
//!
//! Each worker of the HTTP server runs on a runtime of its own, and ends with it as soon as the worker has nothing left
//! to answer. A connection to the database or to a cluster is registered with the runtime it was opened on, but is then
//! shared by the whole process: opened on a worker's runtime, it would die under others that are still at work.
//! What serves requests is therefore polled inside the runtime of the process, which outlives all workers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;

pin_project! {
    /// A future or a body whose sockets, timers and tasks belong to a given runtime, whatever thread polls it.
    pub struct Within<T> {
        handle: Handle,
        #[pin]
        inner: T,
    }
}

impl<T> Within<T> {
    /// What this opens belongs to the runtime of the handle.
    pub fn new(handle: Handle, inner: T) -> Self {
        Self { handle, inner }
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = this.handle.enter();
        this.inner.poll(context)
    }
}

impl<B: MessageBody> MessageBody for Within<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.inner.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let _entered = this.handle.enter();
        this.inner.poll_next(context)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { handle, inner } = self;
        inner.try_into_bytes().map_err(|inner| Self { handle, inner })
    }
}

/// A worker of the HTTP server: a thread with a runtime for what cannot leave it, as connections to clients.
pub struct Worker(Handle);

impl Worker {
    /// The worker whose runtime this is called in.
    pub fn current() -> Self {
        Self(Handle::current())
    }

    /// Runs a task on this worker, whose thread the caller has to be on.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let _entered = self.0.enter();
        tokio::task::spawn_local(task);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    #[test]
    fn what_a_worker_opens_outlives_it() {
        let process = Runtime::new().expect("the runtime of the process");
        let worker = Builder::new_current_thread().enable_all().build().expect("one more");
        let listener = process.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let opened = Within::new(process.handle().clone(), TcpStream::connect(address));
        let mut stream = worker.block_on(opened).expect("a connection");
        drop(worker);
        process.block_on(async {
            let (mut other, _) = listener.accept().await.expect("the other end");
            other.write_all(b"!").await.expect("a byte");
            assert_eq!(stream.read_u8().await.expect("the byte"), b'!');
        });
    }
}
