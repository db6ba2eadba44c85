//! What is wrong with a configuration: which key, what it says, and what it may say.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::values::{Values, shown};
use super::{Source, keys};

/// What is shown of a secret.
pub const MASKED: &str = "********";

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The dotted name of the key.
    pub key: String,
    /// What it says, unless it is a secret or no key at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Who says so: a file or a variable of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What it may say, or why it may not be there.
    pub problem: String,
}

impl Finding {
    /// About a key that is there and says the wrong thing.
    pub(super) fn about(key: &str, value: Option<&Value>, source: &Source, problem: &str) -> Self {
        Self {
            key: key.to_owned(),
            value: value.map(|value| masked(key, value)),
            origin: source.name(),
            problem: problem.to_owned(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " is {value}")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// The value as it may be shown.
pub fn masked(key: &str, value: &Value) -> String {
    let is_secret = keys::find(key).is_none_or(|key| key.secret);
    let is_set = !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty());
    if is_secret && is_set {
        MASKED.to_owned()
    } else {
        shown(value)
    }
}

/// Sentences of the form `key: what is allowed`, completed by what the keys say and who says it.
pub(super) fn completed(sentences: &[String], values: &Values, source: impl Fn(&str) -> Source) -> Vec<Finding> {
    sentences
        .iter()
        .map(|sentence| {
            let (key, problem) = sentence.split_once(": ").unwrap_or((sentence.as_str(), ""));
            Finding::about(key, values.get(key), &source(key), problem)
        })
        .collect()
}
