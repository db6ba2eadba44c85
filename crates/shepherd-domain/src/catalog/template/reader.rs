//! Reading JSON by allow-list: every value knows its path, so that a refusal can name it.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::problem::{ErrorCode, Problem};

/// Most characters of a path and of a hint in an answer; both may quote what was sent.
const MAX_PATH: usize = 512;
const MAX_HINT: usize = 400;
/// From this similarity on (Jaro-Winkler) a key is taken for a misspelling of another one.
const SIMILAR: f64 = 0.8;

/// TEMPLATE_SPEC_VIOLATION.
pub(super) fn violation(path: &str, hint: &str) -> Problem {
    let shortened = |text: &str, max: usize| text.chars().take(max).collect::<String>();
    Problem::new(ErrorCode::TemplateSpecViolation)
        .with("path", shortened(path, MAX_PATH))
        .with("hint", shortened(hint, MAX_HINT))
}

/// The path of a key of an object; a document without a name has an empty path.
pub(super) fn child(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A value and its path.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    /// The root of a document.
    pub(super) fn new(path: &str, value: &'a Value) -> Self {
        Self {
            path: path.to_owned(),
            value,
        }
    }

    /// What is read.
    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// A refusal of this value.
    pub(super) fn refused(&self, hint: &str) -> Problem {
        violation(&self.path, hint)
    }

    /// An object with these keys at most.
    pub(super) fn object(&self, known: &[&str]) -> Result<Object<'a>, Problem> {
        self.object_or(known, &[])
    }

    /// An object with these keys at most; `tolerated` ones are understood and not recommended.
    pub(super) fn object_or(&self, known: &[&str], tolerated: &[&str]) -> Result<Object<'a>, Problem> {
        let Some(map) = self.value.as_object() else {
            return Err(self.refused(&format!("must be an object with {}", listed(known))));
        };
        for key in map.keys().map(String::as_str) {
            if !known.contains(&key) && !tolerated.contains(&key) {
                return Err(violation(&child(&self.path, key), &unknown_key(key, known)));
            }
        }
        Ok(Object {
            path: self.path.clone(),
            map,
        })
    }

    /// The entries of a list of at most `max`.
    pub(super) fn entries(&self, max: usize) -> Result<Vec<Self>, Problem> {
        let Some(items) = self.value.as_array() else {
            return Err(self.refused("must be a list"));
        };
        if items.len() > max {
            return Err(self.refused(&format!("must not have more than {max} entries")));
        }
        let entry = |(index, value): (usize, &'a Value)| Self {
            path: format!("{}[{index}]", self.path),
            value,
        };
        Ok(items.iter().enumerate().map(entry).collect())
    }

    /// A string, whatever it holds.
    pub(super) fn any_text(&self) -> Result<&'a str, Problem> {
        self.value.as_str().ok_or_else(|| self.refused("must be a string"))
    }

    /// One line of 1 to `max` characters.
    pub(super) fn line(&self, max: usize) -> Result<&'a str, Problem> {
        let text = self.any_text()?;
        if text.trim().is_empty() {
            return Err(self.refused("must not be empty"));
        }
        if text.chars().any(char::is_control) {
            return Err(self.refused("must not hold control characters"));
        }
        if text.trim() != text {
            return Err(self.refused("must not begin or end with a space"));
        }
        if text.chars().count() > max {
            return Err(self.refused(&format!("must not be longer than {max} characters")));
        }
        Ok(text)
    }

    /// One line that follows a grammar.
    pub(super) fn name(&self, max: usize, follows: fn(&str) -> bool, grammar: &str) -> Result<String, Problem> {
        let text = self.line(max)?;
        if follows(text) {
            Ok(text.to_owned())
        } else {
            Err(self.refused(&format!("must be {grammar}")))
        }
    }

    /// A boolean.
    pub(super) fn flag(&self) -> Result<bool, Problem> {
        self.value
            .as_bool()
            .ok_or_else(|| self.refused("must be true or false"))
    }

    /// A whole number of a range.
    pub(super) fn whole(&self, range: RangeInclusive<u32>) -> Result<u32, Problem> {
        self.value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                self.refused(&format!(
                    "must be a whole number from {} to {}",
                    range.start(),
                    range.end()
                ))
            })
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Problem> {
        let given = self.value.as_str();
        choices
            .iter()
            .find(|(word, _)| given == Some(*word))
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                self.refused(&format!("must be one of {}", words.join(", ")))
            })
    }
}

/// An object whose keys are all known.
#[derive(Clone, Debug)]
pub(super) struct Object<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// The value of a key. Null is the same as absent.
    pub(super) fn optional(&self, key: &str) -> Option<Node<'a>> {
        self.map.get(key).filter(|value| !value.is_null()).map(|value| Node {
            path: child(&self.path, key),
            value,
        })
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &str) -> Result<Node<'a>, Problem> {
        self.optional(key)
            .ok_or_else(|| self.refused(&format!("lacks `{key}`: add it")))
    }

    /// A refusal of the whole object.
    pub(super) fn refused(&self, hint: &str) -> Problem {
        violation(&self.path, hint)
    }

    /// Refuses keys that are known, but not in this company.
    pub(super) fn without(&self, keys: &[&str], hint: impl Display) -> Result<(), Problem> {
        match keys.iter().find_map(|key| self.optional(key)) {
            Some(node) => Err(node.refused(&hint.to_string())),
            None => Ok(()),
        }
    }
}

/// What to tell the writer of an unknown key.
fn unknown_key(key: &str, known: &[&str]) -> String {
    let wanted = squashed(key);
    let similarity = |candidate: &str| strsim::jaro_winkler(&wanted, &squashed(candidate));
    let closest = known
        .iter()
        .copied()
        .map(|candidate| (similarity(candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match closest {
        Some((_, candidate)) => format!("is unknown here: did you mean `{candidate}`?"),
        None => format!("is unknown here: remove it. An object like this has {}", listed(known)),
    }
}

fn listed(known: &[&str]) -> String {
    if known.is_empty() {
        "no keys".to_owned()
    } else {
        format!("keys of {}", known.join(", "))
    }
}

/// A key without what spellings differ in: case, separators and spaces. Only the beginning of a long one, because
/// comparing takes time that grows with the product of the lengths.
pub(super) fn squashed(key: &str) -> String {
    key.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .take(64)
        .collect()
}
