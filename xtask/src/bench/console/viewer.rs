//! Just enough of HTTP, WebSockets and RFB to look at a console without becoming what is measured.
//!
//! Whole buffers of bells are compared at once, because this program is not optimised.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bench::figure::milliseconds;
use crate::bench::http::request;
use crate::bench::people::Person;

const READ_AT_ONCE: usize = 64 * 1024;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Version, no security, and that others may look too.
const HELLO: &[u8] = b"RFB 003.008\n\x01\x01";
/// What the machine says before its name: version, securities, result, and size and format of the screen.
const GREETING: usize = 12 + 2 + 4 + 24;
/// A key that is pressed, and the wish to see what changes.
const PRESS: &[u8] = &[4, 1, 0, 0, 0, 0, 0, b'a', 3, 1, 0, 0, 0, 0, 1, 64, 0, 200];
/// Between two keys.
const TYPING: Duration = Duration::from_millis(500);
/// Between two reads of a slow reader, of which there are ten in a second.
const DAWDLING: Duration = Duration::from_millis(100);
const BELL: u8 = 2;
static BELLS: [u8; READ_AT_ONCE] = [BELL; READ_AT_ONCE];

/// When what is read counts, and how it is read.
pub(super) struct Course {
    pub(super) begin: Instant,
    pub(super) end: Instant,
    /// Whether keys are typed.
    pub(super) types: bool,
    /// Bytes per second; all there is without.
    pub(super) at_most: Option<usize>,
}

/// What came through one console.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Of the machine.
    pub(super) bytes: u64,
    /// Milliseconds from each key to its picture.
    pub(super) echoes_ms: Vec<f64>,
}

/// An open console.
pub(super) struct Viewer {
    stream: TcpStream,
    frames: Frames,
    screen: Screen,
}

impl Viewer {
    /// Asks for the console of a machine of the fleet's first cluster, opens it, and says hello.
    pub(super) async fn open(port: u16, person: &Person, machine: usize) -> anyhow::Result<Self> {
        let vm = format!("00000001-0000-7000-8000-{machine:012x}");
        let cookie = ask(port, person, &vm).await.context("ask for a console")?;
        let knock = format!(
            "GET /api/v1/vms/{vm}/vnc HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: {cookie}\r\n\r\n"
        );
        let (mut stream, head, rest) = exchange(port, knock.as_bytes()).await?;
        ensure!(head.starts_with("HTTP/1.1 101"), "a console stays closed:\n{head}");
        stream.write_all(&frame(HELLO)?).await?;
        let mut viewer = Self {
            stream,
            frames: Frames::default(),
            screen: Screen::after(GREETING + format!("fleet/fleet-1-{machine}").len()),
        };
        viewer.take(&rest)?;
        Ok(viewer)
    }

    /// Reads until the end of the course.
    pub(super) async fn read(mut self, course: Course) -> anyhow::Result<Seen> {
        let most = course.at_most.map_or(READ_AT_ONCE, |rate| rate / 10);
        let mut buffer = vec![0_u8; most];
        let mut seen = Seen::default();
        let mut typed: Option<Instant> = None;
        let mut due = course.begin;
        while Instant::now() < course.end {
            let types = course.types && typed.is_none();
            let until = if types { due.min(course.end) } else { course.end };
            tokio::select! {
                read = self.stream.read(&mut buffer) => {
                    let length = read.context("read a console")?;
                    ensure!(length > 0, "a console ended without a word");
                    let (bytes, pictures) = self.take(&buffer[..length])?;
                    if Instant::now() >= course.begin {
                        seen.bytes += bytes;
                    }
                    if pictures > 0 && let Some(at) = typed.take() {
                        seen.echoes_ms.push(milliseconds(at.elapsed()));
                        due = at + TYPING;
                    }
                }
                () = tokio::time::sleep_until(until.into()) => if types {
                    self.stream.write_all(&frame(PRESS)?).await?;
                    typed = Some(Instant::now());
                }
            }
            if course.at_most.is_some() {
                tokio::time::sleep(DAWDLING).await;
            }
        }
        Ok(seen)
    }

    /// How many bytes of the machine there were, and how many pictures were completed.
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<(u64, usize)> {
        self.frames.take(bytes, &mut self.screen)
    }
}

/// Asks for access; answers the cookie.
async fn ask(port: u16, person: &Person, vm: &str) -> anyhow::Result<String> {
    let path = format!("/vms/{vm}/console/request");
    let call = request("POST", &path, Some(&person.token), Some("{}"));
    let (_, head, _) = exchange(port, &call).await?;
    let cookie = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .and_then(|(_, value)| value.trim().split(';').next());
    let cookie = cookie.with_context(|| format!("an answer without a token:\n{head}"))?;
    Ok(cookie.to_owned())
}

/// Sends a request on a connection of its own; answers the head of the answer and what came with it of the rest.
async fn exchange(port: u16, request: &[u8]) -> anyhow::Result<(TcpStream, String, Vec<u8>)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    stream.write_all(request).await?;
    let mut received = Vec::new();
    let answered = async {
        loop {
            let end = received
                .windows(END_OF_HEAD.len())
                .position(|window| window == END_OF_HEAD);
            if let Some(end) = end {
                return anyhow::Ok(end + END_OF_HEAD.len());
            }
            ensure!(
                stream.read_buf(&mut received).await? > 0,
                "shepherd closed the connection"
            );
        }
    };
    let body_at = tokio::time::timeout(LIMIT, answered)
        .await
        .context("wait for an answer")??;
    let rest = received.split_off(body_at);
    Ok((stream, String::from_utf8(received)?, rest))
}

