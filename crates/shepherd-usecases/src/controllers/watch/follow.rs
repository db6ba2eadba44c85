//! Following one cluster: what it reports is gathered and projected, and how far the watch is gets noted.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use shepherd_domain::cluster::WatchState;
use shepherd_domain::ids::ClusterId;
use shepherd_ports::RepositoryError;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::leases::{HeartbeatKind, Lease};
use shepherd_ports::metrics;
use shepherd_ports::providers::{ProviderError, VmWatchEvent};
use shepherd_ports::vms::{ExpectedVm, Sighting};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::batch::Batch;
use super::hold::Pulse;
use crate::Platform;
use crate::controllers::projection;

/// How long sightings are gathered before they are projected together. It bounds the number of transactions of a
/// cluster, and is little beside the second within which a change has to be in the rows.
const GATHER: Duration = Duration::from_millis(50);
/// Pause before a watch that could not even begin is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Interruptions in a row after which the rows no longer follow the cluster, whatever other calls to it find.
const FAILURES: u32 = 5;
/// Attempts to project a batch while the database is busy.
const ATTEMPTS: u32 = 3;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(500);
/// Missing objects that are looked at at the same time.
const LOOKS: usize = 4;

type Events = BoxStream<'static, Result<VmWatchEvent, ProviderError>>;

/// Why following ended.
pub(super) enum Stop {
    /// The lease was lost, or the cluster is gone.
    Lost,
    /// The store failed.
    Failed(RepositoryError),
}

impl From<RepositoryError> for Stop {
    fn from(error: RepositoryError) -> Self {
        Self::Failed(error)
    }
}

