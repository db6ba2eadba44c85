//! One kind of object of one cluster: a list by pages, then a watch from its version on, and so forth for ever.
//!
//! Every request takes the client of the credentials that are valid then, and every wait has an end:
//! - a page or the opening of a watch that takes too long has failed
//! - the server is asked to end each watch after [`WATCH_SECONDS`]; one that is silent for longer than that is dead,
//!   however alive its connection looks. Bookmarks come sooner, but a server need not send any
//!
//! Objects are read into views one by one: of a page of 500 large objects there is never more than one in memory,
//! beside its text.

use std::sync::Arc;
use std::time::Duration;
use std::vec;

use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::Resource;
use kube::api::{ListParams, WatchParams};
use kube::core::{ApiResource, DynamicObject, Request, WatchEvent};
use serde::{Deserialize, Deserializer};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::labels;
use shepherd_ports::providers::ProviderError;
use tokio::time::{Instant, timeout};

use super::backoff::Backoff;
use crate::errors::{is_expired, provider_error};
use crate::registry::Registry;

/// Objects per page of a list.
const PAGE_SIZE: u32 = 500;
/// Longest time for a page, and for the opening of a watch.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long the server lets a watch run. Short, because only its end proves that the connection is alive.
const WATCH_SECONDS: u32 = 100;
/// How long a watch may be silent: until the server had to end it, and a little longer.
const SILENCE_LIMIT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
/// A watch that ends sooner by itself was not worth opening; without a pause it would be opened without end.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);
/// Watches in a row without a word after which everything is listed anew: a connection may open, and never deliver.
const FRUITLESS_WATCHES: u32 = 3;
/// Most pages of a list; a server that always has another one never ends.
const MOST_PAGES: u32 = 400;
/// The longest pause a server can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is kept of an object.
pub(super) trait View: Clone + Send + Sized + 'static {
    /// Reads an object.
    ///
    /// # Errors
    /// Schema when it lacks what every object of its kind has.
    fn read(object: &DynamicObject) -> Result<Self, ProviderError>;
}

/// What a feed says.
#[derive(Debug)]
pub(super) enum Report<V> {
    /// A list begins.
    Begins,
    /// An object of the list.
    InList(V),
    /// The list is complete.
    Complete,
    /// An object was added or changed.
    Changed(V),
    /// An object is gone.
    Gone(V),
    /// The version is too old; a list follows.
    Expired,
    /// The watch goes on after an interruption.
    Resumed,
    /// An attempt failed; another one follows.
    Failed(ProviderError),
}

/// A never ending series of reports.
pub(super) struct Feed<V> {
    source: Source,
    // Whether the breaker of the cluster hears of this feed. One of several is enough.
    speaks: bool,
    backoff: Backoff,
    pause: Option<Duration>,
    interrupted: bool,
    // Watches in a row that said nothing.
    fruitless: u32,
    // Pages of the list that is under way.
    pages: u32,
    step: Step<V>,
}

/// What comes next.
enum Step<V> {
    Begin,
    Page {
        token: Option<String>,
    },
    Deliver {
        items: vec::IntoIter<Seen<V>>,
        metadata: ListMeta,
    },
    Open {
        version: String,
    },
    Follow {
        version: String,
        events: Events<V>,
        since: Instant,
    },
}

type Events<V> = BoxStream<'static, Result<WatchEvent<Seen<V>>, kube::Error>>;

/// Where the objects come from.
struct Source {
    registry: Arc<Registry>,
    cluster: ClusterId,
    path: String,
    selector: String,
}

enum Trouble {
    Expired,
    Failed(ProviderError),
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        if is_expired(&error) {
            Self::Expired
        } else {
            Self::Failed(provider_error(&error))
        }
    }
}

/// An object that was read, or why it could not be.
#[derive(Clone)]
struct Seen<V> {
    version: Option<String>,
    view: Result<V, Unreadable>,
}

#[derive(Clone)]
struct Unreadable {
    namespace: String,
    name: String,
    error: ProviderError,
}

impl<'de, V: View> Deserialize<'de> for Seen<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = DynamicObject::deserialize(deserializer)?;
        let view = V::read(&object).map_err(|error| Unreadable {
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            name: object.metadata.name.clone().unwrap_or_default(),
            error,
        });
        Ok(Self {
            version: object.metadata.resource_version.filter(|version| !version.is_empty()),
            view,
        })
    }
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "V: View"))]
struct Page<V> {
    #[serde(default)]
    metadata: ListMeta,
    items: Option<Vec<Seen<V>>>,
}

