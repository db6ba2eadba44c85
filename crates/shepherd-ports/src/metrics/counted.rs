//! What happened in a transaction is counted once that is kept.

use std::fmt;

type Count = Box<dyn FnOnce() + Send + Sync>;

/// What is to be counted when a transaction is kept; nothing of it when it is rolled back.
#[derive(Default)]
pub struct Counted(Vec<Count>);

impl Counted {
    /// Counts something later. The closure does nothing but call functions of [`crate::metrics`].
    pub fn later(&mut self, count: impl FnOnce() + Send + Sync + 'static) {
        self.0.push(Box::new(count));
    }

    /// Counts everything; called by the store after the commit.
    pub fn now(self) {
        for count in self.0 {
            count();
        }
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counted").field(&self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn nothing_is_counted_before_the_transaction_is_kept() {
        let seen = Arc::new(AtomicU32::new(0));
        let counting = || {
            let mut counted = Counted::default();
            for _ in 0..2 {
                let seen = Arc::clone(&seen);
                counted.later(move || {
                    seen.fetch_add(1, Ordering::Relaxed);
                });
            }
            counted
        };
        drop(counting());
        assert_eq!(seen.load(Ordering::Relaxed), 0, "rolled back");
        counting().now();
        assert_eq!(seen.load(Ordering::Relaxed), 2);
    }
}