/// Follows one cluster under one lease.
pub(super) struct Follower<'a> {
    platform: &'a Platform,
    projections: &'a Semaphore,
    cluster: &'a ClusterRecord,
    lease: &'a Lease,
    pulse: &'a Pulse,
    batch: Batch,
    // When the batch has been gathered for long enough.
    due: Option<Instant>,
    // Objects of the list that is under way.
    listed: HashSet<String>,
    // The state that is noted.
    noted: WatchState,
    // The state as far as lists are concerned.
    phase: WatchState,
    // Interruptions since the cluster answered last.
    failures: u32,
    // Whether the cluster has answered since the last interruption.
    answered: bool,
    // When the first of these interruptions was: the rows do not follow since then, whenever that is noted.
    cut_off_at: Option<DateTime<Utc>>,
    next_beat: Instant,
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        platform: &'a Platform,
        projections: &'a Semaphore,
        cluster: &'a ClusterRecord,
        lease: &'a Lease,
        pulse: &'a Pulse,
    ) -> Self {
        Self {
            platform,
            projections,
            cluster,
            lease,
            pulse,
            batch: Batch::default(),
            due: None,
            listed: HashSet::new(),
            noted: WatchState::Starting,
            phase: WatchState::Starting,
            failures: 0,
            answered: false,
            cut_off_at: None,
            next_beat: Instant::now(),
        }
    }

    /// Follows until the lease is lost or the store fails.
    pub(super) async fn run(mut self) -> Stop {
        if let Err(stop) = self.begin().await {
            return stop;
        }
        loop {
            let followed = match self.open().await {
                Ok(mut events) => self.read(&mut events).await,
                Err(stop) => Err(stop),
            };
            if let Err(stop) = followed {
                return stop;
            }
        }
    }

    async fn begin(&mut self) -> Result<(), Stop> {
        let mut uow = self.platform.begin().await?;
        let found = uow
            .watches()
            .begin(self.cluster.id, self.platform.now(), self.lease)
            .await?;
        uow.commit().await?;
        self.noted = found.ok_or(Stop::Lost)?;
        if self.noted == WatchState::Rebuilding {
            self.phase = WatchState::Rebuilding;
        }
        self.turn().await
    }

    async fn open(&mut self) -> Result<Events, Stop> {
        loop {
            match self.platform.provider.watch_vms(self.cluster.id).await {
                Ok(events) => return Ok(events),
                Err(error) => self.interrupted(&error).await?,
            }
            tokio::time::sleep(RETRY).await;
            self.turn().await?;
        }
    }

    async fn read(&mut self, events: &mut Events) -> Result<(), Stop> {
        loop {
            let until = self.due.map_or(self.next_beat, |due| due.min(self.next_beat));
            match tokio::time::timeout_at(until, events.next()).await {
                Ok(Some(Ok(event))) => self.take(event).await?,
                Ok(Some(Err(error))) => {
                    self.flush().await?;
                    self.interrupted(&error).await?;
                }
                Ok(None) => return Ok(()),
                Err(_) => {}
            }
            if self.batch.is_full() || self.due.is_some_and(|due| due <= Instant::now()) {
                self.flush().await?;
            }
            self.turn().await?;
        }
    }

    /// Shows that the watch is alive, and notes its state when that has changed by itself (the breaker).
    async fn turn(&mut self) -> Result<(), Stop> {
        self.pulse.touch();
        if Instant::now() < self.next_beat {
            return Ok(());
        }
        let settings = self.platform.settings().controllers.clone();
        let subject = self.cluster.id.to_string();
        let beat = self
            .platform
            .leases
            .beat(HeartbeatKind::Watcher, &settings.instance, &subject);
        if let Err(error) = beat.await {
            tracing::warn!(
                cluster = %self.cluster.name,
                error = &error as &dyn std::error::Error,
                "a watch could not say that it is alive"
            );
        }
        self.next_beat = Instant::now() + settings.lease_ttl / 3;
        self.note().await
    }

    async fn take(&mut self, event: VmWatchEvent) -> Result<(), Stop> {
        // A list that begins has not been answered yet, and an expired version is no progress.
        if !matches!(event, VmWatchEvent::ListBegins | VmWatchEvent::Expired) && !self.answered {
            self.answered = true;
            self.failures = 0;
            self.cut_off_at = None;
            self.note().await?;
        }
        match event {
            VmWatchEvent::Expired => {
                metrics::clusters::watcher_restarted(self.cluster.name.clone(), "expired");
                self.flush().await?;
                self.phase = WatchState::Rebuilding;
                self.note().await?;
            }
            VmWatchEvent::ListBegins => {
                self.flush().await?;
                self.listed.clear();
            }
            VmWatchEvent::InList(vm) => {
                self.listed.insert(vm.uid.clone());
                self.add(Sighting::Listed(Box::new(vm)));
            }
            VmWatchEvent::Listed => {
                self.flush().await?;
                self.compare().await?;
                self.phase = WatchState::Live;
                self.note().await?;
            }
            VmWatchEvent::Changed(vm) => self.add(Sighting::Present(Box::new(vm))),
            VmWatchEvent::Resumed => {}
            VmWatchEvent::Deleted {
                name,
                namespace,
                uid,
                deleting: true,
            } => self.add(Sighting::Gone { namespace, name, uid }),
            // A machine that loses the platform's label leaves the watch in the same way.
            VmWatchEvent::Deleted {
                name,
                namespace,
                uid,
                deleting: false,
            } => {
                let left = ExpectedVm { name, namespace, uid };
                if let Some(sighting) = look(self.platform, self.cluster.id, left).await {
                    self.add(sighting);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, sighting: Sighting) {
        self.due.get_or_insert_with(|| Instant::now() + GATHER);
        self.batch.add(sighting);
    }

    async fn interrupted(&mut self, error: &ProviderError) -> Result<(), Stop> {
        metrics::clusters::watcher_restarted(self.cluster.name.clone(), error.kind());
        self.failures = self.failures.saturating_add(1);
        self.answered = false;
        self.cut_off_at.get_or_insert_with(|| self.platform.now());
        if self.failures == 1 {
            tracing::warn!(cluster = %self.cluster.name, %error, "a watch was interrupted");
        } else {
            tracing::info!(cluster = %self.cluster.name, failures = self.failures, %error, "a watch is still interrupted");
        }
        self.note().await
    }

    /// Writes the state down, if it is another one.
    async fn note(&mut self) -> Result<(), Stop> {
        let state = self.state();
        if state == self.noted {
            return Ok(());
        }
        let since = self.cut_off_at.unwrap_or_else(|| self.platform.now());
        let mut uow = self.platform.begin().await?;
        let noted = uow
            .watches()
            .set_state(self.cluster.id, state, since, self.lease)
            .await?;
        uow.commit().await?;
        if !noted {
            return Err(Stop::Lost);
        }
        tracing::info!(cluster = %self.cluster.name, from = %self.noted, to = %state, "the state of a watch changed");
        self.noted = state;
        Ok(())
    }

    /// DEGRADED begins with repeated failures, of the watch or of other calls, and ends when the cluster has answered
    /// the watch.
    fn state(&self) -> WatchState {
        let cut_off = self.failures >= FAILURES || self.platform.provider.breaker_open(self.cluster.id);
        if cut_off || (self.noted == WatchState::Degraded && !self.answered) {
            WatchState::Degraded
        } else {
            self.phase
        }
    }

    /// Projects what was gathered.
    async fn flush(&mut self) -> Result<(), Stop> {
        self.due = None;
        if self.batch.is_empty() {
            return Ok(());
        }
        let sightings = self.batch.take();
        match self.project(&sightings).await {
            Err(RepositoryError::Other(error)) => {
                tracing::error!(
                    cluster = %self.cluster.name,
                    error = error.as_ref() as &dyn std::error::Error,
                    "a batch cannot be projected; its machines are projected one by one"
                );
                self.project_each(&sightings).await
            }
            outcome => outcome.map_err(Stop::from),
        }
    }

    /// One machine that cannot be projected must not hold back the others.
    async fn project_each(&mut self, sightings: &[Sighting]) -> Result<(), Stop> {
        for sighting in sightings {
            match self.project(std::slice::from_ref(sighting)).await {
                Err(RepositoryError::Other(error)) => tracing::error!(
                    cluster = %self.cluster.name,
                    uid = sighting.uid(),
                    error = error.as_ref() as &dyn std::error::Error,
                    "a machine cannot be projected"
                ),
                outcome => outcome?,
            }
        }
        Ok(())
    }

    async fn project(&self, sightings: &[Sighting]) -> Result<(), RepositoryError> {
        for attempt in 1.. {
            self.pulse.touch();
            let outcome = {
                let _turn = self.projections.acquire().await;
                projection::project(self.platform, self.cluster.id, sightings, self.lease).await
            };
            match outcome {
                Err(error @ (RepositoryError::Busy(_) | RepositoryError::Unavailable(_))) if attempt < ATTEMPTS => {
                    tracing::info!(cluster = %self.cluster.name, attempt, %error, "a projection is tried again");
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome.map(drop),
            }
        }
        Ok(())
    }

    /// Rows whose object the full list did not show.
    async fn compare(&mut self) -> Result<(), Stop> {
        let listed = std::mem::take(&mut self.listed);
        let expected = self.platform.read.expected_on(self.cluster.id).await?;
        let missing: Vec<ExpectedVm> = expected
            .into_iter()
            .filter(|expected| !listed.contains(&expected.uid))
            .collect();
        let (platform, cluster) = (self.platform, self.cluster.id);
        let mut looks = stream::iter(missing)
            .map(|expected| look(platform, cluster, expected))
            .buffer_unordered(LOOKS);
        while let Some(found) = looks.next().await {
            self.turn().await?;
            if let Some(sighting) = found {
                self.add(sighting);
            }
            if self.batch.is_full() {
                self.flush().await?;
            }
        }
        self.flush().await
    }
}

/// An object that the platform's label does not find: it may have been made after the list began, or have lost the
/// label, so it is looked at directly before anything is said of it.
async fn look(platform: &Platform, cluster: ClusterId, expected: ExpectedVm) -> Option<Sighting> {
    let ExpectedVm { name, namespace, uid } = expected;
    match platform.provider.get_vm(cluster, &namespace, &name).await {
        Ok(Some(found)) if found.uid == uid => Some(Sighting::Listed(Box::new(found))),
        Ok(_) => Some(Sighting::Gone { namespace, name, uid }),
        Err(error) => {
            tracing::info!(%cluster, vm = %name, %error, "a missing object could not be looked at");
            None
        }
    }
}
