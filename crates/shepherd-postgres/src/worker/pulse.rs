//! Whether the worker works: a loop beside it that says so would say it of a worker that has long been stuck, too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What shows that a worker works: its looks at the queue, and the jobs it has in hand. Clones are of one worker.
#[derive(Clone, Debug)]
pub struct WorkerPulse(Arc<Signs>);

#[derive(Debug)]
struct Signs {
    looked: Mutex<Instant>,
    in_hand: AtomicUsize,
}

impl WorkerPulse {
    /// Whether the worker has looked for jobs within this time, or has jobs in hand: while all its places are taken it
    /// does not look, and a job ends by its own limits. A new worker counts as if it had just looked.
    pub fn is_felt(&self, within: Duration) -> bool {
        let looked = *self.0.looked.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.in_hand.load(Ordering::Relaxed) > 0 || looked.elapsed() <= within
    }

    /// The worker has looked.
    pub(super) fn looked(&self) {
        *self.0.looked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// A job is in hand until what is returned is dropped.
    pub(crate) fn take(&self) -> InHand {
        self.0.in_hand.fetch_add(1, Ordering::Relaxed);
        InHand(self.clone())
    }
}

impl Default for WorkerPulse {
    fn default() -> Self {
        Self(Arc::new(Signs {
            looked: Mutex::new(Instant::now()),
            in_hand: AtomicUsize::new(0),
        }))
    }
}

/// A job in hand.
pub(crate) struct InHand(WorkerPulse);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.0.in_hand.fetch_sub(1, Ordering::Relaxed);
    }
}
