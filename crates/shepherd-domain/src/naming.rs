//! Names: the label rule of namespaces, Systems and Services, and the generated name of a machine.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::problem::{ErrorCode, Problem, Warning, WarningCode};

/// Most characters of a System, Service or namespace name.
pub const MAX_LABEL: usize = 15;
/// From this length on the answer carries NAME_LENGTH_WARNING.
pub const LONG_LABEL: usize = 13;
/// Most characters of a machine name (a DNS label).
pub const MAX_VM_NAME: usize = 63;

/// A name that follows the label rule: 1 to 15 of `a-z`, `0-9` and single hyphens, starting with a letter and
/// not ending with a hyphen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(String);

impl Label {
    /// A name that was checked when it was stored.
    pub fn from_stored(name: String) -> Self {
        Self(name)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// NAME_LENGTH_WARNING when the name is 13 to 15 characters long.
    pub fn length_warning(&self, entity: &str) -> Option<Warning> {
        (self.0.len() >= LONG_LABEL).then(|| {
            Warning::new(WarningCode::NameLengthWarning)
                .with("entity", entity)
                .with("name", self.0.as_str())
                .with("length", self.0.len())
                .with("max_length", MAX_LABEL)
        })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reserved names and prefixes; the built-in ones cannot be taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamingRules {
    reserved: Vec<String>,
    reserved_prefixes: Vec<String>,
}

impl Default for NamingRules {
    fn default() -> Self {
        Self::extended(&[], &[])
    }
}

impl NamingRules {
    /// The built-in rules together with configured ones.
    pub fn extended(reserved: &[String], prefixes: &[String]) -> Self {
        let join = |built_in: &[&str], extra: &[String]| {
            let mut all: Vec<String> = built_in
                .iter()
                .map(ToString::to_string)
                .chain(extra.iter().cloned())
                .collect();
            all.sort();
            all.dedup();
            all
        };
        Self {
            reserved: join(&["default", "system", "admin", "root", "internal"], reserved),
            reserved_prefixes: join(&["kube-", "kubevirt-shepherd-"], prefixes),
        }
    }

    /// Parses a System, Service or namespace name.
    ///
    /// # Errors
    /// NAME_TOO_LONG, NAME_INVALID or NAME_RESERVED, with `entity` as given.
    pub fn parse(&self, entity: &str, name: &str) -> Result<Label, Problem> {
        let problem = |code| {
            Problem::new(code)
                .with("entity", entity)
                .with("name", name.chars().take(64).collect::<String>())
        };
        let invalid = |reason: &str| Err(problem(ErrorCode::NameInvalid).with("reason", reason));
        if name.is_empty() {
            return invalid("empty");
        }
        let length = name.chars().count();
        if length > MAX_LABEL {
            let too_long = problem(ErrorCode::NameTooLong)
                .with("length", length)
                .with("max_length", MAX_LABEL);
            return Err(match self.suggestion(name) {
                Some(suggestion) => too_long.with("suggestion", suggestion.as_str()),
                None => too_long,
            });
        }
        if !name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return invalid("characters");
        }
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return invalid("first_character");
        }
        if name.ends_with('-') {
            return invalid("last_character");
        }
        if name.contains("--") {
            return invalid("double_hyphen");
        }
        if self.reserved.iter().any(|reserved| reserved == name) {
            return Err(problem(ErrorCode::NameReserved).with("reason", "reserved_name"));
        }
        if let Some(prefix) = self
            .reserved_prefixes
            .iter()
            .find(|prefix| name.starts_with(prefix.as_str()))
        {
            return Err(problem(ErrorCode::NameReserved)
                .with("reason", "reserved_prefix")
                .with("prefix", prefix.as_str()));
        }
        Ok(Label(name.to_owned()))
    }

    /// A valid name made of the beginning of one that is too long, if there is one.
    fn suggestion(&self, name: &str) -> Option<Label> {
        let mut kept = String::new();
        for c in name.to_lowercase().chars() {
            let fits = match c {
                'a'..='z' => true,
                '0'..='9' => !kept.is_empty(),
                '-' => !kept.is_empty() && !kept.ends_with('-'),
                _ => false,
            };
            if fits && kept.len() < MAX_LABEL {
                kept.push(c);
            }
        }
        self.parse("", kept.trim_end_matches('-')).ok()
    }
}

/// The generated name of a machine and the parts it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmName {
    full: String,
    instance: String,
}

impl VmName {
    /// `{namespace}-{system}-{service}-{instance}`, the instance with at least two digits.
    ///
    /// # Errors
    /// VM_NAME_TOO_LONG when it would not fit a DNS label; only adopted or legacy parts can cause that.
    pub fn generate(namespace: &str, system: &str, service: &str, index: u32) -> Result<Self, Problem> {
        let instance = format!("{index:02}");
        let full = format!("{namespace}-{system}-{service}-{instance}");
        if full.len() > MAX_VM_NAME {
            return Err(Problem::new(ErrorCode::VmNameTooLong)
                .with("generated_name", full.as_str())
                .with("length", full.len())
                .with("max_length", MAX_VM_NAME)
                .with("components", serde_json::json!({"namespace": namespace, "system": system, "service": service, "instance": instance}))
                .with("suggestion", full.chars().take(MAX_VM_NAME).collect::<String>().trim_end_matches('-')));
        }
        Ok(Self { full, instance })
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The instance part, at least two digits.
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

/// The name other machines of the namespace reach a machine by.
pub fn fqdn(vm: &str, namespace: &str) -> String {
    format!("{vm}.{namespace}.svc.cluster.local")
}
