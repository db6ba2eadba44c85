//! The supervised task pool: every task that outlives a request runs here.
//!
//! A task that panics or ends early is logged and started again after a pause; at shutdown all are told and awaited.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use futures::FutureExt;
use shepherd_ports::metrics::PoolTask;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::runtime::{Within, Worker};

/// Pause before a task that ended is started again, doubled up to [`LONGEST_RESTART`] while it keeps ending.
const RESTART: Duration = Duration::from_secs(1);
const LONGEST_RESTART: Duration = Duration::from_secs(30);
/// A task that ran for so long was well: what ends it then is a new fault.
const WELL: Duration = Duration::from_secs(60);

/// Tasks with names, a common end, and no way to die unseen.
#[derive(Clone)]
pub struct TaskPool {
    runtime: Handle,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl TaskPool {
    /// A pool whose tasks, and what they open, belong to the given runtime: the one that ends with the process.
    pub fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        }
    }

    /// The runtime of the process.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs a task again and again until shutdown; the token says when that is.
    pub fn supervise<F, Fut>(&self, name: &'static str, task: F)
    where
        F: Fn(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        let supervised = async move {
            let mut counted = PoolTask::begin(name);
            let mut pause = RESTART;
            while !shutdown.is_cancelled() {
                counted.restarted();
                let started = Instant::now();
                // What makes the future can panic as well as the future itself.
                let begun = catch_unwind(AssertUnwindSafe(|| task(shutdown.clone())));
                let panicked = match begun {
                    Ok(running) => AssertUnwindSafe(running).catch_unwind().await.is_err(),
                    Err(_) => true,
                };
                let before = pause_after(started.elapsed(), pause);
                if panicked {
                    counted.panicked();
                    tracing::error!(task = name, pause = ?before, "the task panicked and is started again");
                } else if !shutdown.is_cancelled() {
                    tracing::warn!(task = name, pause = ?before, "the task ended and is started again");
                }
                counted.rests();
                pause = (before * 2).min(LONGEST_RESTART);
                tokio::select! {
                    () = tokio::time::sleep(before) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        };
        self.tracker.spawn_on(supervised, &self.runtime);
    }

    /// Runs a loop that ends by being dropped at shutdown.
    pub fn supervise_loop<F, Fut>(&self, name: &'static str, task: F)
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.supervise(name, move |shutdown| {
            let running = task();
            async move {
                tokio::select! {
                    () = running => {}
                    () = shutdown.cancelled() => {}
                }
            }
        });
    }

    /// Runs one piece of work on a worker of the HTTP server, which has to be the caller's; the token says when it has
    /// to end before its time.
    pub fn run_on<F, Fut>(&self, worker: &Worker, name: &'static str, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()> + 'static,
    {
        let running = Within::new(self.runtime.clone(), task(self.shutdown.clone()));
        let watched = async move {
            let counted = PoolTask::begin(name);
            if AssertUnwindSafe(running).catch_unwind().await.is_err() {
                counted.panicked();
                tracing::error!(task = name, "the task panicked");
            }
        };
        worker.spawn(self.tracker.track_future(watched));
    }

    /// Whether the tasks were told to end.
    pub fn is_stopping(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// Tells all tasks to end and waits for them, this long at most; `false` when some did not end.
    pub async fn stop(&self, within: Duration) -> bool {
        self.shutdown.cancel();
        self.tracker.close();
        tokio::time::timeout(within, self.tracker.wait()).await.is_ok()
    }
}

/// The pause before a task that ran for so long is started again, when `next` would be its turn.
fn pause_after(ran: Duration, next: Duration) -> Duration {
    if ran >= WELL { RESTART } else { next }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    /// Longer than any pause of these tests, so that only a pool that lost a task gets there.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn pool() -> TaskPool {
        TaskPool::new(Handle::current())
    }

    #[test]
    fn pauses_grow_and_are_short_again_after_a_while_that_went_well() {
        assert_eq!(pause_after(Duration::ZERO, LONGEST_RESTART), LONGEST_RESTART);
        assert_eq!(pause_after(WELL, LONGEST_RESTART), RESTART);
    }

    #[tokio::test]
    async fn a_task_that_panics_is_started_again_and_harms_no_other() {
        let pool = pool();
        let (runs, again) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (counted, told) = (Arc::clone(&runs), Arc::clone(&again));
        pool.supervise_loop("fragile", move || {
            let (run, told) = (counted.fetch_add(1, Ordering::SeqCst), Arc::clone(&told));
            // The first run panics before there is a future, the second one within it.
            assert!(run != 0, "broken");
            async move {
                assert!(run != 1, "broken later");
                told.notify_one();
                std::future::pending().await
            }
        });
        let (beats, beating) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
        let (beat, starts) = (Arc::clone(&beats), Arc::clone(&beating));
        pool.supervise_loop("steady", move || {
            starts.fetch_add(1, Ordering::SeqCst);
            let beat = Arc::clone(&beat);
            async move {
                beat.notify_one();
                std::future::pending().await
            }
        });
        tokio::time::timeout(PATIENCE, beats.notified())
            .await
            .expect("the other runs");
        tokio::time::timeout(PATIENCE, again.notified())
            .await
            .expect("it is started again");
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert_eq!(beating.load(Ordering::SeqCst), 1, "nobody else was started again");
        assert!(pool.stop(PATIENCE).await);
    }

    #[tokio::test]
    async fn a_stop_waits_for_what_ends_in_time_and_for_nothing_else() {
        let patient = pool();
        let (done, began) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (noted, begins) = (Arc::clone(&done), Arc::clone(&began));
        patient.supervise("tidy", move |shutdown| {
            let (noted, begins) = (Arc::clone(&noted), Arc::clone(&begins));
            async move {
                begins.notify_one();
                shutdown.cancelled().await;
                tokio::task::yield_now().await;
                noted.store(1, Ordering::SeqCst);
            }
        });
        began.notified().await;
        assert!(!patient.is_stopping());
        assert!(patient.stop(PATIENCE).await);
        assert!(patient.is_stopping());
        assert_eq!(
            done.load(Ordering::SeqCst),
            1,
            "what it had to do at the end was awaited"
        );

        let hasty = pool();
        let began = Arc::new(Notify::new());
        let begins = Arc::clone(&began);
        hasty.supervise("deaf", move |_| {
            begins.notify_one();
            std::future::pending()
        });
        began.notified().await;
        assert!(
            !hasty.stop(Duration::from_millis(10)).await,
            "a deaf task is not awaited"
        );
    }
}
