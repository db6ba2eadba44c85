//! Statuses this version does not know: said once each, however many machines are in one and however often they are
//! looked at.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use shepherd_domain::redaction::redact_and_truncate;
use shepherd_ports::metrics;

use crate::errors::MAX_TEXT;

/// Most statuses that are remembered. A real KubeVirt has a handful; whoever invents more is not listened to.
const MOST: usize = 64;

static KNOWN: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// Warns of a status, if it is the first time in this process.
pub(super) fn report(printable_status: &str) {
    metrics::clusters::unmapped_status(printable_status);
    let status = redact_and_truncate(printable_status, MAX_TEXT);
    if is_new(&mut lock(), &status) {
        tracing::warn!(
            printable_status = status.as_str(),
            "machines report a status this version does not know"
        );
    }
}

fn is_new(known: &mut Option<HashSet<String>>, status: &str) -> bool {
    let known = known.get_or_insert_default();
    known.len() < MOST && known.insert(status.to_owned())
}

fn lock() -> MutexGuard<'static, Option<HashSet<String>>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_news_once() {
        let mut known = None;
        assert!(is_new(&mut known, "Levitating"));
        assert!(!is_new(&mut known, "Levitating"));
        assert!(is_new(&mut known, "Hovering"));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut known = None;
        let news = (0..10 * MOST).filter(|number| is_new(&mut known, &number.to_string()));
        assert_eq!(news.count(), MOST);
    }
}
