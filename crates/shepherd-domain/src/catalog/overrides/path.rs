//! Paths of a VirtualMachine document.
//!
//! ```text
//! path    = first *( "." field / quoted / "[" index "]" / "[name=" name "]" )
//! first   = field / quoted
//! field   = letter or digit, then letters, digits, "-", "_"
//! quoted  = "[" quote key quote "]"        quote is " or ', the same at both ends
//! key     = letter or digit, then letters, digits, "-", "_", ".", "/"
//! index   = "0", or digits without a leading zero
//! name    = letter or digit, then letters, digits, "-", "_", "."
//! ```
//!
//! A quoted key is for labels and resources, as in `limits["nvidia.com/A10"]`. Quoting a key that needs none is another
//! spelling of the same path; there are no escapes, no white space and no other spellings.

use std::fmt;
use std::str::FromStr;

/// A step from a value to one inside of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// The field of an object.
    Key(String),
    /// The entry of a list at a place, from 0.
    Index(usize),
    /// The entry of a list whose field `name` has this value.
    Named(String),
}

impl Segment {
    /// Highest index.
    pub const MAX_INDEX: usize = 63;
    /// Longest key in bytes: a prefix of 253, a slash and a name of 63, as labels have it.
    pub const MAX_KEY: usize = 317;
    /// Longest name of an entry in bytes.
    pub const MAX_NAME: usize = 253;
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) if key.bytes().all(is_bare) => f.write_str(key),
            Self::Key(key) => write!(f, "[\"{key}\"]"),
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Named(name) => write!(f, "[name={name}]"),
        }
    }
}

/// A path with at least one segment, of which the first is a key.
///
/// Paths are ordered by their segments: keys before indices before names, indices by number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpecPath(Vec<Segment>);

impl SpecPath {
    /// Longest text in bytes.
    pub const MAX_BYTES: usize = 512;
    /// Most segments.
    pub const MAX_DEPTH: usize = 32;

    /// Reads a path.
    ///
    /// # Errors
    /// When it is not one, or beyond a limit.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > Self::MAX_BYTES {
            return Err(PathError::TooLong);
        }
        let mut segments = Vec::new();
        let mut rest = text;
        loop {
            let (segment, after) = match rest.strip_prefix('[') {
                Some(inner) => bracket(inner)?,
                None => field(rest)?,
            };
            segments.push(segment);
            if after.is_empty() {
                break;
            }
            rest = next(after)?;
        }
        if !matches!(segments.first(), Some(Segment::Key(_))) {
            return Err(PathError::Bracket);
        }
        Self(segments).bounded()
    }

    /// The segments, from the outermost.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The path of a field inside of what is here. The key is taken as it is: its dots part nothing.
    ///
    /// # Errors
    /// When no field can have this name, or the path goes beyond a limit.
    pub fn field(&self, key: &str) -> Result<Self, PathError> {
        let mut segments = self.0.clone();
        segments.push(Segment::Key(checked_key(key)?));
        Self(segments).bounded()
    }

    /// A canonical text can be longer than the one that was read, so both are held to the limit.
    fn bounded(self) -> Result<Self, PathError> {
        if self.0.len() > Self::MAX_DEPTH {
            return Err(PathError::TooDeep);
        }
        if self.to_string().len() > Self::MAX_BYTES {
            return Err(PathError::TooLong);
        }
        Ok(self)
    }
}

impl fmt::Display for SpecPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            let bare = matches!(segment, Segment::Key(key) if key.bytes().all(is_bare));
            if bare && position > 0 {
                f.write_str(".")?;
            }
            segment.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for SpecPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

/// Why a text is not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than [`SpecPath::MAX_BYTES`].
    #[error("the path is too long")]
    TooLong,
    /// More segments than [`SpecPath::MAX_DEPTH`].
    #[error("the path is too deep")]
    TooDeep,
    /// Nothing between two dots, before the first or after the last.
    #[error("a segment of the path is empty")]
    EmptySegment,
    /// A character that has no place there.
    #[error("the path has a character that has no place there")]
    Character,
    /// A bracket that is not closed, or holds neither a quoted key, nor an index, nor `name=`.
    #[error("a bracket of the path is not one")]
    Bracket,
    /// An index with a leading zero, or higher than [`Segment::MAX_INDEX`].
    #[error("an index of the path is out of range")]
    Index,
}

impl PathError {
    /// The parameter `reason` of INVALID_SPEC_OVERRIDES.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "path_too_long",
            Self::TooDeep => "path_too_deep",
            Self::EmptySegment => "path_empty_segment",
            Self::Character => "path_character",
            Self::Bracket => "path_bracket",
            Self::Index => "path_index",
        }
    }
}

/// The key as it is, if a field can have it as its name.
pub(super) fn checked_key(key: &str) -> Result<String, PathError> {
    checked(key, Segment::MAX_KEY, |byte| {
        is_bare(byte) || byte == b'.' || byte == b'/'
    })
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn checked(text: &str, max: usize, allowed: impl Fn(u8) -> bool) -> Result<String, PathError> {
    let first = text.bytes().next().ok_or(PathError::EmptySegment)?;
    if text.len() > max {
        return Err(PathError::TooLong);
    }
    if !first.is_ascii_alphanumeric() || !text.bytes().all(allowed) {
        return Err(PathError::Character);
    }
    Ok(text.to_owned())
}

/// The start of the next segment.
fn next(after: &str) -> Result<&str, PathError> {
    if after.starts_with('[') {
        return Ok(after);
    }
    let rest = after.strip_prefix('.').ok_or(PathError::Character)?;
    if rest.starts_with('[') {
        Err(PathError::EmptySegment)
    } else {
        Ok(rest)
    }
}

fn field(text: &str) -> Result<(Segment, &str), PathError> {
    let end = text.bytes().position(|byte| !is_bare(byte)).unwrap_or(text.len());
    // What ends a field that is not empty is ASCII or the first byte of a character, so this is a boundary.
    let (key, after) = text.split_at(end);
    if key.is_empty() && !(after.is_empty() || after.starts_with('.')) {
        return Err(PathError::Character);
    }
    let key = checked(key, Segment::MAX_KEY, is_bare)?;
    Ok((Segment::Key(key), after))
}

/// What follows an opening bracket.
fn bracket(text: &str) -> Result<(Segment, &str), PathError> {
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote) {
            let (key, after) = quoted.split_once(quote).ok_or(PathError::Bracket)?;
            let after = after.strip_prefix(']').ok_or(PathError::Bracket)?;
            return Ok((Segment::Key(checked_key(key)?), after));
        }
    }
    let (inner, after) = text.split_once(']').ok_or(PathError::Bracket)?;
    let segment = match inner.strip_prefix("name=") {
        Some(name) => Segment::Named(checked(name, Segment::MAX_NAME, |byte| is_bare(byte) || byte == b'.')?),
        None => Segment::Index(index(inner)?),
    };
    Ok((segment, after))
}

fn index(text: &str) -> Result<usize, PathError> {
    if text.is_empty() {
        return Err(PathError::EmptySegment);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PathError::Bracket);
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(PathError::Index);
    }
    let index: usize = text.parse().map_err(|_| PathError::Index)?;
    if index > Segment::MAX_INDEX {
        return Err(PathError::Index);
    }
    Ok(index)
}
