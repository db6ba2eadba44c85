//! Consoles over WebSockets: the cookie that opens one, the upgrade, and the relay between browser and cluster.
//!
//! The bytes of an upgraded connection go through the server's own connection, a piece at a time in each direction, so
//! that a slow end slows its console and nothing else.

pub(super) mod cookie;
mod relay;
pub(super) mod upgrade;
mod wire;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::http::StatusCode;
use actix_web::http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, SET_COOKIE};
use actix_web::{HttpResponse, web};
use futures::stream;
use shepherd_domain::ids::VmId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::metrics::OpenConsole;
use shepherd_usecases::console::door::Guest;
use shepherd_usecases::console::proxy::{self, End};
use shepherd_usecases::{Platform, UseCaseError};
use tokio::sync::{mpsc, oneshot, watch};

use self::upgrade::Handshake;
use self::wire::Wire;
use crate::runtime::Worker;
use crate::tasks::TaskPool;

/// Pieces that wait for the connection to take them.
const WAITING_PIECES: usize = 1;

/// The consoles that this process relays.
pub struct Consoles {
    tasks: TaskPool,
    open: Arc<Mutex<usize>>,
    called: watch::Sender<()>,
}

/// Room for one console, until it is dropped.
pub(super) struct Seat(Arc<Mutex<usize>>);

impl Drop for Seat {
    fn drop(&mut self) {
        *lock(&self.0) -= 1;
    }
}

fn lock(open: &Mutex<usize>) -> MutexGuard<'_, usize> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that becomes a WebSocket.
pub(super) struct Upgrade<'a> {
    /// What the browser asked for.
    pub handshake: &'a Handshake,
    /// What it sends.
    pub payload: web::Payload,
    /// The worker that has the connection.
    pub worker: &'a Worker,
}

impl Consoles {
    /// None yet; they end with the tasks of the pool.
    pub(super) fn new(tasks: TaskPool) -> Self {
        Self {
            tasks,
            open: Arc::default(),
            called: watch::Sender::new(()),
        }
    }

    /// Lets every console look at once whether it may go on; for what ends some of them.
    pub fn look_again(&self) {
        self.called.send_replace(());
    }

    /// Room for one more, where there is room for so many. Fewer than there are already end none of them.
    ///
    /// # Errors
    /// SERVICE_BUSY.
    pub(super) fn seat(&self, most: usize) -> Result<Seat, Problem> {
        let mut open = lock(&self.open);
        if *open >= most {
            return Err(Problem::new(ErrorCode::ServiceBusy));
        }
        *open += 1;
        Ok(Seat(Arc::clone(&self.open)))
    }

    /// Lets a guest in, answers the upgrade, and relays the console until it ends.
    ///
    /// # Errors
    /// As [`proxy::enter`].
    pub(super) async fn start(
        &self,
        platform: Arc<Platform>,
        vm: VmId,
        guest: Guest,
        seat: Seat,
        upgrade: Upgrade<'_>,
    ) -> Result<HttpResponse, UseCaseError> {
        let Upgrade {
            handshake,
            payload,
            worker,
        } = upgrade;
        // What calls the consoles while this one is being opened calls it as well.
        let called = self.called.subscribe();
        let (pieces, written) = mpsc::channel(WAITING_PIECES);
        let wire = Wire::new(payload, pieces);
        let (answer, entered) = oneshot::channel::<Result<(), UseCaseError>>();
        // The request may be given up at any moment; what it has opened must be ended all the same.
        self.tasks.run_on(worker, "console", |shutdown| async move {
            match proxy::enter(&platform, guest).await {
                Ok(console) => {
                    let _open = OpenConsole::begin();
                    if answer.send(Ok(())).is_ok() {
                        relay::run(&platform, &console, wire, called, shutdown).await;
                    } else {
                        relay::note(&platform, &console, End::BrowserLeft).await;
                    }
                }
                Err(error) => {
                    let _heard = answer.send(Err(error));
                }
            }
            drop(seat);
        });
        // Nothing is answered when the task panics.
        let unanswered =
            |_: oneshot::error::RecvError| UseCaseError::Broken("a console was neither opened nor refused");
        entered.await.map_err(unanswered)??;
        let body = stream::unfold(written, |mut written: mpsc::Receiver<web::Bytes>| async move {
            let piece = written.recv().await?;
            Some((Ok::<_, io::Error>(piece), written))
        });
        let mut response = HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS);
        response
            .upgrade("websocket")
            .insert_header((SEC_WEBSOCKET_ACCEPT, handshake.accept()))
            .insert_header((SET_COOKIE, cookie::cleared(vm)));
        if let Some(protocol) = handshake.protocol() {
            response.insert_header((SEC_WEBSOCKET_PROTOCOL, protocol));
        }
        Ok(response.streaming(body))
    }
}
