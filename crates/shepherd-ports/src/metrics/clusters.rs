//! Calls to clusters, and watches of them.
//!
//! A cluster is shown by the name it is registered under. The names are known from whoever loads its credentials, and
//! from every sample of the database; a cluster that is not known to be registered is [`UNKNOWN`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use ::metrics::{counter, gauge, histogram};
use shepherd_domain::cluster::ClusterStatus;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::schema::MinorVersion;

use super::{flag, number};
use crate::providers::{ClusterLoad, ProviderError};

/// The name of a cluster that is not known to be registered.
pub const UNKNOWN: &str = "unknown";
/// All statuses that a cluster can have.
const STATUSES: [ClusterStatus; 4] = [
    ClusterStatus::Unknown,
    ClusterStatus::Healthy,
    ClusterStatus::Unhealthy,
    ClusterStatus::Unreachable,
];
/// Most statuses of machines that have a series of their own; clusters can invent as many as they like.
const MOST_STATUSES: usize = 20;
/// Most characters of one of them.
const LONGEST_STATUS: usize = 40;
const OTHER_STATUS: &str = "other";

static NAMES: RwLock<BTreeMap<ClusterId, String>> = RwLock::new(BTreeMap::new());
static UNMAPPED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A cluster is registered under this name.
pub fn named(cluster: ClusterId, name: &str) {
    if self::name(cluster) == name {
        return;
    }
    let mut names = NAMES.write().unwrap_or_else(PoisonError::into_inner);
    names.insert(cluster, name.to_owned());
}

/// These clusters are registered, and no others.
pub fn registered(names: impl IntoIterator<Item = (ClusterId, String)>) {
    let names = names.into_iter().collect();
    *NAMES.write().unwrap_or_else(PoisonError::into_inner) = names;
}

/// The name of a cluster as it is shown.
pub fn name(cluster: ClusterId) -> String {
    let names = NAMES.read().unwrap_or_else(PoisonError::into_inner);
    names.get(&cluster).cloned().unwrap_or_else(|| UNKNOWN.to_owned())
}

/// A call was asked for and answered, or not let through. `verb` is the name of a function of the product.
pub fn called<T>(cluster: ClusterId, verb: &'static str, answer: &Result<T, ProviderError>) {
    let code = answer.as_ref().map_or_else(ProviderError::kind, |_| "ok");
    counter!("cluster_calls_total", "cluster" => name(cluster), "verb" => verb, "code" => code).increment(1);
}

/// A call that was let through took so long.
pub fn call_took(cluster: ClusterId, verb: &'static str, took: Duration) {
    histogram!("cluster_call_duration_seconds", "cluster" => name(cluster), "verb" => verb).record(took);
}

/// How busy a cluster is with calls of this process.
pub fn load(cluster: &str, load: ClusterLoad) {
    let permits = u64::try_from(load.permits_in_use).unwrap_or(u64::MAX);
    gauge!("cluster_permits_in_use", "cluster" => cluster.to_owned()).set(number(permits));
    gauge!("cluster_breaker_open", "cluster" => cluster.to_owned()).set(flag(load.breaker_open));
}

/// The status that a cluster has.
pub fn status(cluster: &str, status: ClusterStatus) {
    for other in STATUSES {
        let is_it = flag(other == status);
        gauge!("cluster_status", "cluster" => cluster.to_owned(), "status" => other.as_str()).set(is_it);
    }
}

/// The watch of a cluster was interrupted, or ended before its time.
pub fn watcher_restarted(cluster: String, reason: &'static str) {
    counter!("watcher_restarts_total", "cluster" => cluster, "reason" => reason).increment(1);
}

/// For so many seconds the rows have not been following a cluster.
pub fn watcher_lag(cluster: &str, seconds: f64) {
    gauge!("watcher_lag_seconds", "cluster" => cluster.to_owned()).set(seconds);
}

/// Whether another schema stands in for the one of a version that a cluster runs.
pub fn schema_fallback(version: MinorVersion, stands_in: bool) {
    gauge!("schema_fallback", "version" => version.to_string()).set(flag(stands_in));
}

/// A machine was in a status that this version does not know.
pub fn unmapped_status(printable_status: &str) {
    let value = {
        let mut known = UNMAPPED.lock().unwrap_or_else(PoisonError::into_inner);
        bounded(&mut known, printable_status)
    };
    counter!("kubevirt_unmapped_status_total", "value" => value).increment(1);
}

/// The status itself, when it looks like one and is among the first that were seen.
fn bounded(known: &mut BTreeSet<String>, status: &str) -> String {
    let is_plain = (1..=LONGEST_STATUS).contains(&status.len()) && status.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_plain && !known.contains(status) && known.len() < MOST_STATUSES {
        known.insert(status.to_owned());
    }
    known.get(status).cloned().unwrap_or_else(|| OTHER_STATUS.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_cannot_invent_series() {
        let mut known = BTreeSet::new();
        assert_eq!(bounded(&mut known, "Levitating"), "Levitating");
        for odd in ["", "two words", "line\nbreak", "quote\"", "schön", &"a".repeat(41)] {
            assert_eq!(bounded(&mut known, odd), "other", "{odd:?}");
        }
        let many: BTreeSet<String> = (0..1000)
            .map(|number| bounded(&mut known, &format!("Status{number}")))
            .collect();
        assert_eq!(many.len(), MOST_STATUSES, "19 of them and all others");
        assert_eq!(bounded(&mut known, "Levitating"), "Levitating");
    }

    #[test]
    fn a_cluster_that_is_gone_has_no_name() {
        let (kept, gone) = (ClusterId::from_bits(0xA1), ClusterId::from_bits(0xA2));
        named(gone, "gone-1");
        assert_eq!(name(gone), "gone-1");
        registered([(kept, "kept-1".to_owned())]);
        assert_eq!((name(kept), name(gone)), ("kept-1".to_owned(), UNKNOWN.to_owned()));
        named(kept, "kept-2");
        assert_eq!(name(kept), "kept-2");
    }
}