/// A short message; its mask changes nothing.
fn frame(payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let length = u8::try_from(payload.len())?;
    ensure!(length < 126, "the message is not short");
    Ok([[0x82, 0x80 | length, 0, 0, 0, 0].as_slice(), payload].concat())
}

/// The frames of a server, none of which is masked.
#[derive(Default)]
struct Frames {
    /// What is there of the head of a frame.
    head: Vec<u8>,
    /// What is missing of the frame, in bytes.
    left: usize,
    /// Whether it has bytes of the machine.
    is_data: bool,
}

impl Frames {
    fn take(&mut self, mut bytes: &[u8], screen: &mut Screen) -> anyhow::Result<(u64, usize)> {
        let (mut length, mut pictures) = (0, 0);
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.left -= piece.len();
                bytes = rest;
                if self.is_data {
                    length += piece.len() as u64;
                    pictures += screen.take(piece);
                }
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            if let Some(left) = length_of(&self.head) {
                let operation = self.head[0] & 0x0f;
                if operation == 8 {
                    bail!("the server closed a console");
                }
                self.is_data = matches!(operation, 0 | 2);
                self.left = left;
                self.head.clear();
            }
        }
        Ok((length, pictures))
    }
}

/// How long a frame is, once all of its head is there.
fn length_of(head: &[u8]) -> Option<usize> {
    match *head {
        [_, short @ 0..=125] => Some(usize::from(short)),
        [_, 126, high, low] => Some(usize::from(u16::from_be_bytes([high, low]))),
        [_, 127, a, b, c, d, e, f, g, h] => usize::try_from(u64::from_be_bytes([a, b, c, d, e, f, g, h])).ok(),
        _ => None,
    }
}

/// What a machine draws: bells, and updates of one rectangle of pixels of four bytes.
struct Screen {
    /// Bytes that need no look.
    skip: usize,
    /// Whether they are pixels.
    draws: bool,
    /// What is there of the head of an update.
    head: Vec<u8>,
}

impl Screen {
    /// A screen that draws after so many bytes of greetings.
    fn after(greetings: usize) -> Self {
        Self {
            skip: greetings,
            draws: false,
            head: Vec::new(),
        }
    }

    /// How many updates were completed.
    fn take(&mut self, mut bytes: &[u8]) -> usize {
        let mut pictures = 0;
        while let Some((first, rest)) = bytes.split_first() {
            if self.skip > 0 {
                let (skipped, rest) = bytes.split_at(self.skip.min(bytes.len()));
                self.skip -= skipped.len();
                bytes = rest;
                if self.skip == 0 && self.draws {
                    self.draws = false;
                    pictures += 1;
                }
            } else if self.head.is_empty() && *first == BELL {
                bytes = after_bells(bytes);
            } else {
                self.head.push(*first);
                bytes = rest;
                if let [_, _, _, _, _, _, _, _, w1, w0, h1, h0, _, _, _, _] = self.head[..] {
                    let [width, height] = [[w1, w0], [h1, h0]].map(|edge| usize::from(u16::from_be_bytes(edge)));
                    self.skip = width * height * 4;
                    self.draws = true;
                    self.head.clear();
                }
            }
        }
        pictures
    }
}

fn after_bells(bytes: &[u8]) -> &[u8] {
    let (known, rest) = bytes.split_at(bytes.len().min(BELLS.len()));
    if *known == BELLS[..known.len()] {
        return rest;
    }
    let bells = bytes.iter().take_while(|byte| **byte == BELL).count();
    &bytes[bells..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_found_among_bells_however_they_are_cut() {
        let greetings = vec![9_u8; 5];
        let head: [u8; 16] = [0, 0, 0, 1, 0, 7, 0, 104, 0, 2, 0, 3, 0, 0, 0, 0];
        let update = [head.as_slice(), &[2; 24]].concat();
        let said = [greetings, vec![2; 300], update.clone(), vec![2; 7], update].concat();
        let length = u16::try_from(said.len()).unwrap().to_be_bytes();
        let wire = [[0x82, 126].as_slice(), &length, &said, &[0x89, 0]].concat();
        for cut in [1, 2, 3, 50, wire.len()] {
            let (mut frames, mut screen) = (Frames::default(), Screen::after(5));
            let mut sum = (0, 0);
            for piece in wire.chunks(cut) {
                let (bytes, pictures) = frames.take(piece, &mut screen).unwrap();
                sum = (sum.0 + bytes, sum.1 + pictures);
            }
            assert_eq!(sum, (said.len() as u64, 2), "in pieces of {cut}");
        }
    }

    #[test]
    fn a_close_is_no_end_like_another() {
        let mut screen = Screen::after(0);
        assert!(Frames::default().take(&[0x88, 2, 3, 232], &mut screen).is_err());
        assert_eq!(frame(&[7]).unwrap(), [0x82, 0x81, 0, 0, 0, 0, 7]);
    }
}
