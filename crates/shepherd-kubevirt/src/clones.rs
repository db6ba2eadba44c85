//! Clones: machines made from machines or from snapshots.
//!
//! KubeVirt gives the copy new MAC addresses and a new SMBIOS serial on its own. Labels and annotations are left
//! behind, because they say whose the source is; the copy gets its own once it exists.

use async_trait::async_trait;
use kube::Client;
use kube::core::DynamicObject;
use serde_json::{Value, json};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::infrastructure::{Clone as MachineClone, ClonePhase, CloneSource};
use shepherd_ports::providers::{CloneProvider, CloneRequest, ProviderError};

use crate::errors::lacks;
use crate::machines::KIND;
use crate::objects::{self, OptionalKind, all, complaint, event_of, find, make_once, text};
use crate::provider::KubeVirtProvider;
use crate::snapshots::{self, machine};

const CLONES: OptionalKind = OptionalKind {
    group: "clone.kubevirt.io",
    known: &["v1beta1", "v1alpha1"],
    kind: "VirtualMachineClone",
    plural: "virtualmachineclones",
};

/// A filter without anything that is let through.
const NOTHING: &str = "!*";
/// The annotation by which KubeVirt tells that the restore below a clone is done; without it, a source that was
/// restored before could not be cloned.
const LAST_RESTORE: &str = "restore.kubevirt.io/lastRestoreUID";

#[async_trait]
impl CloneProvider for KubeVirtProvider {
    async fn clone_vm(
        &self,
        cluster: ClusterId,
        source: &str,
        request: &CloneRequest,
    ) -> Result<MachineClone, ProviderError> {
        self.call(cluster, "clone_vm", move |client| async move {
            create(&client, machine(source), request).await
        })
        .await
    }

    async fn clone_from_snapshot(
        &self,
        cluster: ClusterId,
        snapshot: &str,
        request: &CloneRequest,
    ) -> Result<MachineClone, ProviderError> {
        let source = json!({"apiGroup": snapshots::GROUP, "kind": snapshots::SNAPSHOT, "name": snapshot});
        self.call(cluster, "clone_from_snapshot", move |client| async move {
            create(&client, source, request).await
        })
        .await
    }

    async fn get_clone(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<Option<MachineClone>, ProviderError> {
        self.call(cluster, "get_clone", move |client| async move {
            let (_, api) = CLONES.api(&client, namespace).await?;
            find(&api, name).await?.as_ref().map(clone).transpose()
        })
        .await
    }

    async fn delete_clone(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError> {
        self.call(cluster, "delete_clone", move |client| async move {
            let (_, api) = CLONES.api(&client, namespace).await?;
            objects::delete(&api, name, None).await
        })
        .await
    }

    async fn list_clones(
        &self,
        cluster: ClusterId,
        namespace: &str,
        source: Option<&CloneSource>,
    ) -> Result<Vec<MachineClone>, ProviderError> {
        self.call(cluster, "list_clones", move |client| async move {
            let (_, api) = CLONES.api(&client, namespace).await?;
            let mut found: Vec<MachineClone> = all(&api).await?.iter().map(clone).collect::<Result<_, _>>()?;
            found.retain(|clone| source.is_none_or(|source| clone.source == *source));
            Ok(found)
        })
        .await
    }
}

async fn create(client: &Client, source: Value, request: &CloneRequest) -> Result<MachineClone, ProviderError> {
    let (kind, api) = CLONES.api(client, &request.namespace).await?;
    let spec = spec(source, &request.target);
    let object = objects::new(&kind, &request.namespace, &request.name, &request.marks, spec);
    clone(&make_once(&api, &object).await?)
}

fn spec(source: Value, target: &str) -> Value {
    json!({
        "source": source,
        "target": machine(target),
        "labelFilters": [NOTHING],
        "annotationFilters": [LAST_RESTORE],
        "template": {"labelFilters": [NOTHING], "annotationFilters": [NOTHING]},
    })
}

fn clone(object: &DynamicObject) -> Result<MachineClone, ProviderError> {
    let spec = &object.data["spec"];
    let status = &object.data["status"];
    let phase = phase(status["phase"].as_str());
    Ok(MachineClone {
        name: object
            .metadata
            .name
            .clone()
            .filter(|name| !name.is_empty())
            .ok_or_else(|| lacks("metadata.name"))?,
        source: source(&spec["source"])?,
        target: text(&spec["target"]["name"])
            .or_else(|| text(&status["targetName"]))
            .ok_or_else(|| lacks("spec.target.name"))?,
        phase,
        error: error(phase, status),
        event_id: event_of(object),
    })
}

fn source(source: &Value) -> Result<CloneSource, ProviderError> {
    let name = text(&source["name"]).ok_or_else(|| lacks("spec.source.name"))?;
    match source["kind"].as_str() {
        Some(KIND) => Ok(CloneSource::Vm(name)),
        Some(snapshots::SNAPSHOT) => Ok(CloneSource::Snapshot(name)),
        Some(_) | None => Err(lacks("spec.source.kind")),
    }
}

/// A phase this version does not know is one on the way: the clone ends by a phase that is known, or by its time.
fn phase(phase: Option<&str>) -> ClonePhase {
    match phase {
        None | Some("") => ClonePhase::Pending,
        Some("Succeeded") => ClonePhase::Succeeded,
        Some("Failed") => ClonePhase::Failed,
        Some(_) => ClonePhase::InProgress,
    }
}

/// Why a clone failed, or what it waits for.
fn error(phase: ClonePhase, status: &Value) -> Option<String> {
    match phase {
        ClonePhase::Succeeded => None,
        ClonePhase::Failed => complaint(status, "Failure", "True")
            .or_else(|| complaint(status, "Ready", "False"))
            .or_else(|| Some("the cluster does not say why".to_owned())),
        ClonePhase::Pending | ClonePhase::InProgress => complaint(status, "Progressing", "False"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(source: Value, status: Value) -> Result<MachineClone, ProviderError> {
        let object: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "copy", "namespace": "shop"},
            "spec": spec(source, "web-02"),
            "status": status,
        }))
        .unwrap();
        clone(&object)
    }