impl Source {
    async fn list<V: View>(&self, token: Option<String>) -> Result<Page<V>, Trouble> {
        let params = ListParams {
            label_selector: Some(self.selector.clone()),
            limit: Some(PAGE_SIZE),
            continue_token: token,
            ..ListParams::default()
        };
        let request = Request::new(self.path.as_str()).list(&params);
        let request = request.map_err(kube::Error::BuildRequest)?;
        let connection = self.registry.connection(self.cluster).await.map_err(Trouble::Failed)?;
        let text = connection.client.request_text(request).await?;
        serde_json::from_str(&text).map_err(|error| kube::Error::SerdeError(error).into())
    }

    async fn watch<V: View>(&self, version: &str) -> Result<Events<V>, Trouble> {
        let params = WatchParams {
            label_selector: Some(self.selector.clone()),
            timeout: Some(WATCH_SECONDS),
            ..WatchParams::default()
        };
        let request = Request::new(self.path.as_str()).watch(&params, version);
        let request = request.map_err(kube::Error::BuildRequest)?;
        let connection = self.registry.connection(self.cluster).await.map_err(Trouble::Failed)?;
        let events = connection.client.request_events::<Seen<V>>(request).await?;
        Ok(events.boxed())
    }
}

impl<V: View> Feed<V> {
    /// The platform's objects of a kind.
    pub(super) fn new(registry: Arc<Registry>, cluster: ClusterId, kind: &ApiResource, speaks: bool) -> Self {
        Self {
            source: Source {
                registry,
                cluster,
                path: DynamicObject::url_path(kind, None),
                selector: format!("{}={}", labels::MANAGED_BY, labels::MANAGER),
            },
            speaks,
            backoff: Backoff::default(),
            pause: None,
            interrupted: false,
            fruitless: 0,
            pages: 0,
            step: Step::Begin,
        }
    }

