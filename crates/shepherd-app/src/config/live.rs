//! The configuration while the process runs: what holds, and what the file says by now.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;

use super::keys::KEYS;
use super::values::Values;
use super::{Config, Loaded, Source};

/// What holds, and what was read last.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What holds.
    pub effective: Loaded,
    /// What the file and the environment say. It differs from what holds in keys that need a restart.
    pub newest: Loaded,
}

/// The standing as it is now.
#[derive(Debug)]
pub struct LiveConfig(ArcSwap<Standing>);

/// What another configuration would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Keys that take effect at once.
    pub hot: Vec<&'static str>,
    /// Keys that take effect with a restart, and that the configuration before did not name already.
    pub cold: Vec<&'static str>,
    /// Old and new values of all of these, as a text.
    pub values: String,
}

impl LiveConfig {
    /// What a process starts with.
    pub fn new(loaded: Loaded) -> Self {
        Self(ArcSwap::from_pointee(Standing {
            effective: loaded.clone(),
            newest: loaded,
        }))
    }

    /// The standing now.
    pub fn now(&self) -> Arc<Standing> {
        self.0.load_full()
    }

    /// Puts another in its place.
    pub fn replace(&self, standing: Standing) {
        self.0.store(Arc::new(standing));
    }
}

impl Standing {
    /// What is different in a configuration that was read now.
    pub fn difference(&self, newest: &Loaded) -> Difference {
        let (holds, before, after) = (
            self.effective.config.values(),
            self.newest.config.values(),
            newest.config.values(),
        );
        let mut difference = Difference::default();
        for key in KEYS {
            let old = if key.hot { &holds } else { &before };
            let (old, new) = (value(old, key.name), value(&after, key.name));
            if old == new {
                continue;
            }
            difference.values += &format!("{}: {old} -> {new}\n", key.name);
            if key.hot {
                difference.hot.push(key.name);
            } else {
                difference.cold.push(key.name);
            }
        }
        difference
    }

    /// Keys that say something else by now than what holds: they need a restart.
    pub fn waiting(&self) -> Vec<&'static str> {
        let (holds, said) = (self.effective.config.values(), self.newest.config.values());
        let differs = |name: &&str| value(&holds, name) != value(&said, name);
        KEYS.iter().map(|key| key.name).filter(differs).collect()
    }

    /// The standing once a configuration was read: its hot keys hold, all others stay as they were.
    ///
    /// # Errors
    /// When the values do not make a configuration, which they do one by one.
    pub fn with(&self, newest: Loaded) -> Result<Self, serde_json::Error> {
        let (old, new) = (self.effective.config.values(), newest.config.values());
        let chosen = KEYS.iter().filter_map(|key| {
            let values = if key.hot { &new } else { &old };
            values.get(key.name).map(|value| (key.name, value))
        });
        let config = Config::of_values(chosen)?;
        let sources: BTreeMap<String, Source> = KEYS
            .iter()
            .filter_map(|key| {
                let from = if key.hot { &newest } else { &self.effective };
                let source = from.sources.get(key.name)?;
                Some((key.name.to_owned(), source.clone()))
            })
            .collect();
        Ok(Self {
            effective: Loaded {
                config,
                file: self.effective.file.clone(),
                sources,
                in_file: self.effective.in_file,
            },
            newest,
        })
    }
}

fn value<'a>(values: &'a Values, key: &str) -> &'a Value {
    values.get(key).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFile, load_file};

    fn loaded(text: &str) -> Loaded {
        let file = ConfigFile {
            path: "config.yaml".into(),
            text: text.to_owned(),
        };
        load_file(Some(file), |_| None).unwrap()
    }

    #[test]
    fn hot_keys_change_and_others_wait() {
        let standing = Standing {
            effective: loaded("server:\n  port: 81\n"),
            newest: loaded("server:\n  port: 81\n"),
        };
        let newest = loaded("server:\n  port: 82\nbatch:\n  max_create: 3\n");
        let difference = standing.difference(&newest);
        assert_eq!(
            (difference.hot, difference.cold),
            (vec!["batch.max_create"], vec!["server.port"])
        );
        assert_eq!(difference.values, "batch.max_create: 10 -> 3\nserver.port: 81 -> 82\n");
        let standing = standing.with(newest.clone()).unwrap();
        assert_eq!(
            (
                standing.effective.config.server.port,
                standing.effective.config.batch.max_create
            ),
            (81, 3)
        );
        assert_eq!(standing.effective.source("batch.max_create").kind(), "file");
        assert_eq!(standing.difference(&newest), Difference::default());
        assert_eq!(standing.waiting(), ["server.port"]);

        let back = loaded("server:\n  port: 81\n");
        let difference = standing.difference(&back);
        assert_eq!(
            (difference.hot, difference.cold),
            (vec!["batch.max_create"], vec!["server.port"])
        );
        assert!(standing.with(back).unwrap().waiting().is_empty());
    }
}
