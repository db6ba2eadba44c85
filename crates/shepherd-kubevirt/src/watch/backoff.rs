//! Pauses between attempts to reach a cluster: longer and longer, never twice the same.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// The upper end of the first pause; the lower end is half of it.
const FIRST: Duration = Duration::from_secs(2);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// After so many failures the longest pause is reached.
const STEPS: u32 = 5;

/// Grows from 1 to 60 s and begins anew after a success. Each pause lies at random in the upper half of its step, so
/// that watches which were cut together do not come back together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    // Its keys are random; nothing else here is.
    spread: RandomState,
}

impl Backoff {
    /// The pause after another failure.
    pub(super) fn pause(&mut self) -> Duration {
        let whole = (FIRST * 2_u32.pow(self.failures.min(STEPS))).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let thousandths = u32::try_from(self.spread.hash_one(self.failures) % 1_001).unwrap_or_default();
        whole / 2 + whole / 2 * thousandths / 1_000
    }

    /// Something went well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_begin_anew() {
        let mut backoff = Backoff::default();
        for whole in [2, 4, 8, 16, 32, 60, 60, 60] {
            let whole = Duration::from_secs(whole);
            let pause = backoff.pause();
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }

    #[test]
    fn watches_that_fail_together_do_not_come_back_together() {
        let pauses: Vec<Duration> = (0..20).map(|_| Backoff::default().pause()).collect();
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
    }
}
