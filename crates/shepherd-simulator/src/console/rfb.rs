//! The server's side of RFB 3.8 (RFC 6143), as far as viewers need it: no authentication, true colour, the
//! Raw encoding.

use super::picture::{Area, HEIGHT, Picture, WIDTH};
use super::pixel::{FORMAT_SIZE, PixelFormat};
use super::{Answer, Guest};

const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// The only security type on offer.
const NO_SECURITY: u8 = 1;
/// Raw, the encoding every viewer understands.
const RAW: [u8; 4] = [0; 4];
/// The longest text a client may paste, in bytes.
const TEXT_LIMIT: usize = 256 * 1024;

/// Which of the client's messages comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Version,
    /// The choice of a security type; the flag says whether its result is announced.
    Security {
        announces_result: bool,
    },
    Init,
    Running,
}

/// Why the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Violation;

/// The screen of one machine.
#[derive(Debug)]
pub(crate) struct Rfb {
    name: String,
    picture: Picture,
    format: PixelFormat,
    stage: Stage,
    /// What came in and is not a whole message yet.
    input: Vec<u8>,
    /// The part of the screen the client waits for, and whether also when nothing changed there.
    wanted: Option<(Area, bool)>,
}

impl Rfb {
    /// The screen of a machine.
    pub fn of(namespace: &str, name: &str) -> Self {
        let name = format!("{namespace}/{name}");
        Self {
            picture: Picture::of(&name),
            name,
            format: PixelFormat::NATIVE,
            stage: Stage::Version,
            input: Vec::new(),
            wanted: None,
        }
    }

    /// Takes the next whole message, if it is there; says how long it was.
    fn step(&mut self, out: &mut Vec<u8>) -> Result<Option<usize>, Violation> {
        match self.stage {
            Stage::Version => self.version(out),
            Stage::Security { announces_result } => self.security(announces_result, out),
            Stage::Init => Ok(self.init(out)),
            Stage::Running => self.message(),
        }
    }

    fn version(&mut self, out: &mut Vec<u8>) -> Result<Option<usize>, Violation> {
        let Some(version) = self.input.first_chunk::<12>() else {
            return Ok(None);
        };
        match version {
            b"RFB 003.003\n" => {
                // The oldest version has no choice: the server decides.
                out.extend_from_slice(&u32::from(NO_SECURITY).to_be_bytes());
                self.stage = Stage::Init;
            }
            b"RFB 003.007\n" | b"RFB 003.008\n" => {
                out.extend_from_slice(&[1, NO_SECURITY]);
                let announces_result = version == VERSION;
                self.stage = Stage::Security { announces_result };
            }
            _ => return Err(Violation),
        }
        Ok(Some(version.len()))
    }

    fn security(&mut self, announces_result: bool, out: &mut Vec<u8>) -> Result<Option<usize>, Violation> {
        let Some(choice) = self.input.first() else {
            return Ok(None);
        };
        if *choice != NO_SECURITY {
            let why = b"no such security type";
            out.extend_from_slice(&1_u32.to_be_bytes());
            out.extend_from_slice(&length_of(why));
            out.extend_from_slice(why);
            return Err(Violation);
        }
        if announces_result {
            out.extend_from_slice(&0_u32.to_be_bytes());
        }
        self.stage = Stage::Init;
        Ok(Some(1))
    }

    fn init(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        self.input.first()?;
        out.extend_from_slice(&WIDTH.to_be_bytes());
        out.extend_from_slice(&HEIGHT.to_be_bytes());
        out.extend_from_slice(&self.format.to_bytes());
        out.extend_from_slice(&length_of(self.name.as_bytes()));
        out.extend_from_slice(self.name.as_bytes());
        self.stage = Stage::Running;
        Some(1)
    }

