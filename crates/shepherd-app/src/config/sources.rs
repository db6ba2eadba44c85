//! Where values come from: environment over file over default.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Config;
use super::findings::{Finding, completed};
use super::keys::{self, ENVIRONMENT_ONLY, KEYS, Key};
use super::nearest::nearest;
use super::values::{Values, dotted};

/// File names that are looked for when none is given.
const PLACES: [&str; 3] = [
    "config.yaml",
    "config/config.yaml",
    "/etc/kubevirt-shepherd/config.yaml",
];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("{path}: {message}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Unknown keys, values of the wrong kind, and values that cannot work: all that was found.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Findings(Vec<Finding>),
}

/// Who says what a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody.
    Default,
    /// The file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
}

impl Source {
    /// The name of the file or of the variable.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Default => None,
            Self::File(path) => Some(path.display().to_string()),
            Self::Environment(variable) => Some(variable.clone()),
        }
    }

    /// `default`, `file` or `environment`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File(_) => "file",
            Self::Environment(_) => "environment",
        }
    }
}

/// A configuration, and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file that was read, when there was one.
    pub file: Option<ConfigFile>,
    /// Keys that somebody set, with who did.
    pub sources: BTreeMap<String, Source>,
    /// How many keys the file names, with those that the environment says otherwise.
    pub in_file: usize,
}

impl Loaded {
    /// Who says what the key is.
    pub fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }
}

/// A file as it was read. `Debug` does not show what it says, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The file that is used: the given one, or the first that exists.
pub fn place(given: Option<&Path>) -> Option<PathBuf> {
    given
        .map(Path::to_path_buf)
        .or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.is_file()))
}

/// Loads the configuration: the given file, or the first that exists, under the environment.
///
/// # Errors
/// See [`ConfigError`].
pub fn load(given: Option<&Path>, environment: impl Fn(&str) -> Option<String>) -> Result<Loaded, ConfigError> {
    let read = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(text) => Ok(ConfigFile { path, text }),
        Err(source) => Err(ConfigError::Unreadable { path, source }),
    };
    let file = place(given).map(read).transpose()?;
    load_file(file, environment)
}

