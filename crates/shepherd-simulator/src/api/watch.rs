//! Watch: a stream of JSON lines that starts at a revision, or with the current state.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;
use futures::StreamExt as _;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};

use super::Call;
use super::reply::{Reply, cut};
use super::route::Target;
use crate::cluster::Cluster;
use crate::object;
use crate::selector::Selector;
use crate::status::ApiError;
use crate::store::{Change, Event, Store};

/// How long a watch lasts that names no `timeoutSeconds`.
const DEFAULT_TIMEOUT_S: u64 = 3_600;
/// The annotation of the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// One open watch.
struct Watcher {
    cluster: Arc<Cluster>,
    target: Target,
    selector: Selector,
    /// Everything up to this revision has been sent.
    position: u64,
    pending: VecDeque<Bytes>,
    finished: bool,
    revisions: Receiver<u64>,
    drops: Receiver<u64>,
    /// Time between bookmarks, for clients that want them.
    bookmarks: Option<Duration>,
    next_bookmark: Instant,
    ends: Instant,
}

enum Wake {
    Changed,
    Bookmark,
    Timeout,
    Cut,
}

/// Opens a watch.
pub(crate) fn open(cluster: &Arc<Cluster>, call: &Call, target: &Target) -> Result<Reply, ApiError> {
    let selector = super::read::selector_of(call)?;
    let version = call.params.number("resourceVersion")?.unwrap_or(0);
    let send_initial = initial_events(call)?;
    let seconds = call
        .params
        .number("timeoutSeconds")?
        .filter(|seconds| *seconds > 0)
        .unwrap_or(DEFAULT_TIMEOUT_S);
    let interval = cluster.bookmark_interval();
    let now = Instant::now();
    let mut watcher = Watcher {
        target: target.clone(),
        selector,
        position: version,
        pending: VecDeque::new(),
        finished: false,
        revisions: cluster.revisions(),
        drops: cluster.watch_drops(),
        bookmarks: call.params.flag("allowWatchBookmarks").then_some(interval),
        next_bookmark: now + interval,
        ends: now + Duration::from_secs(seconds),
        cluster: Arc::clone(cluster),
    };
    match send_initial {
        Some(true) => watcher.begin_with_state(true),
        Some(false) if version == 0 => watcher.position = cluster.read(Store::revision),
        None if version == 0 => watcher.begin_with_state(false),
        Some(false) | None => {}
    }
    let events = stream::unfold(watcher, |mut watcher| async move {
        let item = watcher.next().await?;
        Some((item, watcher))
    });
    Ok(Reply::Stream(events.boxed_local()))
}

fn initial_events(call: &Call) -> Result<Option<bool>, ApiError> {
    let wanted = match call.params.get("sendInitialEvents") {
        None => return Ok(None),
        Some(text) => text == "true",
    };
    if call.params.get("resourceVersionMatch") != Some("NotOlderThan") {
        return Err(ApiError::new(
            422,
            "Invalid",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires \
             setting resourceVersionMatch to NotOlderThan",
        ));
    }
    Ok(Some(wanted))
}

impl Watcher {
    /// Queues the current state as `ADDED`, and the bookmark that ends it when the client asked for one.
    fn begin_with_state(&mut self, marked: bool) {
        let target = &self.target;
        let (revision, objects) = self
            .cluster
            .read(|store| (store.revision(), store.list(target.def, target.namespace())));
        for object in objects.iter().filter(|object| self.selector.matches(object)) {
            self.pending.push_back(line("ADDED", object));
        }
        self.position = revision;
        if marked && self.bookmarks.is_some() {
            let bookmark = self.bookmark(true);
            self.pending.push_back(bookmark);
        }
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(line) = self.pending.pop_front() {
                return Some(Ok(line));
            }
            if self.finished {
                return None;
            }
            self.fetch();
            if !self.pending.is_empty() {
                continue;
            }
            match self.wait().await {
                Wake::Changed => {}
                Wake::Bookmark => {
                    let bookmark = self.bookmark(false);
                    self.pending.push_back(bookmark);
                    if let Some(interval) = self.bookmarks {
                        self.next_bookmark = Instant::now() + interval;
                    }
                }
                Wake::Timeout => self.finished = true,
                Wake::Cut => {
                    self.finished = true;
                    return Some(Err(cut()));
                }
            }
        }
    }

    /// Queues what happened since the last time.
    fn fetch(&mut self) {
        let (events, revision) = self
            .cluster
            .read(|store| (store.events_after(self.target.def, self.position), store.revision()));
        match events {
            Ok(events) => {
                let lines: Vec<Bytes> = events.iter().filter_map(|event| self.translate(event)).collect();
                self.pending.extend(lines);
                // A client may have come with a revision from the future; it waits until that is reached.
                self.position = self.position.max(revision);
            }
            Err(too_old) => {
                let message = format!("too old resource version: {} ({})", self.position, too_old.oldest);
                self.pending
                    .push_back(line("ERROR", &ApiError::expired(message).to_status()));
                self.finished = true;
            }
        }
    }

    /// The event as this watch sees it: an object that starts to match is new, one that stops is gone.
    fn translate(&self, event: &Event) -> Option<Bytes> {
        let namespace = self.target.namespace();
        if !namespace.is_empty() && object::namespace(&event.object) != namespace {
            return None;
        }
        let before = event
            .previous
            .as_ref()
            .is_some_and(|previous| self.selector.matches(previous));
        let now = event.change != Change::Deleted && self.selector.matches(&event.object);
        match (before, now) {
            (false, true) => Some(line("ADDED", &event.object)),
            (true, true) => Some(line("MODIFIED", &event.object)),
            (true, false) if event.change == Change::Deleted => Some(line("DELETED", &event.object)),
            (true, false) => {
                let mut last = Value::clone(event.previous.as_ref()?);
                object::metadata_mut(&mut last)
                    .insert("resourceVersion".to_owned(), Value::from(event.revision.to_string()));
                Some(line("DELETED", &last))
            }
            (false, false) => None,
        }
    }

    fn bookmark(&self, ends_initial_events: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.position.to_string(), "creationTimestamp": null});
        if ends_initial_events {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let def = self.target.def;
        line(
            "BOOKMARK",
            &json!({"kind": def.kind, "apiVersion": def.api_version(), "metadata": metadata}),
        )
    }

    async fn wait(&mut self) -> Wake {
        let wants_bookmarks = self.bookmarks.is_some();
        tokio::select! {
            biased;
            () = self.cluster.shutdown.cancelled() => Wake::Cut,
            _ = self.drops.changed() => Wake::Cut,
            changed = self.revisions.changed() => if changed.is_ok() { Wake::Changed } else { Wake::Cut },
            () = sleep_until(self.ends) => Wake::Timeout,
            () = sleep_until(self.next_bookmark), if wants_bookmarks => Wake::Bookmark,
        }
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    let mut text = json!({"type": kind, "object": object}).to_string();
    text.push('\n');
    Bytes::from(text)
}
