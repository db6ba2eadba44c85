//! What tests see and touch behind the API's back: objects, the request log, frozen machines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::object;
use crate::resources::{self, INSTANCES, VIRTUAL_MACHINES};

/// One answered (or deliberately unanswered) request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query string without the question mark.
    pub query: String,
    /// HTTP status, 0 when a fault left the request without an answer.
    pub status: u16,
    /// `User-Agent` header, empty when absent.
    pub user_agent: String,
    /// Name of the user, as in refusals; empty when the token is nobody's.
    pub user: String,
    /// When the request was answered.
    pub at: DateTime<Utc>,
}

/// Direct access to the simulated cluster, past authentication, validation and faults.
///
/// Kinds are named as in manifests (`VirtualMachine`, `Secret`). The namespace of cluster-scoped objects is
/// the empty string, which in lists also means "all namespaces". Unknown kinds behave like empty ones.
#[derive(Debug, Clone)]
pub struct ClusterHandle {
    cluster: Arc<Cluster>,
}

impl ClusterHandle {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }

    /// One object as the API would return it.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let def = resources::by_kind(kind)?;
        self.cluster
            .read(|store| store.get(def, namespace, name))
            .map(|object| Value::clone(&object))
    }

    /// All objects of a kind, sorted by namespace and name.
    pub fn list(&self, kind: &str, namespace: &str) -> Vec<Value> {
        let Some(def) = resources::by_kind(kind) else {
            return Vec::new();
        };
        let objects = self.cluster.read(|store| store.list(def, namespace));
        objects.iter().map(|object| Value::clone(object)).collect()
    }

    /// Stores an object as it is, adding a uid and a creation time when it has none. `false` when the kind
    /// is unknown or the object has no name.
    pub fn put(&self, kind: &str, mut object: Value) -> bool {
        let Some(def) = resources::by_kind(kind) else {
            return false;
        };
        if object::name(&object).is_empty() {
            return false;
        }
        crate::seed::complete(def, &mut object);
        self.cluster.write(|store| store.put(def, object));
        true
    }

    /// Replaces the status of an object; watches see `MODIFIED`. `false` when there is no such object.
    ///
    /// The controllers keep working: freeze the machine first when the status is meant to stay.
    pub fn put_status(&self, kind: &str, namespace: &str, name: &str, status: Value) -> bool {
        let Some(def) = resources::by_kind(kind) else {
            return false;
        };
        self.cluster.write(|store| {
            let Some(object) = store.get(def, namespace, name) else {
                return false;
            };
            let mut object = Value::clone(&object);
            object["status"] = status;
            store.put(def, object);
            true
        })
    }

    /// Takes an object away without asking its finalizers; watches see `DELETED`. `false` when there is no
    /// such object.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> bool {
        let Some(def) = resources::by_kind(kind) else {
            return false;
        };
        self.cluster.write(|store| store.remove(def, namespace, name)).is_some()
    }

    /// Stops the controllers' work on a virtual machine and its instance.
    pub fn freeze(&self, namespace: &str, name: &str) {
        self.cluster.write(|store| store.set_frozen(namespace, name, true));
    }

    /// Lets the controllers go on.
    pub fn thaw(&self, namespace: &str, name: &str) {
        self.cluster.write(|store| store.set_frozen(namespace, name, false));
        self.cluster.nudge();
    }

    /// Takes a virtual machine and its instance away without a deletion having been asked for.
    pub fn lose(&self, namespace: &str, name: &str) {
        self.cluster.write(|store| {
            store.remove(&VIRTUAL_MACHINES, namespace, name);
            store.remove(&INSTANCES, namespace, name);
        });
    }

    /// The requests so far, oldest first; the latest 20 000 are kept.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.cluster.with_log(|log| log.requests.clone())
    }

    /// How often each change was asked for, by Kubernetes verb (`create`, `update`, `patch`, `delete`,
    /// `deletecollection`, or the subresource's name such as `start`) and plural resource name. Every
    /// request counts, whatever its answer, except dry runs and those a fault kept from the API.
    pub fn mutations(&self) -> BTreeMap<(String, String), u64> {
        self.cluster.with_log(|log| log.mutations.clone())
    }

    /// Forgets requests and counts.
    pub fn clear_requests(&self) {
        self.cluster
            .with_log(|log| *log = crate::cluster::RequestLog::default());
    }

    /// The cluster-wide revision of the last change.
    pub fn revision(&self) -> u64 {
        self.cluster.read(crate::store::Store::revision)
    }

    /// Waits until the revision is greater than `revision`, for tests that wait for the next change.
    pub async fn changed_since(&self, revision: u64) {
        let mut revisions = self.cluster.revisions();
        // The sender lives in the cluster this handle keeps alive, so waiting cannot fail.
        let _ = revisions.wait_for(|current| *current > revision).await;
    }

    /// Sets how often watches opened from now on get a bookmark; 10 s unless set.
    pub fn set_bookmark_interval(&self, interval: Duration) {
        self.cluster.set_bookmark_interval(interval);
    }

    /// Sets how many events are kept for watches and paged lists; older versions answer 410.
    pub fn set_event_window(&self, events: usize) {
        self.cluster.write(|store| store.set_window(events));
    }
}