/// The same with a file that was read before.
///
/// # Errors
/// See [`ConfigError`].
pub fn load_file(
    file: Option<ConfigFile>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Loaded, ConfigError> {
    let mut given = Given::default();
    if let Some(file) = &file {
        given.read(file)?;
    }
    let in_file = given.values.len();
    given.hear(environment);
    let (config, sources) = given.judged().map_err(ConfigError::Findings)?;
    Ok(Loaded {
        config,
        file,
        sources,
        in_file,
    })
}

/// What file and environment say, as far as it was read.
#[derive(Default)]
struct Given {
    values: Values,
    sources: BTreeMap<String, Source>,
    findings: Vec<Finding>,
}

impl Given {
    fn read(&mut self, file: &ConfigFile) -> Result<(), ConfigError> {
        let syntax = |message: String| ConfigError::Syntax {
            path: file.path.clone(),
            message,
        };
        if file.text.trim().is_empty() {
            return Ok(());
        }
        let options = serde_saphyr::options! { with_snippet: false };
        let document: Value =
            serde_saphyr::from_str_with_options(&file.text, options).map_err(|error| syntax(broken(&error)))?;
        match document {
            Value::Object(sections) => self.section("", sections, &Source::File(file.path.clone())),
            // A file of comments.
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(syntax("not a map of keys".to_owned()));
            }
        }
        Ok(())
    }

    fn section(&mut self, prefix: &str, map: Map<String, Value>, source: &Source) {
        for (name, value) in map {
            let key = dotted(prefix, &name);
            if ENVIRONMENT_ONLY.contains(&key.as_str()) {
                let problem = "belongs into the environment, never into the file";
                self.findings.push(Finding::about(&key, None, source, problem));
            } else if keys::find(&key).is_some() {
                self.sources.insert(key.clone(), source.clone());
                self.values.insert(key, value);
            } else {
                self.no_key(&key, value, source);
            }
        }
    }

    /// A section, or something unknown. What is below an unknown name is named in full.
    fn no_key(&mut self, key: &str, value: Value, source: &Source) {
        let is_section = keys::is_section(key);
        match value {
            Value::Object(inner) if is_section || !inner.is_empty() => self.section(key, inner, source),
            // All keys of the section are commented out.
            Value::Null if is_section => {}
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                let problem = if is_section {
                    "a section, not a key".to_owned()
                } else {
                    unknown(key)
                };
                self.findings.push(Finding::about(key, None, source, &problem));
            }
        }
    }

    fn hear(&mut self, environment: impl Fn(&str) -> Option<String>) {
        let defaults = Config::default().values();
        for key in KEYS {
            let mut names = std::iter::once(key.variable()).chain(key.short_variable().map(str::to_owned));
            let heard = names.find_map(|name| environment(&name).map(|text| (name, text)));
            if let Some((name, text)) = heard {
                let default = defaults.get(key.name).unwrap_or(&Value::Null);
                self.values.insert(key.name.to_owned(), typed(key, &text, default));
                self.sources.insert(key.name.to_owned(), Source::Environment(name));
            }
        }
    }

    fn judged(mut self) -> Result<(Config, BTreeMap<String, Source>), Vec<Finding>> {
        for (key, value) in &self.values {
            // One at a time, so that every wrong value is found and none hides another.
            if let Err(error) = Config::of_values([(key.as_str(), value)]) {
                let is_secret = keys::find(key).is_some_and(|key| key.secret);
                // The message repeats the value.
                let problem = if is_secret {
                    "the value is of the wrong kind".to_owned()
                } else {
                    error.to_string()
                };
                let source = self.sources.get(key).unwrap_or(&Source::Default);
                self.findings.push(Finding::about(key, Some(value), source, &problem));
            }
        }
        if !self.findings.is_empty() {
            return Err(self.findings);
        }
        let pairs = self.values.iter().map(|(key, value)| (key.as_str(), value));
        let config = Config::of_values(pairs).map_err(|error| {
            vec![Finding::about(
                "configuration",
                None,
                &Source::Default,
                &error.to_string(),
            )]
        })?;
        let source = |key: &str| self.sources.get(key).cloned().unwrap_or(Source::Default);
        let findings = completed(&config.sentences(), &config.values(), source);
        if findings.is_empty() {
            Ok((config, self.sources))
        } else {
            Err(findings)
        }
    }
}

/// What is wrong with the YAML, and where. The words are our own or those of the parser, which repeat at most one
/// character: other messages quote the text, and the line may hold a password.
fn broken(error: &serde_saphyr::Error) -> String {
    let what = if let serde_saphyr::Error::ExternalMessage { msg, .. } = error {
        msg.as_str()
    } else if matches!(error, serde_saphyr::Error::DuplicateMappingKey { .. }) {
        "a key that was there before"
    } else if matches!(error, serde_saphyr::Error::MultipleDocuments { .. }) {
        "a second document"
    } else {
        "not YAML of keys and values"
    };
    match error.location() {
        Some(place) => format!("line {}, column {}: {what}", place.line(), place.column()),
        None => what.to_owned(),
    }
}

fn unknown(key: &str) -> String {
    match nearest(key, KEYS.iter().map(|key| key.name)) {
        Some(known) => format!("unknown key; did you mean {known}?"),
        None => "unknown key".to_owned(),
    }
}

/// The text of a variable in the type of its key.
fn typed(key: &Key, text: &str, default: &Value) -> Value {
    let number = || serde_json::from_str::<serde_json::Number>(text.trim()).map(Value::Number);
    match default {
        Value::Array(_) => text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
        Value::Bool(_) => text.trim().parse().map_or_else(|_| text.into(), Value::Bool),
        Value::Number(_) => number().unwrap_or_else(|_| text.into()),
        // Without a default only the key itself knows.
        Value::Null if Config::of_values([(key.name, &Value::from(text))]).is_err() => {
            number().unwrap_or_else(|_| text.into())
        }
        Value::Null | Value::String(_) | Value::Object(_) => text.into(),
    }
}

#[cfg(test)]
mod tests;
