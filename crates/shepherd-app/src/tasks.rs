//! The supervised task pool: every task that outlives a request runs here.
//!
//! A task that panics or ends early is logged and started again after a pause; at shutdown all are told and awaited.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use shepherd_ports::metrics::PoolTask;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::runtime::{Within, Worker};

/// Pause before a task that ended is started again.
const RESTART: Duration = Duration::from_secs(1);

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
            while !shutdown.is_cancelled() {
                counted.restarted();
                if AssertUnwindSafe(task(shutdown.clone())).catch_unwind().await.is_err() {
                    counted.panicked();
                    tracing::error!(task = name, "the task panicked and is started again");
                } else if !shutdown.is_cancelled() {
                    tracing::warn!(task = name, "the task ended and is started again");
                }
                counted.rests();
                tokio::select! {
                    () = tokio::time::sleep(RESTART) => {}
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

    /// Tells all tasks to end and waits for them, this long at most; `false` when some did not end.
    pub async fn stop(&self, within: Duration) -> bool {
        self.shutdown.cancel();
        self.tracker.close();
        tokio::time::timeout(within, self.tracker.wait()).await.is_ok()
    }
}
