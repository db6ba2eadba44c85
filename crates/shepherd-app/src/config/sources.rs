//! Where values come from: environment over file over default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::providers::Serialized;
use figment::value::{Dict, Empty, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::Config;

/// File names that are looked for when none is given.
const PLACES: [&str; 3] = [
    "config.yaml",
    "config/config.yaml",
    "/etc/kubevirt-shepherd/config.yaml",
];
/// Secrets may also be named shortly in the environment.
const SHORT_NAMES: [(&str, &str); 2] = [
    ("security.encryption_key", "ENCRYPTION_KEY"),
    ("security.session_secret", "SESSION_SECRET"),
];
/// Keys that the file may not hold.
const ENVIRONMENT_ONLY: [&str; 2] = ["security.encryption_key", "security.session_secret"];

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
    /// A secret stands in the file.
    #[error("{path}: {key} belongs into the environment, never into the file")]
    SecretInFile {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
    },
    /// A value has the wrong type, or a key is unknown.
    #[error("{0}")]
    Value(Box<figment::Error>),
    /// Values that cannot work.
    #[error("{}", .0.join("; "))]
    Findings(Vec<String>),
}

/// A configuration, and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file that was read, when there was one.
    pub file: Option<PathBuf>,
    /// Keys that the environment set, with the name that set them.
    pub from_environment: BTreeMap<String, String>,
}

/// Loads the configuration: the given file, or the first that exists, under the environment.
///
/// # Errors
/// See [`ConfigError`].
pub fn load(given: Option<&Path>, environment: impl Fn(&str) -> Option<String>) -> Result<Loaded, ConfigError> {
    let file = given
        .map(Path::to_path_buf)
        .or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.is_file()));
    let defaults = Serialized::defaults(Config::default());
    let mut figment = Figment::from(defaults.clone());
    if let Some(path) = &file {
        figment = figment.merge(read(path)?);
    }
    let mut from_environment = BTreeMap::new();
    for (key, default) in keys(&defaults)? {
        let name = key.to_uppercase().replace('.', "_");
        let short = SHORT_NAMES
            .iter()
            .find(|(long, _)| *long == key)
            .map(|(_, short)| (*short).to_owned());
        let Some((name, text)) = std::iter::once(name)
            .chain(short)
            .find_map(|name| environment(&name).map(|text| (name, text)))
        else {
            continue;
        };
        figment = figment.merge(Serialized::global(&key, typed(&text, &default)));
        from_environment.insert(key, name);
    }
    let config: Config = figment.extract().map_err(|error| ConfigError::Value(Box::new(error)))?;
    let findings = config.findings();
    if findings.is_empty() {
        Ok(Loaded {
            config,
            file,
            from_environment,
        })
    } else {
        Err(ConfigError::Findings(findings))
    }
}

/// A YAML file as a source of values.
struct YamlFile {
    name: String,
    values: Dict,
}

impl Provider for YamlFile {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "figment's values: a map, or something else"
)]
fn read(path: &Path) -> Result<YamlFile, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let syntax = |message: String| ConfigError::Syntax {
        path: path.to_owned(),
        message,
    };
    let values: serde_json::Value = if text.trim().is_empty() {
        serde_json::json!({})
    } else {
        serde_saphyr::from_str(&text).map_err(|error| syntax(error.to_string()))?
    };
    for key in ENVIRONMENT_ONLY {
        if values.pointer(&format!("/{}", key.replace('.', "/"))).is_some() {
            return Err(ConfigError::SecretInFile {
                path: path.to_owned(),
                key,
            });
        }
    }
    match Value::serialize(values).map_err(|error| syntax(error.to_string()))? {
        Value::Dict(_, values) => Ok(YamlFile {
            name: path.display().to_string(),
            values,
        }),
        _ => Err(syntax("not a map of keys".to_owned())),
    }
}

/// All keys in dotted form with their defaults.
fn keys(defaults: &impl Provider) -> Result<BTreeMap<String, Value>, ConfigError> {
    let data = defaults.data().map_err(|error| ConfigError::Value(Box::new(error)))?;
    let mut keys = BTreeMap::new();
    for (_, dict) in data {
        flatten("", dict, &mut keys);
    }
    Ok(keys)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "figment's values: a map, or a leaf")]
fn flatten(prefix: &str, dict: Dict, keys: &mut BTreeMap<String, Value>) {
    for (name, value) in dict {
        let key = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Dict(_, inner) => flatten(&key, inner, keys),
            leaf => {
                keys.insert(key, leaf);
            }
        }
    }
}

/// The text of an environment variable in the type of its key's default.
fn typed(text: &str, default: &Value) -> serde_json::Value {
    match default {
        Value::Array(..) => text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
        Value::Bool(..) => text.parse::<bool>().map_or_else(|_| text.into(), Into::into),
        Value::Num(..) => text.parse::<i64>().map_or_else(|_| text.into(), Into::into),
        Value::Empty(_, Empty::None | Empty::Unit) | Value::String(..) | Value::Char(..) | Value::Dict(..) => {
            text.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(environment: &[(&str, &str)], file: Option<&str>) -> Result<Loaded, ConfigError> {
        let environment: BTreeMap<String, String> = environment
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        let directory = tempfile::tempdir().unwrap();
        let path = file.map(|text| {
            let path = directory.path().join("config.yaml");
            std::fs::write(&path, text).unwrap();
            path
        });
        load(path.as_deref(), |name| environment.get(name).cloned())
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
        let loaded = with(
            &[("DATABASE_MAX_CONNS", "7")],
            Some("database:\n  max_conns: 9\n  min_conns: 3\n"),
        )
        .unwrap();
        assert_eq!(
            (
                loaded.config.database.max_conns,
                loaded.config.database.min_conns,
                loaded.config.server.port
            ),
            (7, 3, 8080)
        );
        assert_eq!(
            loaded.from_environment.get("database.max_conns").map(String::as_str),
            Some("DATABASE_MAX_CONNS")
        );
    }

    #[test]
    fn lists_durations_and_short_names_are_understood() {
        let key = "0123456789abcdef0123456789abcdef0123456789ab";
        let loaded = with(
            &[
                ("SECURITY_OUTBOUND_ALLOWLIST", "127.0.0.1/32, 10.0.0.0/8"),
                ("K8S_HEALTH_INTERVAL", "5s"),
                ("SESSION_SECRET", key),
            ],
            None,
        )
        .unwrap();
        assert_eq!(loaded.config.security.outbound_allowlist.len(), 2);
        assert_eq!(loaded.config.k8s.health_interval.as_secs(), 5);
        assert_eq!(loaded.config.security.session_secret.as_deref(), Some(key));
    }

    #[test]
    fn unknown_keys_secrets_in_the_file_and_wrong_values_stop_the_start() {
        assert!(matches!(
            with(&[], Some("server:\n  prot: 1\n")),
            Err(ConfigError::Value(_))
        ));
        assert!(matches!(
            with(&[], Some("security:\n  session_secret: x\n")),
            Err(ConfigError::SecretInFile { .. })
        ));
        assert!(matches!(
            with(&[("SERVER_PORT", "http")], None),
            Err(ConfigError::Value(_))
        ));
        assert!(matches!(
            with(&[("QUEUE_MAX_WORKERS", "0")], None),
            Err(ConfigError::Findings(_))
        ));
        assert!(matches!(with(&[], Some(": [")), Err(ConfigError::Syntax { .. })));
    }
}
