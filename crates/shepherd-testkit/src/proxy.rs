//! A wire between two programs that can be cut, blocked and mended while they talk.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const AT_ONCE: usize = 16 * 1024;

/// What the wire does to what is sent over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Everything arrives.
    Flows,
    /// Connections are accepted and stay open, but nothing arrives before it flows again.
    Stalls,
    /// Connections are closed, and new ones as soon as they are made.
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Switch {
    target: SocketAddr,
    traffic: Traffic,
    cuts: u64,
}

/// A TCP proxy on 127.0.0.1 to one address. Dropping it closes its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    switch: watch::Sender<Switch>,
    _listening: JoinSet<()>,
}

impl Proxy {
    /// A proxy in front of an address, through which everything flows. It lives on the runtime of the caller.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (switch, switched) = watch::channel(Switch {
            target,
            traffic: Traffic::Flows,
            cuts: 0,
        });
        let mut listening = JoinSet::new();
        listening.spawn(accept(listener, switched));
        Ok(Self {
            address,
            switch,
            _listening: listening,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections to another address.
    pub fn lead_to(&self, target: SocketAddr) {
        self.switch.send_modify(|switch| switch.target = target);
    }

    /// Does this to all traffic from now on.
    pub fn set(&self, traffic: Traffic) {
        self.switch.send_modify(|switch| switch.traffic = traffic);
    }

    /// Closes all connections there are, once.
    pub fn cut(&self) {
        self.switch.send_modify(|switch| switch.cuts += 1);
    }
}

async fn accept(listener: TcpListener, switched: watch::Receiver<Switch>) {
    let mut wires = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    wires.spawn(wire(client, switched.clone()));
                }
            }
            Some(_) = wires.join_next() => {}
        }
    }
}

/// Connects a client with the target until one of them ends or the wire is cut.
async fn wire(client: TcpStream, mut switched: watch::Receiver<Switch>) {
    let born = switched.borrow_and_update().cuts;
    let there = {
        let mut switched = switched.clone();
        async move {
            // A stalled wire takes connections and leads them nowhere yet.
            flowing(&mut switched).await?;
            let target = switched.borrow().target;
            let server = TcpStream::connect(target).await?;
            // Neither end should wait for more to be sent before it is told.
            server.set_nodelay(true)?;
            client.set_nodelay(true)?;
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                ended = carry(from_client, to_server, switched.clone()) => ended,
                ended = carry(from_server, to_client, switched.clone()) => ended,
            }
        }
    };
    let cut = async move {
        let is_cut = |switch: &Switch| switch.cuts != born || switch.traffic == Traffic::Refused;
        switched.wait_for(is_cut).await.is_ok()
    };
    // How a connection ends is its ends' business.
    tokio::select! {
        _ = there => {}
        _ = cut => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut switched: watch::Receiver<Switch>,
) -> io::Result<()> {
    let mut bytes = vec![0; AT_ONCE];
    loop {
        let length = from.read(&mut bytes).await?;
        if length == 0 {
            return Ok(());
        }
        flowing(&mut switched).await?;
        to.write_all(&bytes[..length]).await?;
    }
}

/// Returns as soon as something may arrive.
async fn flowing(switched: &mut watch::Receiver<Switch>) -> io::Result<()> {
    let flows = switched.wait_for(|switch| switch.traffic == Traffic::Flows).await;
    flows.map(drop).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How long nothing has to come before it counts as blocked.
    const BLOCKED: Duration = Duration::from_millis(100);

    async fn pair(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (client, server)
    }

    #[tokio::test]
    async fn a_wire_carries_blocks_and_is_cut() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
        let (mut client, mut server) = pair(&proxy, &listener).await;
        client.write_all(b"a").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'a');

        proxy.set(Traffic::Stalls);
        server.write_all(b"b").await.unwrap();
        assert!(tokio::time::timeout(BLOCKED, client.read_u8()).await.is_err());
        proxy.set(Traffic::Flows);
        assert_eq!(client.read_u8().await.unwrap(), b'b');

        proxy.cut();
        assert!(client.read_u8().await.is_err(), "what there was is closed");
        let (mut client, mut server) = pair(&proxy, &listener).await;
        server.write_all(b"c").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'c', "what is new is not");

        proxy.set(Traffic::Refused);
        assert!(client.read_u8().await.is_err());
    }
}
