//! External approval systems.

use std::time::Duration;

use ::metrics::{counter, histogram};

/// An exchange with a system took so long, and failed or did not.
pub fn external_approval_exchange(took: Duration, failed: bool) {
    counter!("external_approval_requests_total").increment(1);
    histogram!("external_approval_latency_seconds").record(took);
    counter!("external_approval_errors_total").increment(u64::from(failed));
}

/// A ticket went back to the built-in queue.
pub fn external_approval_fallback() {
    counter!("external_approval_fallback_total").increment(1);
}
