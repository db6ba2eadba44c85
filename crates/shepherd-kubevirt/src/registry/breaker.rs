//! When a cluster is left alone: a state machine that is told the time.
//!
//! So many failures in a row open it. While it is open no call is made. Afterwards one call is let through to find
//! out; what becomes of it closes the breaker or opens it again. An outcome counts only in the state its call was let
//! through in, so twenty calls that hung together open the breaker once, and none of them keeps it open.

use std::time::Duration;

use tokio::time::Instant;

/// The breaker of one cluster.
#[derive(Debug)]
pub(super) struct Breaker {
    failures_to_open: u32,
    open_for: Duration,
    state: State,
    // Counts changes of state.
    epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

/// A call that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    epoch: u64,
}

impl Breaker {
    /// A closed breaker that opens after this many failures in a row, for this long.
    pub(super) fn new(failures_to_open: u32, open_for: Duration) -> Self {
        Self {
            failures_to_open: failures_to_open.max(1),
            open_for,
            state: State::Closed { failures: 0 },
            epoch: 0,
        }
    }

    /// Whether no call is let through now.
    pub(super) fn refuses(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { until } => now < until,
            State::HalfOpen => true,
        }
    }

    /// Lets a call through, if any is. It has to be settled by [`Self::answered`], [`Self::failed`] or
    /// [`Self::abandoned`].
    pub(super) fn pass(&mut self, now: Instant) -> Option<Pass> {
        if self.refuses(now) {
            return None;
        }
        if matches!(self.state, State::Open { .. }) {
            self.enter(State::HalfOpen);
        }
        Some(Pass { epoch: self.epoch })
    }

    /// The cluster answered the call. Says whether this closed the breaker.
    pub(super) fn answered(&mut self, pass: Pass) -> bool {
        pass.epoch == self.epoch && self.close()
    }

    /// The call failed. Says whether this opened the breaker.
    pub(super) fn failed(&mut self, pass: Pass, now: Instant) -> bool {
        pass.epoch == self.epoch && self.count(now)
    }

    /// The call ended without a word about the cluster; the next one may find out.
    pub(super) fn abandoned(&mut self, pass: Pass, now: Instant) {
        if pass.epoch == self.epoch && self.state == State::HalfOpen {
            self.enter(State::Open { until: now });
        }
    }

    /// Somebody who needs no pass was answered. Says whether this closed the breaker.
    pub(super) fn close(&mut self) -> bool {
        let closes = !matches!(self.state, State::Closed { .. });
        if closes {
            self.enter(State::Closed { failures: 0 });
        } else {
            self.state = State::Closed { failures: 0 };
        }
        closes
    }

    /// Somebody who needs no pass failed. Says whether this opened the breaker. Whether an open one stays open is for
    /// the call to find out that was let through.
    pub(super) fn report_failure(&mut self, now: Instant) -> bool {
        matches!(self.state, State::Closed { .. }) && self.count(now)
    }

    fn count(&mut self, now: Instant) -> bool {
        let failures = match self.state {
            State::Closed { failures } => failures.saturating_add(1),
            State::HalfOpen => self.failures_to_open,
            State::Open { .. } => return false,
        };
        let opens = failures >= self.failures_to_open;
        if opens {
            let until = now + self.open_for;
            self.enter(State::Open { until });
        } else {
            self.state = State::Closed { failures };
        }
        opens
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_millis(1);

    /// A breaker that has just opened.
    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(5, OPEN_FOR);
        for failure in 1..=5 {
            let pass = breaker.pass(now).unwrap();
            assert_eq!(breaker.failed(pass, now), failure == 5, "failure {failure}");
        }
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(breaker.refuses(now) && breaker.pass(now).is_none());
        assert!(breaker.pass(now + OPEN_FOR - MOMENT).is_none());
    }

    #[test]
    fn an_answer_in_between_starts_the_count_anew() {
        let now = Instant::now();
        let mut breaker = Breaker::new(5, OPEN_FOR);
        for _ in 0..3 {
            for _ in 0..4 {
                let pass = breaker.pass(now).unwrap();
                assert!(!breaker.failed(pass, now));
            }
            let pass = breaker.pass(now).unwrap();
            assert!(!breaker.answered(pass), "it was closed before");
        }
        assert!(!breaker.refuses(now));
    }

    #[test]
    fn one_call_finds_out_and_its_answer_closes_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + OPEN_FOR;
        assert!(!breaker.refuses(later));
        let pass = breaker.pass(later).unwrap();
        assert!(breaker.pass(later).is_none(), "one is enough");
        assert!(breaker.refuses(later + OPEN_FOR), "as long as it takes");
        assert!(breaker.answered(pass));
        assert!(!breaker.refuses(later));
        let next = breaker.pass(later).unwrap();
        assert!(!breaker.failed(next, later), "the count begins at nothing");
    }

    #[test]
    fn its_failure_opens_it_again() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + OPEN_FOR;
        let pass = breaker.pass(later).unwrap();
        assert!(breaker.failed(pass, later));
        assert!(breaker.refuses(later + OPEN_FOR - MOMENT));
        assert!(!breaker.refuses(later + OPEN_FOR));
    }

    #[test]
    fn a_call_that_was_given_up_leaves_the_question_to_the_next() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + OPEN_FOR;
        let pass = breaker.pass(later).unwrap();
        breaker.abandoned(pass, later);
        let next = breaker.pass(later).unwrap();
        assert!(breaker.answered(next));
        // A call that is given up while the breaker is closed counts neither way.
        let pass = breaker.pass(later).unwrap();
        breaker.abandoned(pass, later);
        assert!(!breaker.refuses(later));
    }

    #[test]
    fn outcomes_from_before_do_not_count() {
        let now = Instant::now();
        let mut breaker = Breaker::new(5, OPEN_FOR);
        let passes: Vec<Pass> = (0..8).filter_map(|_| breaker.pass(now)).collect();
        let much_later = now + OPEN_FOR - MOMENT;
        for (index, pass) in passes.iter().enumerate() {
            let at = if index < 5 { now } else { much_later };
            assert_eq!(breaker.failed(*pass, at), index == 4);
        }
        assert!(!breaker.refuses(now + OPEN_FOR), "late failures do not prolong it");
        assert!(!breaker.answered(passes[0]), "nor do late answers close it");
        assert!(breaker.refuses(much_later));
        let pass = breaker.pass(now + OPEN_FOR).unwrap();
        assert!(!breaker.failed(passes[7], now + OPEN_FOR));
        assert!(breaker.answered(pass));
    }

    #[test]
    fn health_and_watch_need_no_pass() {
        let now = Instant::now();
        let mut breaker = Breaker::new(2, OPEN_FOR);
        assert!(!breaker.report_failure(now));
        assert!(breaker.report_failure(now));
        assert!(!breaker.report_failure(now + MOMENT), "it is open already");
        assert!(!breaker.refuses(now + OPEN_FOR));
        assert!(breaker.close());
        assert!(!breaker.refuses(now));
        assert!(!breaker.close(), "it was closed before");
    }

    #[test]
    fn a_report_does_not_answer_for_the_call_that_finds_out() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + OPEN_FOR;
        let pass = breaker.pass(later).unwrap();
        assert!(!breaker.report_failure(later));
        assert!(breaker.answered(pass));
    }
}
