//! Traces that began elsewhere: at a client, or in an earlier request.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use shepherd_ports::traces::TraceContext;
use tracing::{Span, dispatcher, span};
use tracing_opentelemetry::{OpenTelemetrySpanExt as _, get_otel_context};

/// Characters of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// Hands traces on as W3C trace contexts; without a receiver there is nothing to hand on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenTelemetryContext;

impl TraceContext for OpenTelemetryContext {
    fn current(&self) -> Option<String> {
        let context = Span::current().context();
        let span = context.span();
        let current = span.span_context();
        current.is_valid().then(|| {
            format!(
                "00-{}-{}-{:02x}",
                current.trace_id(),
                current.span_id(),
                current.trace_flags().to_u8()
            )
        })
    }

    fn adopt(&self, span: &Span, parent: &str) {
        // We wrote it, so what it says of sampling holds.
        if let Some(parent) = parse(parent, false) {
            put_below(span, parent);
        }
    }
}

/// Makes a new span a part of the trace that a client names in its `traceparent`. The client chooses the id of the trace
/// and what stands above the span, and nothing else; what is malformed chooses nothing.
pub(crate) fn accept(span: &Span, given: &str) {
    if let Some(parent) = parse(given, true) {
        put_below(span, parent);
    }
}

/// The ids of the trace and of the span that a span of `tracing` stands for, if it is traced.
pub(super) fn ids_of(span: &span::Id) -> Option<(String, String)> {
    let context = dispatcher::get_default(|dispatch| get_otel_context(span, dispatch))?;
    let span = context.span();
    let current = span.span_context();
    current
        .is_valid()
        .then(|| (current.trace_id().to_string(), current.span_id().to_string()))
}

fn put_below(span: &Span, parent: SpanContext) {
    // It fails when nothing is traced, or not this span.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
}

/// `00-{trace}-{span}-{flags}`; versions to come may go on after that.
fn parse(text: &str, remote: bool) -> Option<SpanContext> {
    let bytes = text.as_bytes();
    let is_complete = bytes.len() == LENGTH || (bytes.get(LENGTH) == Some(&b'-') && !text.starts_with("00"));
    if !is_complete || !text.is_ascii() {
        return None;
    }
    let mut parts = text[..LENGTH].split('-');
    let version = hex(parts.next()?, 2)?;
    let trace = TraceId::from_hex(hex(parts.next()?, 32)?).ok()?;
    let span = SpanId::from_hex(hex(parts.next()?, 16)?).ok()?;
    let flags = u8::from_str_radix(hex(parts.next()?, 2)?, 16).ok()?;
    let context = SpanContext::new(
        trace,
        span,
        TraceFlags::default().with_sampled(flags & 1 == 1),
        remote,
        TraceState::NONE,
    );
    (version != "ff" && parts.next().is_none() && context.is_valid()).then_some(context)
}

/// Lower-case hexadecimal digits, this many.
fn hex(text: &str, digits: usize) -> Option<&str> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == digits && text.bytes().all(is_hex)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_trace_parent_says_where_a_trace_goes_on() {
        for (text, sampled) in [
            (format!("00-{TRACE}-00f067aa0ba902b7-01"), true),
            (format!("00-{TRACE}-00f067aa0ba902b7-00"), false),
            (format!("01-{TRACE}-00f067aa0ba902b7-01-of-the-future"), true),
        ] {
            let context = parse(&text, true).expect("a context");
            assert_eq!(context.trace_id().to_string(), TRACE);
            assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
            assert_eq!((context.is_sampled(), context.is_remote()), (sampled, true), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        for text in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{TRACE}-00f067aa0ba902b7-0g"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-+{}-00f067aa0ba902b7-01", &TRACE[1..]),
            format!("00-{TRACE}-00f067aa0ba902b7-01é"),
            "é".repeat(40),
        ] {
            assert!(parse(&text, true).is_none(), "{text}");
        }
    }
}
