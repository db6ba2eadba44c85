//! Patterns over the names of namespaces.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most characters of a pattern.
pub const MAX_GLOB: usize = 63;

/// Not a pattern over names of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("1 to 63 of a-z, 0-9, `-`, `*` and `?`")]
pub struct InvalidGlob;

/// Names by a pattern: `*` stands for any text, `?` for one character, everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamespaceGlob(String);

impl NamespaceGlob {
    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name follows the pattern.
    ///
    /// Only the last star that was met can still take more: what an earlier one takes was settled by the text between
    /// them, at its first place. So no name costs more than its length times that of the pattern.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut read) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = name.get(read) {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, read));
                    at += 1;
                }
                Some(expected) if *expected == b'?' || expected == byte => {
                    at += 1;
                    read += 1;
                }
                Some(_) | None => {
                    let Some((place, taken)) = star else { return false };
                    star = Some((place, taken + 1));
                    at = place + 1;
                    read = taken + 1;
                }
            }
        }
        pattern.iter().skip(at).all(|byte| *byte == b'*')
    }
}

impl FromStr for NamespaceGlob {
    type Err = InvalidGlob;

    fn from_str(text: &str) -> Result<Self, InvalidGlob> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-*?".contains(&byte);
        if (1..=MAX_GLOB).contains(&text.len()) && text.bytes().all(known) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidGlob)
        }
    }
}

impl TryFrom<String> for NamespaceGlob {
    type Error = InvalidGlob;

    fn try_from(text: String) -> Result<Self, InvalidGlob> {
        text.parse()
    }
}

impl From<NamespaceGlob> for String {
    fn from(glob: NamespaceGlob) -> Self {
        glob.0
    }
}
