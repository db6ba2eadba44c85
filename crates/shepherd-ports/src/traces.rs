//! Which trace the work that is under way belongs to.
//!
//! Everything outside the composition root describes its work by plain spans of `tracing`. What becomes of them, and how
//! a trace goes on in another process or on another day, is behind this port.

use tracing::Span;

/// Hands traces on.
pub trait TraceContext: Send + Sync {
    /// Where the work of the current span belongs, as a W3C `traceparent`; `None` while nothing is traced.
    fn current(&self) -> Option<String>;
    /// Makes a span that is new the child of what [`Self::current`] said earlier, perhaps elsewhere. Does nothing when
    /// the text is no `traceparent`.
    fn adopt(&self, span: &Span, parent: &str);
}

/// Traces nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untraced;

impl TraceContext for Untraced {
    fn current(&self) -> Option<String> {
        None
    }

    fn adopt(&self, _span: &Span, _parent: &str) {}
}
