//! The only door to the machine the simulator runs on: time, randomness and background tasks.
//!
//! The product forbids these calls because its clock, ids and pools are injected. The simulator is its own
//! world and stands in for a cluster with a real clock, so the calls are allowed here and nowhere else.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, Utc};
use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

/// Wall clock time.
#[expect(clippy::disallowed_methods, reason = "the simulated cluster has a real clock")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Wall clock time the way Kubernetes writes it: RFC 3339, whole seconds, `Z`.
pub(crate) fn timestamp() -> String {
    now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Monotonic time, for deadlines.
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// A fresh object uid.
#[expect(
    clippy::disallowed_methods,
    reason = "uids of simulated objects are the cluster's own"
)]
pub(crate) fn new_uid() -> String {
    Uuid::now_v7().to_string()
}

/// The five characters the API server appends to `generateName`.
pub(crate) fn name_suffix() -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    random_bytes::<5>()
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

/// A bearer token with 192 bits of randomness.
pub(crate) fn new_token() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes::<24>())
}

/// Runs `task` on the current runtime until it ends.
#[expect(clippy::disallowed_methods, reason = "the simulator has no supervised pool")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // Without a random source a unique value is still owed; a uid carries the time and a counter.
        for (target, source) in bytes.iter_mut().zip(new_uid().bytes().rev()) {
            *target = source;
        }
    }
    bytes
}
