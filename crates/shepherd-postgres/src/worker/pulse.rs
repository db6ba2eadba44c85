//! Whether the worker works: a loop beside it that says so would say it of a worker that has long been stuck, too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What shows that a worker works: its looks at the queue, and jobs that begin and end. Clones are of one worker.
#[derive(Clone, Debug)]
pub struct WorkerPulse(Arc<Mutex<Signs>>);

#[derive(Debug)]
struct Signs {
    looked: Instant,
    in_hand: usize,
    /// When a job began or ended last.
    moved: Instant,
}

/// How long a worker may show nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// Between two looks, while it has places for further jobs.
    pub idle: Duration,
    /// Between the beginnings and ends of jobs, while all its places are taken: then it does not look.
    pub busy: Duration,
    /// Its places.
    pub places: usize,
}

impl WorkerPulse {
    /// Whether the worker has not been silent for longer than it may. A new worker counts as if it had just looked.
    pub fn is_felt(&self, silence: Silence) -> bool {
        let signs = self.signs();
        let is_busy = signs.in_hand >= silence.places && signs.moved.elapsed() < silence.busy;
        is_busy || signs.looked.elapsed() < silence.idle
    }

    /// The worker has looked.
    pub(super) fn looked(&self) {
        self.signs().looked = Instant::now();
    }

    /// A job is in hand until what is returned is dropped.
    pub(crate) fn take(&self) -> InHand {
        let mut signs = self.signs();
        signs.in_hand += 1;
        signs.moved = Instant::now();
        InHand(self.clone())
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for WorkerPulse {
    fn default() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Signs {
            looked: now,
            in_hand: 0,
            moved: now,
        })))
    }
}

/// A job in hand.
pub(crate) struct InHand(WorkerPulse);

impl Drop for InHand {
    fn drop(&mut self) {
        let mut signs = self.0.signs();
        signs.in_hand = signs.in_hand.saturating_sub(1);
        let now = Instant::now();
        signs.moved = now;
        // There is a place again, and the next look needs a moment.
        signs.looked = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(3600);

    fn silence(idle: Duration, busy: Duration) -> Silence {
        Silence { idle, busy, places: 2 }
    }

    #[test]
    fn who_has_a_place_left_looks_and_who_has_none_is_done_some_time() {
        let pulse = WorkerPulse::default();
        assert!(pulse.is_felt(silence(LONG, NEVER)));
        assert!(!pulse.is_felt(silence(NEVER, LONG)), "it has nothing to do");
        let one = pulse.take();
        assert!(!pulse.is_felt(silence(NEVER, LONG)), "there is a place left");
        let _other = pulse.take();
        assert!(pulse.is_felt(silence(NEVER, LONG)));
        assert!(!pulse.is_felt(silence(NEVER, NEVER)), "no job ends any more");
        drop(one);
        assert!(!pulse.is_felt(silence(NEVER, LONG)));
    }
}
