//! Continuous loops: health of clusters, and projection of what they report.
//!
//! Each loop is held by a lease, so that one replica does the work and another takes over when it dies. What a loop
//! writes names the generation of its lease; a holder that was replaced without noticing writes nothing.

pub mod changes;
pub mod health;
pub mod projection;
pub mod watch;
