//! How long each phase of each object has lasted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Clocks that start when a phase is first asked about and stop when it no longer is.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    now: Option<Instant>,
    started: HashMap<String, Clock>,
    look: u64,
    next: Option<Instant>,
}

#[derive(Debug)]
struct Clock {
    since: Instant,
    look: u64,
}

impl Timers {
    /// Begins a look at `now`.
    pub fn begin(&mut self, now: Instant) {
        self.now = Some(now);
        self.look += 1;
        self.next = None;
    }

    /// Whether the phase named `key` has lasted for `wait`.
    pub fn passed(&mut self, key: String, wait: Duration) -> bool {
        let Some(now) = self.now else { return false };
        let clock = self.started.entry(key).or_insert(Clock {
            since: now,
            look: self.look,
        });
        clock.look = self.look;
        let due = clock.since + wait;
        if due <= now {
            return true;
        }
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
        false
    }

    /// Ends a look: clocks nobody asked about are dropped. Returns when the next phase is over.
    pub fn end(&mut self) -> Option<Instant> {
        let look = self.look;
        self.started.retain(|_, clock| clock.look == look);
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_left_starts_anew() {
        let start = Instant::now();
        let wait = Duration::from_secs(1);
        let mut timers = Timers::default();
        timers.begin(start);
        assert!(!timers.passed("a".to_owned(), wait));
        assert_eq!(timers.end(), Some(start + wait));

        timers.begin(start + wait);
        assert!(timers.passed("a".to_owned(), wait));
        timers.end();

        timers.begin(start + wait);
        assert_eq!(timers.end(), None);
        timers.begin(start + wait * 2);
        assert!(!timers.passed("a".to_owned(), wait), "the clock was dropped in between");
    }
}
