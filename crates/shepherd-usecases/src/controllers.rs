//! Continuous loops: health of clusters, projection of what they report, and what metrics show.
//!
//! Each loop that writes is held by a lease, so that one replica does the work and another takes over when it dies. What
//! it writes names the generation of its lease; a holder that was replaced without noticing writes nothing.

pub mod changes;
pub mod health;
pub mod metrics;
pub mod projection;
pub mod watch;