    fn message(&mut self) -> Result<Option<usize>, Violation> {
        let Some(kind) = self.input.first() else {
            return Ok(None);
        };
        Ok(match kind {
            0 => {
                let Some([_, _, _, _, format @ ..]) = self.input.first_chunk::<{ 4 + FORMAT_SIZE }>() else {
                    return Ok(None);
                };
                self.format = PixelFormat::parse(format).ok_or(Violation)?;
                Some(4 + FORMAT_SIZE)
            }
            2 => {
                // Raw may always be sent, so the client's preferences change nothing.
                let Some([_, _, high, low]) = self.input.first_chunk::<4>() else {
                    return Ok(None);
                };
                self.whole(4 + 4 * usize::from(u16::from_be_bytes([*high, *low])))
            }
            3 => {
                let Some([_, incremental, area @ ..]) = self.input.first_chunk::<10>() else {
                    return Ok(None);
                };
                let (incremental, area) = (*incremental != 0, area_of(area));
                self.want(area, incremental);
                Some(10)
            }
            4 => {
                let Some([_, down, _, _, key @ ..]) = self.input.first_chunk::<8>() else {
                    return Ok(None);
                };
                if *down != 0 {
                    self.picture.press(u32::from_be_bytes(*key));
                }
                Some(8)
            }
            5 => {
                let Some([_, buttons, x1, x0, y1, y0]) = self.input.first_chunk::<6>() else {
                    return Ok(None);
                };
                let (x, y) = (u16::from_be_bytes([*x1, *x0]), u16::from_be_bytes([*y1, *y0]));
                self.picture.point(x, y, *buttons);
                Some(6)
            }
            6 => {
                let Some([_, _, _, _, length @ ..]) = self.input.first_chunk::<8>() else {
                    return Ok(None);
                };
                let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Violation)?;
                if length > TEXT_LIMIT {
                    return Err(Violation);
                }
                self.whole(8 + length)
            }
            _ => return Err(Violation),
        })
    }

    /// The length of a message whose content does not matter, once all of it is there.
    fn whole(&self, length: usize) -> Option<usize> {
        (self.input.len() >= length).then_some(length)
    }

    /// Notes a request. Several requests are answered by one update, as the protocol allows.
    fn want(&mut self, area: Area, incremental: bool) {
        let Some(area) = area.common(Area::SCREEN) else { return };
        self.wanted = Some(match self.wanted {
            Some((other, full)) => (area.around(other), full || !incremental),
            None => (area, !incremental),
        });
    }

    /// Sends what the client waits for; an incremental request stays open until something changes.
    fn update(&mut self, out: &mut Vec<u8>) {
        let Some((wanted, full)) = self.wanted else { return };
        let changed = self.picture.changed().and_then(|changed| changed.common(wanted));
        let Some(area) = (if full { Some(wanted) } else { changed }) else {
            return;
        };
        out.extend_from_slice(&[0, 0, 0, 1]);
        for edge in [area.x, area.y, area.width, area.height] {
            out.extend_from_slice(&edge.to_be_bytes());
        }
        out.extend_from_slice(&RAW);
        for y in area.y..area.y + area.height {
            for x in area.x..area.x + area.width {
                self.format.write(self.picture.colour(x, y), out);
            }
        }
        self.picture.forget(area);
        self.wanted = None;
    }
}

impl Guest for Rfb {
    fn greet(&mut self) -> Vec<u8> {
        VERSION.to_vec()
    }

    fn receive(&mut self, bytes: &[u8]) -> Answer {
        self.input.extend_from_slice(bytes);
        let mut answer = Answer::default();
        loop {
            match self.step(&mut answer.bytes) {
                Ok(Some(length)) => {
                    self.input.drain(..length);
                }
                Ok(None) => break,
                Err(Violation) => {
                    answer.ends = true;
                    return answer;
                }
            }
        }
        self.update(&mut answer.bytes);
        answer
    }

    fn bell(&self) -> &'static [u8] {
        if self.stage == Stage::Running { &[2] } else { &[] }
    }
}

fn area_of(bytes: &[u8; 8]) -> Area {
    let [x1, x0, y1, y0, w1, w0, h1, h0] = *bytes;
    Area {
        x: u16::from_be_bytes([x1, x0]),
        y: u16::from_be_bytes([y1, y0]),
        width: u16::from_be_bytes([w1, w0]),
        height: u16::from_be_bytes([h1, h0]),
    }
}

