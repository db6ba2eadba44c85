//! Watching machines: two watches, of machines and of their instances, merged into one stream of observations.
//!
//! The stream never ends. Errors of the machine watch are reported, errors of the instance watch are logged; the
//! watcher backs off and goes on after both. An expired version (410) is routine and not reported: a list follows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::labels;
use shepherd_ports::providers::{ProviderError, VmWatchEvent};

use crate::errors::{is_expired, watch_error};
use crate::machines::{instance_kind, machine_kind};
use crate::registry::{Connection, Registry};

mod merge;

use merge::Merger;

/// Objects per page of a list.
const PAGE_SIZE: u32 = 500;
/// Pause before both watches are set up anew.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

type Report = Result<watcher::Event<DynamicObject>, watcher::Error>;

enum Signal {
    Machine(Report),
    Instance(Report),
}

struct Watch {
    registry: Arc<Registry>,
    cluster: ClusterId,
    version: String,
    source: BoxStream<'static, Signal>,
    merger: Merger,
    ready: VecDeque<VmWatchEvent>,
}

/// The machines of a cluster, from now on.
pub(crate) fn machines(
    registry: Arc<Registry>,
    cluster: ClusterId,
    connection: Connection,
) -> BoxStream<'static, Result<VmWatchEvent, ProviderError>> {
    let watch = Watch {
        registry,
        cluster,
        source: source(&connection.client),
        version: connection.version,
        merger: Merger::new(cluster),
        ready: VecDeque::new(),
    };
    stream::unfold(watch, |mut watch| async move {
        let next = watch.next().await;
        Some((next, watch))
    })
    .boxed()
}

impl Watch {
    async fn next(&mut self) -> Result<VmWatchEvent, ProviderError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.source.next().await {
                Some(Signal::Machine(Ok(event))) => self.ready.extend(self.merger.machine(event)),
                Some(Signal::Instance(Ok(event))) => self.ready.extend(self.merger.instance(event)),
                Some(Signal::Machine(Err(error))) => {
                    self.recover(&error).await;
                    if !is_expired(&error) {
                        return Err(watch_error(&error));
                    }
                }
                Some(Signal::Instance(Err(error))) => {
                    self.recover(&error).await;
                    if !is_expired(&error) {
                        tracing::warn!(cluster = %self.cluster, error = %watch_error(&error), "the watch of instances failed");
                    }
                }
                None => self.restart().await,
            }
        }
    }

    /// Starts over when the watcher cannot: with credentials that were replaced, or at a version that is gone (the
    /// watcher would ask for the same version again and again).
    async fn recover(&mut self, error: &watcher::Error) {
        let stuck = matches!(error, watcher::Error::WatchStartFailed(_)) && is_expired(error);
        if stuck {
            return self.restart().await;
        }
        if let Ok(connection) = self.registry.connection(self.cluster).await
            && connection.version != self.version
        {
            self.follow(connection);
        }
    }

    async fn restart(&mut self) {
        tokio::time::sleep(RESTART_PAUSE).await;
        match self.registry.connection(self.cluster).await {
            Ok(connection) => self.follow(connection),
            Err(error) => {
                tracing::debug!(cluster = %self.cluster, %error, "the watch goes on with the credentials it has")
            }
        }
    }

    fn follow(&mut self, connection: Connection) {
        self.source = source(&connection.client);
        self.version = connection.version;
    }
}

fn source(client: &Client) -> BoxStream<'static, Signal> {
    let machines = reports(client, &machine_kind()).map(Signal::Machine);
    let instances = reports(client, &instance_kind()).map(Signal::Instance);
    stream::select(machines, instances).boxed()
}

fn reports(client: &Client, kind: &ApiResource) -> BoxStream<'static, Report> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), kind);
    let selector = format!("{}={}", labels::MANAGED_BY, labels::MANAGER);
    let config = watcher::Config::default().labels(&selector).page_size(PAGE_SIZE);
    watcher(api, config).default_backoff().boxed()
}
