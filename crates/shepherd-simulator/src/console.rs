//! The guest's end of a console: what a virtual machine shows on its screen and says on its serial line.
//!
//! Guests are state machines over bytes and know neither WebSockets nor the cluster; [`crate::api::stream`]
//! carries the bytes.
//!
//! - [`rfb`]: the screen as an RFB 3.8 (VNC) server; [`picture`]: what is on it; [`pixel`]: how it is sent
//! - [`serial`]: a line with a few commands

pub(crate) mod picture;
pub(crate) mod pixel;
pub(crate) mod rfb;
pub(crate) mod serial;

/// What a guest says in return for some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What goes to the client.
    pub bytes: Vec<u8>,
    /// Whether the guest hangs up afterwards.
    pub ends: bool,
}

/// One end of a console.
pub(crate) trait Guest {
    /// What the guest says first.
    fn greet(&mut self) -> Vec<u8>;

    /// Takes what the client sent, in pieces of any size.
    fn receive(&mut self, bytes: &[u8]) -> Answer;
}
