//! Chance that can be had again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

/// A source of numbers that follow from one.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        // Neighbouring seeds shall not begin alike, and the generator stands still at zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or_default()
    }

    /// One of several things; there is at least one.
    pub(super) fn one_of<T: Copy, const N: usize>(&mut self, things: [T; N]) -> T {
        things[self.below(N)]
    }

    /// A while between two limits in milliseconds.
    pub(super) fn between(&mut self, least: usize, most: usize) -> Duration {
        let milliseconds = least + self.below(most.saturating_sub(least) + 1);
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
    }

    /// Marsaglia's xorshift.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A seed that nobody chose; short enough to be typed again.
pub(super) fn chance() -> u64 {
    RandomState::new().hash_one("chaos") >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same_numbers() {
        let numbers = |seed| {
            let mut dice = Dice::new(seed);
            [0; 20].map(|_| dice.below(1_000))
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        assert_ne!(numbers(0), [0; 20]);
    }
}