    /// The reports.
    pub(super) fn reports(self) -> BoxStream<'static, Report<V>> {
        stream::unfold(self, |mut feed| async move {
            loop {
                if let Some(report) = feed.go_on().await {
                    return Some((report, feed));
                }
            }
        })
        .boxed()
    }

    async fn go_on(&mut self) -> Option<Report<V>> {
        if let Some(pause) = self.pause.take() {
            tokio::time::sleep(pause).await;
        }
        match std::mem::replace(&mut self.step, Step::Begin) {
            Step::Begin => {
                (self.pages, self.fruitless) = (0, 0);
                self.step = Step::Page { token: None };
                Some(Report::Begins)
            }
            Step::Page { token } => self.page(token).await,
            Step::Deliver { items, metadata } => self.deliver(items, metadata),
            Step::Open { version } => self.open(version).await,
            Step::Follow { version, events, since } => self.follow(version, events, since).await,
        }
    }

    async fn page(&mut self, token: Option<String>) -> Option<Report<V>> {
        match in_time(self.source.list::<V>(token)).await {
            Ok(Page { metadata, items }) => {
                self.answered();
                let items = items.unwrap_or_default().into_iter();
                self.step = Step::Deliver { items, metadata };
                None
            }
            Err(Trouble::Expired) => Some(self.expired()),
            Err(Trouble::Failed(error)) => Some(self.failed(error, Step::Begin)),
        }
    }

    fn deliver(&mut self, mut items: vec::IntoIter<Seen<V>>, metadata: ListMeta) -> Option<Report<V>> {
        if let Some(seen) = items.next() {
            self.step = Step::Deliver { items, metadata };
            return self.readable(seen).map(Report::InList);
        }
        if let Some(token) = metadata.continue_.filter(|token| !token.is_empty()) {
            self.pages = self.pages.saturating_add(1);
            if self.pages >= MOST_PAGES {
                let error = ProviderError::Schema("a list does not end".to_owned());
                return Some(self.failed(error, Step::Begin));
            }
            self.step = Step::Page { token: Some(token) };
            return None;
        }
        let Some(version) = metadata.resource_version.filter(|version| !version.is_empty()) else {
            let error = ProviderError::Schema("a list has no resourceVersion".to_owned());
            return Some(self.failed(error, Step::Begin));
        };
        self.interrupted = false;
        self.step = Step::Open { version };
        Some(Report::Complete)
    }

    async fn open(&mut self, version: String) -> Option<Report<V>> {
        match in_time(self.source.watch::<V>(&version)).await {
            Ok(events) => {
                self.answered();
                self.step = Step::Follow {
                    version,
                    events,
                    since: Instant::now(),
                };
                std::mem::take(&mut self.interrupted).then_some(Report::Resumed)
            }
            Err(Trouble::Expired) => Some(self.expired()),
            Err(Trouble::Failed(error)) => {
                // A version the server does not understand will not be understood the next time.
                let refused = matches!(
                    error,
                    ProviderError::Invalid { .. } | ProviderError::NotFound(_) | ProviderError::Conflict(_)
                );
                let next = if refused { Step::Begin } else { Step::Open { version } };
                Some(self.failed(error, next))
            }
        }
    }

    async fn follow(&mut self, version: String, mut events: Events<V>, since: Instant) -> Option<Report<V>> {
        let event = match timeout(SILENCE_LIMIT, events.next()).await {
            Ok(Some(Ok(WatchEvent::Error(status)))) => Err(Trouble::from(kube::Error::Api(status))),
            Ok(Some(Ok(event))) => Ok(event),
            Ok(Some(Err(error))) => Err(Trouble::from(error)),
            Ok(None) if since.elapsed() >= SHORTEST_WATCH => {
                self.step = self.again(version);
                return None;
            }
            Ok(None) => Err(Trouble::Failed(ProviderError::Unreachable(
                "the watch ended as soon as it began".to_owned(),
            ))),
            Err(_) => Err(Trouble::Failed(ProviderError::Timeout(
                "the watch was silent for too long".to_owned(),
            ))),
        };
        match event {
            Ok(event) => self.happened(event, version, events, since),
            Err(Trouble::Expired) => Some(self.expired()),
            Err(Trouble::Failed(error)) => {
                let next = self.again(version);
                Some(self.failed(error, next))
            }
        }
    }

    fn happened(
        &mut self,
        event: WatchEvent<Seen<V>>,
        version: String,
        events: Events<V>,
        since: Instant,
    ) -> Option<Report<V>> {
        self.backoff.reset();
        self.fruitless = 0;
        let (newer, report) = match event {
            WatchEvent::Added(seen) | WatchEvent::Modified(seen) => {
                (seen.version.clone(), self.readable(seen).map(Report::Changed))
            }
            WatchEvent::Deleted(seen) => (seen.version.clone(), self.readable(seen).map(Report::Gone)),
            WatchEvent::Bookmark(bookmark) => (Some(bookmark.metadata.resource_version), None),
            // Told apart by the caller.
            WatchEvent::Error(_) => (None, None),
        };
        self.step = Step::Follow {
            version: newer.filter(|newer| !newer.is_empty()).unwrap_or(version),
            events,
            since,
        };
        report
    }

    /// Watches from there on, unless watching has led to nothing for too long.
    fn again(&mut self, version: String) -> Step<V> {
        self.fruitless = self.fruitless.saturating_add(1);
        if self.fruitless >= FRUITLESS_WATCHES {
            Step::Begin
        } else {
            Step::Open { version }
        }
    }

    /// An object that cannot be read is left out with a warning.
    fn readable(&self, seen: Seen<V>) -> Option<V> {
        seen.view
            .map_err(|Unreadable { namespace, name, error }| {
                tracing::warn!(cluster = %self.source.cluster, namespace, name, %error, "an object was skipped");
            })
            .ok()
    }

    fn answered(&self) {
        if self.speaks {
            self.source.registry.report_success(self.source.cluster);
        }
    }

    /// Routine, and no failure; but a server that says so again and again is not asked without end.
    fn expired(&mut self) -> Report<V> {
        self.step = Step::Begin;
        self.pause = Some(self.backoff.pause());
        Report::Expired
    }

    fn failed(&mut self, error: ProviderError, next: Step<V>) -> Report<V> {
        if self.speaks && matches!(error, ProviderError::Timeout(_) | ProviderError::Unreachable(_)) {
            self.source.registry.report_failure(self.source.cluster);
        }
        let mut pause = self.backoff.pause();
        if let ProviderError::Throttled {
            retry_after: Some(asked),
        } = &error
        {
            pause = pause.max((*asked).min(LONGEST_PAUSE));
        }
        self.pause = Some(pause);
        self.interrupted = true;
        self.step = next;
        Report::Failed(error)
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let late = ProviderError::Timeout("the cluster did not answer in time".to_owned());
    timeout(ANSWER_LIMIT, work).await.unwrap_or(Err(Trouble::Failed(late)))
}
