//! Snapshots of machines, and restores from them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kube::Client;
use kube::core::DynamicObject;
use serde_json::{Value, json};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::infrastructure::{Restore, Snapshot};
use shepherd_domain::redaction::redact_and_truncate;
use shepherd_ports::providers::{ProviderError, RestoreRequest, SnapshotProvider, SnapshotRequest};

use crate::errors::{MAX_TEXT, lacks};
use crate::machines::KIND;
use crate::objects::{self, OptionalKind, all, complaint, delete, event_of, find, make_once, text};
use crate::provider::KubeVirtProvider;

/// Group of both kinds.
pub(crate) const GROUP: &str = "snapshot.kubevirt.io";
/// Versions of the group this module can speak, newest first.
const KNOWN: [&str; 2] = ["v1beta1", "v1alpha1"];
/// Kind of a snapshot.
pub(crate) const SNAPSHOT: &str = "VirtualMachineSnapshot";

const SNAPSHOTS: OptionalKind = OptionalKind {
    group: GROUP,
    known: &KNOWN,
    kind: SNAPSHOT,
    plural: "virtualmachinesnapshots",
};

const RESTORES: OptionalKind = OptionalKind {
    group: GROUP,
    known: &KNOWN,
    kind: "VirtualMachineRestore",
    plural: "virtualmachinerestores",
};

#[async_trait]
impl SnapshotProvider for KubeVirtProvider {
    async fn create_snapshot(&self, cluster: ClusterId, request: &SnapshotRequest) -> Result<Snapshot, ProviderError> {
        self.call(cluster, "create_snapshot", move |client| async move {
            create(&client, request).await
        })
        .await
    }

