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

/// What the screen of a machine shows before anybody typed or pointed at anything: the colours (red, green, blue) of
/// its 320 by 200 pixels, row by row from the upper left corner.
pub fn screen(namespace: &str, name: &str) -> Vec<[u8; 3]> {
    picture::Picture::of(&format!("{namespace}/{name}")).pixels()
}

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

    /// What one ring of the bell is on the wire; empty while there is none to be heard.
    fn bell(&self) -> &'static [u8] {
        &[]
    }
}
