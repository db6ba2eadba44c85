//! The file of the configuration is followed while the process runs.
//!
//! Contents are compared and not times, so that the swapped links of a ConfigMap are noticed like an edited file. A
//! content counts once two looks in a row have found it: whoever writes in pieces is not read half-way. What does not
//! validate is said once and changes nothing, and neither does a file that has lost all its keys: a disk that is full
//! and a redirection that failed leave such a file behind more often than somebody who wants all defaults.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shepherd_usecases::Platform;
use shepherd_usecases::configuration::{self, ConfigurationChange};
use tokio::sync::Mutex;

use crate::config::{self, Config, ConfigError, ConfigFile, LiveConfig, Loaded, Standing};

/// Between two looks at the file.
const LOOK: Duration = Duration::from_secs(2);

/// Takes over a configuration that holds from now on, as far as it changes while the process runs.
pub type Follower = Arc<dyn Fn(&Config) + Send + Sync>;

/// Follows the file.
pub struct Reloader {
    platform: Arc<Platform>,
    standing: Arc<LiveConfig>,
    followers: Vec<Follower>,
    file: Option<PathBuf>,
    seen: Mutex<Seen>,
    /// The row of the last change, or the newest one at the start: rows up to there say nothing of the next change.
    /// Unknown until the store was asked.
    recorded: Mutex<Option<i64>>,
}

impl Reloader {
    /// What follows the file that the process was started with, or the first one that appears where files are looked
    /// for.
    pub fn new(platform: Arc<Platform>, standing: Arc<LiveConfig>, followers: Vec<Follower>) -> Self {
        let file = standing.now().newest.file.clone();
        let path = file.as_ref().map(|file| file.path.clone());
        let content = file.map_or(Content::Absent, Content::File);
        Self {
            platform,
            standing,
            followers,
            file: path,
            seen: Mutex::new(Seen::new(content)),
            recorded: Mutex::new(None),
        }
    }

    /// Follows until dropped.
    pub async fn run(&self) {
        loop {
            self.begin().await;
            tokio::time::sleep(LOOK).await;
            self.look().await;
        }
    }

    /// Finds the newest row, unless that was done before. As long as the store does not say, no row of another replica is
    /// taken for one's own.
    pub async fn begin(&self) {
        let mut recorded = self.recorded.lock().await;
        if recorded.is_none() {
            *recorded = configuration::newest_row(&self.platform).await.ok();
        }
    }

    async fn look(&self) {
        let content = self.read().await;
        let mut seen = self.seen.lock().await;
        if !seen.is_new(&content) {
            return;
        }
        let settled = match content.clone() {
            Content::File(file) => self.consider(config::load_file(Some(file), variable)).await,
            Content::Absent => self.consider(config::load_file(None, variable)).await,
            Content::Unreadable(error) => {
                tracing::error!(%error, "the configuration file cannot be read; what was read before holds");
                true
            }
        };
        if settled {
            seen.settle(content);
        }
    }

    async fn read(&self) -> Content {
        let given = self.file.clone();
        let read = tokio::task::spawn_blocking(move || Content::read(given.as_deref()));
        read.await
            .unwrap_or_else(|error| Content::Unreadable(error.to_string()))
    }

    /// Takes over what may be taken over. Answers whether there is nothing left to do about it.
    async fn consider(&self, loaded: Result<Loaded, ConfigError>) -> bool {
        match loaded {
            Ok(newest) if is_emptied(&self.standing.now(), &newest) => {
                tracing::error!(
                    "the configuration file has no keys any more, so it is taken for cut off; what was read before holds \
                     until there is a key in it again, or until a restart"
                );
                true
            }
            Ok(newest) => self.take_over(newest).await,
            Err(error) => {
                tracing::error!(%error, "the changed configuration is invalid; the one before holds");
                true
            }
        }
    }

    async fn take_over(&self, newest: Loaded) -> bool {
        let now = self.standing.now();
        let difference = now.difference(&newest);
        let standing = match now.with(newest) {
            Ok(standing) => standing,
            Err(error) => {
                tracing::error!(%error, "the changed configuration cannot be taken over; the one before holds");
                return true;
            }
        };
        let waiting = standing.waiting();
        // First of all: a change that nobody can find in the log does not happen.
        if !difference.hot.is_empty() {
            let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
            let change = ConfigurationChange {
                in_effect: owned(&difference.hot),
                after_restart: owned(&waiting),
                values: difference.values,
            };
            let mut recorded = self.recorded.lock().await;
            match configuration::record(&self.platform, &change, recorded.unwrap_or(i64::MAX)).await {
                Ok(recorded_at) => *recorded = Some(recorded_at.row),
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a change of the configuration waits until its audit row can be written"
                    );
                    return false;
                }
            }
            self.follow(&standing);
            tracing::info!(keys = ?difference.hot, "changes of the configuration have taken effect");
        }
        if !difference.cold.is_empty() && !waiting.is_empty() {
            tracing::warn!(keys = ?waiting, "changes of the configuration need a restart");
        }
        self.standing.replace(standing);
        true
    }

    fn follow(&self, standing: &Standing) {
        for follow in &self.followers {
            follow(&standing.effective.config);
        }
    }
}

