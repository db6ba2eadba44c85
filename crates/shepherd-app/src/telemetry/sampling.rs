//! Which traces are exported.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

/// Decides once per trace, where it begins here; what follows from that goes with it, also on another day.
///
/// What a client says of its own trace is no decision: whoever could have every request exported could drown the
/// receiver, and whoever could have none could hide. For the same reason its trace id decides nothing either, as it
/// would where a share of all ids is taken.
#[derive(Clone, Debug)]
pub(super) struct Share {
    ratio: f64,
    seed: Arc<(RandomState, AtomicU64)>,
}

impl Share {
    /// This share of all traces, 0 to 1.
    pub(super) fn of(ratio: f64) -> Self {
        Self {
            ratio,
            seed: Arc::default(),
        }
    }

    /// Whether the next trace is in the share.
    fn takes_next(&self) -> bool {
        let (keys, count) = &*self.seed;
        let drawn = keys.hash_one(count.fetch_add(1, Ordering::Relaxed));
        // 32 bits fit into a float without a loss; the result is below 1, so that all of them is all of them.
        let drawn = u32::try_from(drawn >> 32).unwrap_or(u32::MAX);
        f64::from(drawn) / (f64::from(u32::MAX) + 1.0) < self.ratio
    }
}

impl ShouldSample for Share {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let decided = parent.and_then(|parent| {
            let span = parent.span();
            let above = span.span_context();
            // Remote are those of clients only; see `context`.
            (above.is_valid() && !above.is_remote()).then(|| above.is_sampled())
        });
        let decision = if decided.unwrap_or_else(|| self.takes_next()) {
            SamplingDecision::RecordAndSample
        } else {
            SamplingDecision::Drop
        };
        SamplingResult {
            decision,
            attributes: Vec::new(),
            trace_state: TraceState::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};

    use super::*;

    fn taken(share: &Share, parent: Option<(TraceFlags, bool)>) -> bool {
        let parent = parent.map(|(flags, remote)| {
            let (trace, span) = (TraceId::from_bytes([1; 16]), SpanId::from_bytes([2; 8]));
            let above = SpanContext::new(trace, span, flags, remote, TraceState::NONE);
            Context::new().with_remote_span_context(above)
        });
        let trace = TraceId::from_bytes([1; 16]);
        let result = share.should_sample(parent.as_ref(), trace, "", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn clients_decide_nothing_and_what_was_decided_holds() {
        for (all, expected) in [(1.0, true), (0.0, false)] {
            let share = Share::of(all);
            assert_eq!(taken(&share, None), expected);
            for flags in [TraceFlags::SAMPLED, TraceFlags::NOT_SAMPLED] {
                assert_eq!(taken(&share, Some((flags, true))), expected);
                assert_eq!(taken(&share, Some((flags, false))), flags.is_sampled());
            }
        }
    }

    #[test]
    fn one_trace_id_is_not_always_in_the_share() {
        let share = Share::of(0.5);
        let taken = (0..1000)
            .filter(|_| taken(&share, Some((TraceFlags::SAMPLED, true))))
            .count();
        assert!((300..700).contains(&taken), "{taken} of 1000");
    }
}