    #[test]
    fn every_phase_has_its_counterpart() {
        for (reported, expected) in [
            (json!(null), ClonePhase::Pending),
            (json!(""), ClonePhase::Pending),
            (json!("SnapshotInProgress"), ClonePhase::InProgress),
            (json!("RestoreInProgress"), ClonePhase::InProgress),
            (json!("CreatingTargetVM"), ClonePhase::InProgress),
            (json!("Unknown"), ClonePhase::InProgress),
            (json!("SomethingNew"), ClonePhase::InProgress),
            (json!("Succeeded"), ClonePhase::Succeeded),
            (json!("Failed"), ClonePhase::Failed),
        ] {
            let found = seen(machine("web"), json!({"phase": reported})).unwrap();
            assert_eq!(found.phase, expected, "{reported}");
            assert_eq!(found.error.is_some(), expected == ClonePhase::Failed, "{reported}");
        }
    }

    #[test]
    fn a_clone_says_what_it_waits_for_and_why_it_failed() {
        let condition = |kind: &str, status: &str, why: &str| json!({"type": kind, "status": status, "reason": "Pending", "message": why});
        let status = json!({"conditions": [condition("Progressing", "False", "no source")]});
        let waiting = seen(machine("web"), status).unwrap();
        assert_eq!(
            (waiting.phase, waiting.error.as_deref()),
            (ClonePhase::Pending, Some("no source"))
        );
        let status = json!({"phase": "Failed", "conditions": [
            condition("Ready", "False", "Operation failed"), condition("Failure", "True", "the target exists"),
        ]});
        assert_eq!(
            seen(machine("web"), status).unwrap().error.as_deref(),
            Some("the target exists")
        );
    }

    #[test]
    fn sources_are_machines_and_snapshots() {
        let found = seen(machine("web"), json!(null)).unwrap();
        assert_eq!(found.source, CloneSource::Vm("web".to_owned()));
        assert_eq!(found.target, "web-02");
        let snapshot = json!({"apiGroup": snapshots::GROUP, "kind": snapshots::SNAPSHOT, "name": "before"});
        let found = seen(snapshot, json!(null)).unwrap();
        assert_eq!(found.source, CloneSource::Snapshot("before".to_owned()));
        let found = seen(json!({"kind": "Pod", "name": "web"}), json!(null));
        assert!(matches!(found, Err(ProviderError::Schema(_))), "{found:?}");
    }
}