/// Whether a file that had keys has none, or is gone.
fn is_emptied(now: &Standing, newest: &Loaded) -> bool {
    now.newest.in_file > 0 && newest.in_file == 0
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What was found where the file should be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// There is none, and none was given.
    Absent,
    /// A file.
    File(ConfigFile),
    /// There should be one.
    Unreadable(String),
}

impl Content {
    fn read(given: Option<&Path>) -> Self {
        let Some(path) = config::place(given) else {
            return Self::Absent;
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::File(ConfigFile { path, text }),
            Err(error) => Self::Unreadable(format!("{}: {error}", path.display())),
        }
    }
}

/// The last content that was found, and the one that was dealt with.
struct Seen {
    settled: Content,
    last: Content,
}

impl Seen {
    fn new(content: Content) -> Self {
        Self {
            last: content.clone(),
            settled: content,
        }
    }

    /// Whether a content has to be dealt with: it was found twice in a row, and is another one than last time.
    fn is_new(&mut self, content: &Content) -> bool {
        let is_steady = self.last == *content;
        if !is_steady {
            self.last = content.clone();
        }
        is_steady && self.settled != *content
    }

    fn settle(&mut self, content: Content) {
        self.settled = content;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Content {
        Content::File(ConfigFile {
            path: "config.yaml".into(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn a_content_counts_when_it_was_found_twice_and_only_once() {
        let mut seen = Seen::new(file("a"));
        assert!(!seen.is_new(&file("a")), "it is what the process was started with");
        assert!(!seen.is_new(&file("ab")), "it may be half of something");
        assert!(!seen.is_new(&file("abc")));
        assert!(seen.is_new(&file("abc")));
        assert!(seen.is_new(&file("abc")), "as long as nobody dealt with it");
        seen.settle(file("abc"));
        assert!(!seen.is_new(&file("abc")));
        assert!(!seen.is_new(&Content::Unreadable("gone".to_owned())));
        assert!(!seen.is_new(&file("abc")), "it came back before it was missed");
        assert!(!seen.is_new(&file("a")));
        assert!(seen.is_new(&file("a")), "also what held before");
    }

    fn loaded(text: Option<&str>) -> Loaded {
        let file = text.map(|text| ConfigFile {
            path: "config.yaml".into(),
            text: text.to_owned(),
        });
        let level = |name: &str| (name == "LOG_LEVEL").then(|| "debug".to_owned());
        config::load_file(file, level).unwrap()
    }

    #[test]
    fn a_file_that_lost_all_its_keys_is_no_change() {
        let standing = LiveConfig::new(loaded(Some("batch: {max_create: 3}\n")));
        for emptied in [Some(""), Some("{}\n"), Some("# batch:\n"), Some("batch:\n"), None] {
            assert!(is_emptied(&standing.now(), &loaded(emptied)), "{emptied:?}");
        }
        for kept in ["batch: {max_create: 10}\n", "log: {level: info}\n"] {
            assert!(!is_emptied(&standing.now(), &loaded(Some(kept))), "{kept:?}");
        }
        for empty in [Some("{}\n"), None] {
            let standing = LiveConfig::new(loaded(empty));
            assert!(!is_emptied(&standing.now(), &loaded(None)), "there were none");
            assert!(!is_emptied(&standing.now(), &loaded(Some("batch: {max_create: 3}\n"))));
        }
    }

    #[test]
    fn a_swapped_link_is_another_content() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other, link) = (
            directory.path().join("..one"),
            directory.path().join("..other"),
            directory.path().join("config.yaml"),
        );
        std::fs::write(&one, "batch: {}\n").unwrap();
        std::fs::write(&other, "batch: {max_create: 3}\n").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let before = Content::read(Some(&link));
        let swapped = directory.path().join("..swapped");
        std::os::unix::fs::symlink(&other, &swapped).unwrap();
        std::fs::rename(&swapped, &link).unwrap();
        let after = Content::read(Some(&link));
        assert_ne!(before, after);
        std::fs::remove_file(&link).unwrap();
        assert!(matches!(Content::read(Some(&link)), Content::Unreadable(_)));
    }
}
