//! Overrides: what a size sets in a document beyond its columns.
//!
//! A size names the places by path ([`SpecPath`]) and gives a value for each. However nested or spelt they come in,
//! they are kept as leaves in one canonical form, so that the rules about what may be set look at one form only. No two
//! of them touch the same place, which is why the order in which they are given means nothing.

mod apply;
mod flatten;
mod forbidden;
mod path;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strum::IntoStaticStr;

pub use path::{PathError, Segment, SpecPath};

use crate::problem::{ErrorCode, Problem};

/// Places of a VirtualMachine and the values that a size puts there, in path order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Map<String, Value>", try_from = "Map<String, Value>")]
pub struct SpecOverrides(BTreeMap<SpecPath, Value>);

impl SpecOverrides {
    /// Most overrides of one size, after nested objects were taken apart.
    pub const MAX_ENTRIES: usize = 128;
    /// Longest JSON text of all overrides of one size, in bytes.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// Deepest nesting of lists and objects inside one value.
    pub const MAX_VALUE_DEPTH: usize = 16;

    /// Reads a map of paths and values. Nested objects are taken apart into leaves, empty ones stay; numbers that are
    /// whole become integers. A key inside of a nested object is the name of a field and never a path.
    ///
    /// # Errors
    /// INVALID_SPEC_OVERRIDES with the first path that is malformed, given twice, at odds with another one, outside
    /// of `spec`, or not a size's to set.
    pub fn parse(map: &Map<String, Value>) -> Result<Self, Problem> {
        flatten::leaves(map).map(Self)
    }

    /// The overrides in path order.
    pub fn iter(&self) -> impl Iterator<Item = (&SpecPath, &Value)> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts the values into a document, in path order. It always succeeds, and doing it twice does nothing more:
    ///
    /// - an object that is not there is made, and a value of another kind that is in the way gives way to it;
    /// - `[n]` is the entry at that place; a shorter list grows to it, with nulls in between;
    /// - `[name=x]` is the first entry of that name, else a new one at the end;
    /// - an empty object only sees to it that there is an object: what is in one already stays.
    pub fn apply(&self, document: &mut Value) {
        for (path, value) in &self.0 {
            apply::put(document, path.segments(), value);
        }
    }
}

impl From<SpecOverrides> for Map<String, Value> {
    fn from(overrides: SpecOverrides) -> Self {
        let entries = overrides.0.into_iter();
        entries.map(|(path, value)| (path.to_string(), value)).collect()
    }
}

impl TryFrom<Map<String, Value>> for SpecOverrides {
    type Error = Problem;

    fn try_from(map: Map<String, Value>) -> Result<Self, Problem> {
        Self::parse(&map)
    }
}

/// Why an override is refused: the parameter `reason` of INVALID_SPEC_OVERRIDES.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Reason {
    /// More overrides than a size may have.
    TooMany,
    /// More bytes than the overrides of a size may have.
    TooLarge,
    /// A value that is nested too deeply.
    ValueTooDeep,
    /// Outside of `spec`.
    NotSpec,
    /// A second spelling of a path that was given already.
    Duplicate,
    /// At odds with another override: one replaces what the other is in, or they disagree about what is there.
    Conflict,
    /// Null: an override sets something, it does not take away.
    Null,
    /// A number that JSON can write and Kubernetes cannot hold.
    Number,
    /// A key that no field of Kubernetes has.
    Key,
    /// An entry that is found by its name is an object.
    EntryNotObject,
    /// An entry that is found by its name would lose it.
    EntryRenamed,
    /// The platform sets it.
    PlatformOwned,
    /// It would replace a list the platform fills; entries can be added by name.
    PlatformList,
    /// It would replace an object the platform fills.
    PlatformObject,
    /// Initialisation of the guest belongs to the template.
    CloudInit,
    /// A column of the size sets it.
    UseColumn,
    /// A value of the wrong type, where a column is derived from it.
    Type,
    /// Not a quantity of memory.
    Quantity,
    /// A quantity of memory that is not a whole number of MiB.
    NotWholeMebibytes,
}

/// INVALID_SPEC_OVERRIDES for a path, of which a client gets back no more than a path can have.
pub(super) fn refuse(path: impl ToString, reason: Reason) -> Problem {
    let reason: &'static str = reason.into();
    refuse_text(&path.to_string(), reason)
}

fn refuse_text(path: &str, reason: &'static str) -> Problem {
    let shown: String = path.chars().take(SpecPath::MAX_BYTES).collect();
    Problem::new(ErrorCode::InvalidSpecOverrides)
        .with("path", shown)
        .with("reason", reason)
}