    async fn get_snapshot(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Snapshot>, ProviderError> {
        self.call(cluster, "get_snapshot", move |client| async move {
            let (_, api) = SNAPSHOTS.api(&client, namespace).await?;
            find(&api, name).await?.as_ref().map(snapshot).transpose()
        })
        .await
    }

    async fn list_snapshots(
        &self,
        cluster: ClusterId,
        namespace: &str,
        vm: Option<&str>,
    ) -> Result<Vec<Snapshot>, ProviderError> {
        self.call(cluster, "list_snapshots", move |client| async move {
            let (_, api) = SNAPSHOTS.api(&client, namespace).await?;
            let mut found: Vec<Snapshot> = all(&api).await?.iter().map(snapshot).collect::<Result<_, _>>()?;
            found.retain(|snapshot| vm.is_none_or(|vm| snapshot.vm == vm));
            Ok(found)
        })
        .await
    }

    async fn delete_snapshot(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<(), ProviderError> {
        self.call(cluster, "delete_snapshot", move |client| async move {
            let (_, api) = SNAPSHOTS.api(&client, namespace).await?;
            delete(&api, name, uid).await
        })
        .await
    }

    async fn restore_from_snapshot(
        &self,
        cluster: ClusterId,
        request: &RestoreRequest,
    ) -> Result<Restore, ProviderError> {
        self.call(cluster, "restore_from_snapshot", move |client| async move {
            begin_restore(&client, request).await
        })
        .await
    }

    async fn get_restore(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Restore>, ProviderError> {
        self.call(cluster, "get_restore", move |client| async move {
            let (_, api) = RESTORES.api(&client, namespace).await?;
            find(&api, name).await?.as_ref().map(restore).transpose()
        })
        .await
    }
}

/// How the objects of this and the clone group refer to a machine.
pub(crate) fn machine(name: &str) -> Value {
    json!({"apiGroup": "kubevirt.io", "kind": KIND, "name": name})
}

async fn create(client: &Client, request: &SnapshotRequest) -> Result<Snapshot, ProviderError> {
    let (kind, api) = SNAPSHOTS.api(client, &request.namespace).await?;
    let spec = json!({"source": machine(&request.vm)});
    let object = objects::new(&kind, &request.namespace, &request.name, &request.marks, spec);
    snapshot(&make_once(&api, &object).await?)
}

async fn begin_restore(client: &Client, request: &RestoreRequest) -> Result<Restore, ProviderError> {
    let (kind, api) = RESTORES.api(client, &request.namespace).await?;
    let spec = json!({"target": machine(&request.vm), "virtualMachineSnapshotName": request.snapshot});
    let object = objects::new(&kind, &request.namespace, &request.name, &request.marks, spec);
    restore(&make_once(&api, &object).await?)
}

fn snapshot(object: &DynamicObject) -> Result<Snapshot, ProviderError> {
    let metadata = &object.metadata;
    let status = &object.data["status"];
    let error = failure(status);
    let made_at = || metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    Ok(Snapshot {
        name: mandatory(metadata.name.as_ref(), "metadata.name")?,
        vm: text(&object.data["spec"]["source"]["name"]).ok_or_else(|| lacks("spec.source.name"))?,
        uid: mandatory(metadata.uid.as_ref(), "metadata.uid")?,
        ready: status["readyToUse"] == true && error.is_none() && metadata.deletion_timestamp.is_none(),
        created_at: time(&status["creationTime"])
            .or_else(|| made_at().and_then(|seconds| DateTime::from_timestamp(seconds, 0))),
        error,
        event_id: event_of(object),
    })
}

/// Why a snapshot failed for good. An error of a snapshot that is still under way may pass: its deadline decides.
fn failure(status: &Value) -> Option<String> {
    let condition = complaint(status, "Failure", "True");
    if status["phase"] != "Failed" && condition.is_none() {
        return None;
    }
    let words = text(&status["error"]["message"]).map(|words| redact_and_truncate(&words, MAX_TEXT));
    words
        .or(condition)
        .or_else(|| Some("the cluster does not say why".to_owned()))
}

fn restore(object: &DynamicObject) -> Result<Restore, ProviderError> {
    let spec = &object.data["spec"];
    let status = &object.data["status"];
    Ok(Restore {
        name: mandatory(object.metadata.name.as_ref(), "metadata.name")?,
        vm: text(&spec["target"]["name"]).ok_or_else(|| lacks("spec.target.name"))?,
        snapshot: text(&spec["virtualMachineSnapshotName"]).ok_or_else(|| lacks("spec.virtualMachineSnapshotName"))?,
        complete: status["complete"] == true,
        error: complaint(status, "Failure", "True"),
        event_id: event_of(object),
    })
}

fn mandatory(value: Option<&String>, field: &str) -> Result<String, ProviderError> {
    value
        .filter(|text| !text.is_empty())
        .cloned()
        .ok_or_else(|| lacks(field))
}

fn time(value: &Value) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(value.as_str()?).ok()?;
    Some(time.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(spec: Value, status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {"name": "before", "namespace": "shop", "uid": "u-1", "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": spec,
            "status": status,
        }))
        .unwrap()
    }

    fn seen(status: Value) -> Snapshot {
        snapshot(&object(json!({"source": machine("web")}), status)).unwrap()
    }

    #[test]
    fn a_snapshot_is_ready_when_the_cluster_says_so() {
        let ready = seen(json!({"phase": "Succeeded", "readyToUse": true, "creationTime": "2026-01-02T04:00:00Z"}));
        assert!(ready.ready && ready.error.is_none());
        assert_eq!(
            ready.created_at.map(|at| at.to_rfc3339()).as_deref(),
            Some("2026-01-02T04:00:00+00:00")
        );
        let young = seen(json!(null));
        assert!(!young.ready && young.error.is_none());
        assert_eq!(
            young.created_at.map(|at| at.to_rfc3339()).as_deref(),
            Some("2026-01-02T03:04:05+00:00")
        );
    }

    #[test]
    fn only_a_failed_snapshot_has_an_error() {
        let passing = seen(json!({"phase": "InProgress", "error": {"message": "driver is busy"}}));
        assert_eq!(passing.error, None);
        let failed = seen(json!({"phase": "Failed", "readyToUse": true, "error": {"message": "deadline exceeded"}}));
        assert_eq!(
            (failed.ready, failed.error.as_deref()),
            (false, Some("deadline exceeded"))
        );
        let terse = seen(json!({"phase": "Failed"}));
        assert!(terse.error.is_some());
        let secret =
            seen(json!({"phase": "Failed", "error": {"message": "Authorization: Bearer abcdefghijklmnopqrst"}}));
        assert_eq!(secret.error.as_deref(), Some("[REDACTED]"));
    }

    #[test]
    fn a_snapshot_of_nothing_is_malformed() {
        let found = snapshot(&object(json!({}), json!(null)));
        assert!(matches!(found, Err(ProviderError::Schema(_))), "{found:?}");
    }

    #[test]
    fn a_restore_waits_fails_or_is_done() {
        let spec = || json!({"target": machine("web"), "virtualMachineSnapshotName": "before"});
        let condition = |kind: &str, status: &str| json!({"conditions": [{"type": kind, "status": status, "reason": "why", "message": ""}]});
        let waiting = restore(&object(spec(), condition("Progressing", "False"))).unwrap();
        assert!(!waiting.complete && waiting.error.is_none());
        let failed = restore(&object(spec(), condition("Failure", "True"))).unwrap();
        assert_eq!(failed.error.as_deref(), Some("why"));
        let done = restore(&object(spec(), json!({"complete": true}))).unwrap();
        assert!(done.complete && done.error.is_none());
        assert_eq!((done.vm.as_str(), done.snapshot.as_str()), ("web", "before"));
    }
}
