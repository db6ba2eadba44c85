//! The real clock and the real source of ids; the only place that asks the machine for either.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use shepherd_ports::{Clock, IdSource};
use uuid::Uuid;

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock port")]
    fn now(&self) -> DateTime<Utc> {
        SystemTime::now().into()
    }
}

/// UUIDv7 of the machine's clock and random source.
pub struct UuidV7Source;

impl IdSource for UuidV7Source {
    #[expect(clippy::disallowed_methods, reason = "this is the IdSource port")]
    fn next(&self) -> u128 {
        Uuid::now_v7().as_u128()
    }
}