/// The length of a text on the wire; nothing the server sends comes near the limit.
fn length_of(text: &[u8]) -> [u8; 4] {
    u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size of a whole screen with 32 bits per pixel, with the update's head.
    const FULL_UPDATE: usize = 16 + 320 * 200 * 4;

    fn running() -> Rfb {
        let mut rfb = Rfb::of("shop", "web");
        assert_eq!(rfb.greet(), VERSION);
        assert_eq!(rfb.receive(VERSION).bytes, [1, 1]);
        assert_eq!(rfb.receive(&[1]).bytes, [0; 4]);
        assert!(rfb.bell().is_empty(), "nobody hears it yet");
        let init = rfb.receive(&[1]).bytes;
        assert_eq!(init[..4], [1, 64, 0, 200]);
        assert_eq!(init[4..20], PixelFormat::NATIVE.to_bytes());
        assert_eq!(init[20..], *b"\0\0\0\x08shop/web");
        rfb
    }

    fn request(incremental: u8) -> [u8; 10] {
        [3, incremental, 0, 0, 0, 0, 1, 64, 0, 200]
    }

    #[test]
    fn the_handshake_may_come_in_crumbs() {
        let mut rfb = Rfb::of("shop", "web");
        let mut said = rfb.greet();
        for byte in [VERSION.as_slice(), &[1, 1]].concat() {
            said.extend(rfb.receive(&[byte]).bytes);
        }
        assert_eq!(said[..18], *b"RFB 003.008\n\x01\x01\0\0\0\0");
        assert!(said.ends_with(b"shop/web"));
    }

    #[test]
    fn an_incremental_request_waits_for_a_change() {
        let mut rfb = running();
        assert_eq!(rfb.receive(&request(0)).bytes.len(), FULL_UPDATE);
        assert_eq!(rfb.receive(&request(1)), Answer::default(), "nothing changed");
        let update = rfb.receive(&[4, 1, 0, 0, 0, 0, 0, b'a']).bytes;
        assert_eq!(update[..16], [0, 0, 0, 1, 0, 0, 0, 104, 0, 8, 0, 8, 0, 0, 0, 0]);
        assert_eq!(update.len(), 16 + 8 * 8 * 4, "only the key's cell is sent");
        assert_eq!(rfb.receive(&request(1)), Answer::default(), "it was sent already");
        assert_eq!(
            rfb.receive(&[4, 0, 0, 0, 0, 0, 0, b'a']),
            Answer::default(),
            "a key let go shows nothing"
        );
        assert!(!rfb.receive(&[5, 0, 0, 9, 0, 9]).bytes.is_empty(), "the cursor moved");
    }

    #[test]
    fn the_clients_pixels_are_sent() {
        let mut rfb = running();
        let format: [u8; 20] = [0, 0, 0, 0, 16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0];
        let encodings = [2, 0, 0, 1, 0, 0, 0, 0];
        let text = [6, 0, 0, 0, 0, 0, 0, 2, b'h', b'i'];
        let update = rfb
            .receive(&[format.as_slice(), &encodings, &text, &request(0)].concat())
            .bytes;
        assert_eq!(update.len(), 16 + 320 * 200 * 2);
        assert_eq!(update[16..18], [0xbd, 0xf7], "the first band is light grey");
    }

    #[test]
    fn many_requests_get_one_update() {
        let requests = request(0).repeat(50);
        assert_eq!(running().receive(&requests).bytes.len(), FULL_UPDATE);
    }

    #[test]
    fn nonsense_ends_the_connection() {
        assert!(Rfb::of("shop", "web").receive(b"HTTP/1.1 200").ends);
        assert!(running().receive(&[99]).ends);
        let colour_map = [0, 0, 0, 0, 8, 8, 0, 0, 0, 7, 0, 7, 0, 3, 0, 3, 6, 0, 0, 0];
        assert!(running().receive(&colour_map).ends);
        let endless_text = [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        assert!(running().receive(&endless_text).ends);
    }
}
