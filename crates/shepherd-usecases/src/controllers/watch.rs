//! One watch per enabled cluster, held by a lease of its own.
//!
//! - this module keeps the set of watches: clusters come and go, and get other credentials, without a restart
//! - `hold` takes the lease of a cluster and keeps it
//! - `follow` turns what the cluster reports into rows, as long as the lease is held
//! - `batch` gathers what is projected together

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::future;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use shepherd_domain::ids::ClusterId;
use shepherd_ports::changes::Change;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::metrics;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::Platform;

mod batch;
mod follow;
mod hold;

/// Projections at the same time. Each holds a connection of the pool, and the leases of all watches need some too.
const PROJECTIONS: usize = 8;
/// Pause before changes that could not be listened to are listened to again.
const LISTEN_AGAIN: Duration = Duration::from_secs(30);

/// Longest wait for the connection that changes are heard over.
const LISTEN_LIMIT: Duration = Duration::from_secs(5);

/// What a watch is to do: go on with the credentials that were set at this moment, or end.
type Wanted = Option<DateTime<Utc>>;

/// Name of the lease of a cluster.
pub fn lease_name(cluster: ClusterId) -> String {
    format!("watch:{cluster}")
}

/// Watches every enabled cluster whose lease can be had, until dropped. Each is watched by a future of its own, and
/// none of them waits for this module or for another cluster: one that hangs or panics delays no other.
pub async fn run(platform: &Platform) {
    let (orders, ordered) = mpsc::unbounded_channel();
    tokio::join!(look(platform, &orders), watch_all(platform, ordered));
}

/// Looks at every tick, and whenever a cluster was changed, which clusters are to be watched.
async fn look(platform: &Platform, orders: &mpsc::UnboundedSender<Vec<ClusterRecord>>) {
    let mut tick = tokio::time::interval(platform.settings().controllers.tick);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut changes = Changes::default();
    loop {
        changes.listen(platform).await;
        tokio::select! {
            _ = tick.tick() => {}
            () = changes.of_clusters() => {}
        }
        match platform.read.enabled_clusters().await {
            Ok(clusters) => {
                if orders.send(clusters).is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the clusters to watch could not be read"
            ),
        }
    }
}

/// What is heard of changes; without it every tick is soon enough.
#[derive(Default)]
struct Changes {
    feed: Option<BoxStream<'static, Change>>,
    tried: Option<Instant>,
}

impl Changes {
    async fn listen(&mut self, platform: &Platform) {
        if self.feed.is_some() || self.tried.is_some_and(|tried| tried.elapsed() < LISTEN_AGAIN) {
            return;
        }
        self.tried = Some(Instant::now());
        match tokio::time::timeout(LISTEN_LIMIT, platform.changes.changes()).await {
            Ok(Ok(feed)) => self.feed = Some(feed),
            Ok(Err(error)) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "changes of clusters are noticed at the next tick only"
            ),
            Err(_) => tracing::warn!("changes of clusters cannot be listened to in time"),
        }
    }

    /// Returns when a cluster may have changed.
    async fn of_clusters(&mut self) {
        while let Some(feed) = &mut self.feed {
            match feed.next().await {
                Some(Change::Cluster(_) | Change::Everything) => return,
                Some(Change::Keys) => {}
                None => self.feed = None,
            }
        }
        future::pending().await
    }
}

/// Starts watches, tells them what is wanted of them, and sees them end. Waits for nothing else, so that every watch
/// can go on at any time.
async fn watch_all(platform: &Platform, mut ordered: mpsc::UnboundedReceiver<Vec<ClusterRecord>>) {
    let projections = Semaphore::new(PROJECTIONS);
    let mut watches: HashMap<ClusterId, watch::Sender<Wanted>> = HashMap::new();
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            clusters = ordered.recv() => {
                let Some(clusters) = clusters else { return };
                for (cluster, wanted) in begun(&mut watches, clusters) {
                    let id = cluster.id;
                    let held = hold::hold(platform, &projections, cluster, wanted);
                    running.push(AssertUnwindSafe(held).catch_unwind().map(move |end| (id, end)));
                }
            }
            Some((cluster, end)) = running.next() => {
                watches.remove(&cluster);
                match end {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%cluster, error = &error as &dyn std::error::Error, "a watch ended"),
                    Err(_) => {
                        metrics::clusters::watcher_restarted(metrics::clusters::name(cluster), "panicked");
                        tracing::error!(%cluster, "a watch panicked");
                    }
                }
            }
        }
    }
}

/// Tells the watches there are what is wanted of them now, and answers the clusters that have none yet.
fn begun(
    watches: &mut HashMap<ClusterId, watch::Sender<Wanted>>,
    clusters: Vec<ClusterRecord>,
) -> Vec<(ClusterRecord, watch::Receiver<Wanted>)> {
    let enabled: HashSet<ClusterId> = clusters.iter().map(|cluster| cluster.id).collect();
    for (_, watch) in watches.iter().filter(|(cluster, _)| !enabled.contains(cluster)) {
        tell(watch, None);
    }
    let mut new = Vec::new();
    for cluster in clusters {
        let wanted = Some(cluster.credentials_set_at);
        if let Some(watch) = watches.get(&cluster.id) {
            tell(watch, wanted);
            continue;
        }
        let (sender, receiver) = watch::channel(wanted);
        watches.insert(cluster.id, sender);
        new.push((cluster, receiver));
    }
    new
}

fn tell(watch: &watch::Sender<Wanted>, wanted: Wanted) {
    watch.send_if_modified(|known| {
        let news = *known != wanted;
        *known = wanted;
        news
    });
}
