//! A serial line: a banner, an echo and a handful of commands.

use super::{Answer, Guest};

/// What fits on a line; more is not taken.
const LINE_LIMIT: usize = 1_024;
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const END_OF_INPUT: u8 = 0x04;
const INTERRUPT: u8 = 0x03;

/// The shell behind the serial console of one machine.
#[derive(Debug)]
pub(crate) struct Serial {
    namespace: String,
    name: String,
    /// Tells the time.
    clock: fn() -> String,
    line: Vec<u8>,
    /// A line feed right after a carriage return belongs to it.
    after_return: bool,
}

impl Serial {
    /// The console of a machine.
    pub fn of(namespace: &str, name: &str, clock: fn() -> String) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            clock,
            line: Vec::new(),
            after_return: false,
        }
    }

    fn prompt(&self) -> String {
        format!("{}:~# ", self.name)
    }

    fn run(&mut self) -> Answer {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let (command, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let output = match command {
            "" => String::new(),
            "help" => "commands: date, echo, exit, help, hostname, uname\r\n".to_owned(),
            "date" => format!("{}\r\n", (self.clock)()),
            "echo" => format!("{}\r\n", rest.trim()),
            "hostname" => format!("{}\r\n", self.name),
            "uname" => "Linux\r\n".to_owned(),
            "exit" => {
                return Answer {
                    bytes: b"logout\r\n".to_vec(),
                    ends: true,
                };
            }
            unknown => format!("sh: {unknown}: not found\r\n"),
        };
        Answer {
            bytes: format!("{output}{}", self.prompt()).into_bytes(),
            ends: false,
        }
    }

    fn take(&mut self, byte: u8) -> Answer {
        let follows_return = std::mem::replace(&mut self.after_return, byte == b'\r');
        match byte {
            b'\n' if follows_return => Answer::default(),
            b'\r' | b'\n' => {
                let answer = self.run();
                Answer {
                    bytes: [b"\r\n".to_vec(), answer.bytes].concat(),
                    ends: answer.ends,
                }
            }
            BACKSPACE | DELETE => Answer {
                bytes: self.line.pop().map(|_| b"\x08 \x08".to_vec()).unwrap_or_default(),
                ends: false,
            },
            INTERRUPT => {
                self.line.clear();
                Answer {
                    bytes: format!("^C\r\n{}", self.prompt()).into_bytes(),
                    ends: false,
                }
            }
            END_OF_INPUT if self.line.is_empty() => {
                self.line.extend_from_slice(b"exit");
                self.run()
            }
            END_OF_INPUT => Answer::default(),
            _ if self.line.len() >= LINE_LIMIT => Answer::default(),
            _ => {
                self.line.push(byte);
                Answer {
                    bytes: vec![byte],
                    ends: false,
                }
            }
        }
    }
}

impl Guest for Serial {
    fn greet(&mut self) -> Vec<u8> {
        let banner = format!(
            "\r\nSimulated Linux, {}/{} on ttyS0. Try help.\r\n\r\n{}",
            self.namespace,
            self.name,
            self.prompt()
        );
        banner.into_bytes()
    }

    fn receive(&mut self, bytes: &[u8]) -> Answer {
        let mut all = Answer::default();
        for byte in bytes {
            let answer = self.take(*byte);
            all.bytes.extend(answer.bytes);
            if answer.ends {
                all.ends = true;
                break;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial() -> Serial {
        Serial::of("shop", "web", || "2024-01-01T00:00:00Z".to_owned())
    }

    fn said(serial: &mut Serial, input: &str) -> (String, bool) {
        let answer = serial.receive(input.as_bytes());
        (String::from_utf8(answer.bytes).unwrap(), answer.ends)
    }

    #[test]
    fn lines_are_echoed_and_answered() {
        let mut serial = serial();
        assert!(String::from_utf8(serial.greet()).unwrap().contains("shop/web"));
        let (text, ends) = said(&mut serial, "date\r\n");
        assert_eq!(text, "date\r\n2024-01-01T00:00:00Z\r\nweb:~# ");
        assert!(!ends);
        assert!(said(&mut serial, "help\n").0.contains("commands:"));
        assert!(said(&mut serial, "rm -rf /\r").0.contains("sh: rm: not found"));
    }

    #[test]
    fn what_is_rubbed_out_was_never_there() {
        let (text, _) = said(&mut serial(), "datx\x7fe\r");
        assert_eq!(text, "datx\x08 \x08e\r\n2024-01-01T00:00:00Z\r\nweb:~# ");
        assert_eq!(
            said(&mut serial(), "\x7f").0,
            "",
            "an empty line has nothing to rub out"
        );
    }

    #[test]
    fn exit_hangs_up() {
        let (text, ends) = said(&mut serial(), "exit\rdate\r");
        assert_eq!((text.as_str(), ends), ("exit\r\nlogout\r\n", true));
        assert!(said(&mut serial(), "\x04").1, "so does the end of input");
        assert!(!said(&mut serial(), "da\x04").1);
    }

    #[test]
    fn endless_lines_are_cut_off() {
        let (echo, _) = said(&mut serial(), &"x".repeat(LINE_LIMIT + 100));
        assert_eq!(echo.len(), LINE_LIMIT);
    }
}
