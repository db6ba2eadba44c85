//! Live migrations: one object per migration, which KubeVirt's controllers carry out.

use async_trait::async_trait;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::{Value, json};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::infrastructure::{Migration, MigrationPhase};
use shepherd_domain::redaction::redact_and_truncate;
use shepherd_ports::providers::{MigrationProvider, MigrationRequest, ProviderError};

use crate::errors::{MAX_TEXT, lacks};
use crate::machines::kind;
use crate::objects::{self, all, complaint, delete, event_of, find, make_once, text};
use crate::provider::KubeVirtProvider;

/// `status.migrationState.abortStatus` of a migration that could not be called off any more.
const ABORT_FAILED: &str = "Failed";

#[async_trait]
impl MigrationProvider for KubeVirtProvider {
    async fn migrate_vm(&self, cluster: ClusterId, request: &MigrationRequest) -> Result<Migration, ProviderError> {
        self.call(cluster, "migrate_vm", move |client| async move {
            migrate(&client, request).await
        })
        .await
    }

    async fn get_vm_migration(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Migration>, ProviderError> {
        self.call(cluster, "get_vm_migration", move |client| async move {
            let found = find(&migrations(&client, namespace), name).await?;
            found.as_ref().map(migration).transpose()
        })
        .await
    }

    async fn list_migrations(
        &self,
        cluster: ClusterId,
        namespace: &str,
        vm: Option<&str>,
    ) -> Result<Vec<Migration>, ProviderError> {
        self.call(cluster, "list_migrations", move |client| async move {
            list(&client, namespace, vm).await
        })
        .await
    }

    async fn cancel_migration(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError> {
        self.call(cluster, "cancel_migration", move |client| async move {
            delete(&migrations(&client, namespace), name, None).await
        })
        .await
    }
}

fn migration_kind() -> ApiResource {
    kind(
        "kubevirt.io",
        "v1",
        "VirtualMachineInstanceMigration",
        "virtualmachineinstancemigrations",
    )
}

fn migrations(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &migration_kind())
}

async fn migrate(client: &Client, request: &MigrationRequest) -> Result<Migration, ProviderError> {
    // The instance has the name of its machine.
    let spec = json!({"vmiName": request.vm});
    let object = objects::new(
        &migration_kind(),
        &request.namespace,
        &request.name,
        &request.marks,
        spec,
    );
    migration(&make_once(&migrations(client, &request.namespace), &object).await?)
}

/// The migrations of a namespace, also those that others have made. Those that name no machine (the receiving end of
/// a migration between clusters) are left out. The label with the machine's name is set by a webhook and need not be
/// there, so the machine is looked for in what was asked for.
async fn list(client: &Client, namespace: &str, vm: Option<&str>) -> Result<Vec<Migration>, ProviderError> {
    let found = all(&migrations(client, namespace)).await?;
    let is_wanted = |object: &&DynamicObject| {
        text(&object.data["spec"]["vmiName"]).is_some_and(|moved| vm.is_none_or(|vm| moved == vm))
    };
    found.iter().filter(is_wanted).map(migration).collect()
}

fn migration(object: &DynamicObject) -> Result<Migration, ProviderError> {
    let metadata = &object.metadata;
    let state = &object.data["status"]["migrationState"];
    let phase = phase(object);
    let node = |plain: &str, detailed: &str| text(&state[plain]).or_else(|| text(&state[detailed]["node"]));
    Ok(Migration {
        name: metadata.name.clone().ok_or_else(|| lacks("metadata.name"))?,
        vm: text(&object.data["spec"]["vmiName"]).ok_or_else(|| lacks("spec.vmiName"))?,
        uid: metadata.uid.clone().ok_or_else(|| lacks("metadata.uid"))?,
        phase,
        source_node: node("sourceNode", "sourceState"),
        target_node: node("targetNode", "targetState"),
        error: failure(phase, &object.data["status"]),
        event_id: event_of(object),
    })
}

/// How far it is. A migration that succeeded before it could be called off did succeed, and one that failed on its
/// own and was cleared away afterwards did fail.
fn phase(object: &DynamicObject) -> MigrationPhase {
    let status = &object.data["status"];
    let state = &status["migrationState"];
    let phase = status["phase"].as_str().unwrap_or_default();
    if phase == "Succeeded" {
        return MigrationPhase::Succeeded;
    }
    let is_deleted = object.metadata.deletion_timestamp.is_some();
    let failed_alone = phase == "Failed" && state["failed"] == true;
    let is_aborted = match state["abortStatus"].as_str().filter(|status| !status.is_empty()) {
        Some(status) => status != ABORT_FAILED,
        None => state["abortRequested"] == true || (is_deleted && !failed_alone),
    };
    if is_aborted {
        return MigrationPhase::Cancelled;
    }
    match phase {
        "Running" => MigrationPhase::Running,
        "Failed" => MigrationPhase::Failed,
        "" | "Pending" | "Scheduling" | "Scheduled" | "PreparingTarget" | "TargetReady" => MigrationPhase::Pending,
        unknown => {
            tracing::debug!(phase = unknown, "a migration is in a phase this version does not know");
            MigrationPhase::Pending
        }
    }
}

fn failure(phase: MigrationPhase, status: &Value) -> Option<String> {
    if phase != MigrationPhase::Failed {
        return None;
    }
    let words = text(&status["migrationState"]["failureReason"]);
    words
        .map(|words| redact_and_truncate(&words, MAX_TEXT))
        .or_else(|| complaint(status, "Failure", "True"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use MigrationPhase::{Cancelled, Failed, Pending, Running, Succeeded};

    fn object(status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {"name": "move-1", "namespace": "shop", "uid": "u-1"},
            "spec": {"vmiName": "web"},
            "status": status,
        }))
        .unwrap()
    }

    fn deleted(status: Value) -> DynamicObject {
        let mut object = object(status);
        let metadata = json!({"name": "move-1", "uid": "u-1", "deletionTimestamp": "2026-01-02T03:04:05Z"});
        object.metadata = serde_json::from_value(metadata).unwrap();
        object
    }

    #[test]
    fn every_phase_has_its_counterpart() {
        let rows = [
            ("", Pending),
            ("Pending", Pending),
            ("Scheduling", Pending),
            ("Scheduled", Pending),
            ("PreparingTarget", Pending),
            ("TargetReady", Pending),
            ("Running", Running),
            ("Succeeded", Succeeded),
            ("Failed", Failed),
            ("Levitating", Pending),
        ];
        for (raw, expected) in rows {
            assert_eq!(phase(&object(json!({"phase": raw}))), expected, "{raw}");
        }
        assert_eq!(phase(&object(json!(null))), Pending);
    }

    #[test]
    fn what_was_called_off_is_cancelled() {
        for state in [
            json!({"abortStatus": "Aborting", "abortRequested": true}),
            json!({"abortStatus": "Succeeded", "failed": true}),
            json!({"abortRequested": true, "failed": true}),
        ] {
            for raw in ["Running", "Failed"] {
                let found = phase(&object(json!({"phase": raw, "migrationState": state})));
                assert_eq!(found, Cancelled, "{raw} {state}");
            }
        }
        assert_eq!(phase(&deleted(json!({"phase": "Scheduling"}))), Cancelled);
        assert_eq!(phase(&deleted(json!({"phase": "Failed"}))), Cancelled);
    }

    #[test]
    fn what_was_called_off_too_late_is_what_it_became() {
        let late = json!({"abortRequested": true, "abortStatus": "Failed"});
        assert_eq!(
            phase(&deleted(json!({"phase": "Running", "migrationState": late}))),
            Running
        );
        assert_eq!(
            phase(&deleted(json!({"phase": "Succeeded", "migrationState": late}))),
            Succeeded
        );
        let failed = json!({"failed": true});
        assert_eq!(
            phase(&deleted(json!({"phase": "Failed", "migrationState": failed}))),
            Failed
        );
    }

    #[test]
    fn nodes_and_reasons_are_read() {
        let state =
            json!({"sourceNode": "node-1", "targetNode": "node-2", "failed": true, "failureReason": "too slow"});
        let found = migration(&object(json!({"phase": "Failed", "migrationState": state}))).unwrap();
        assert_eq!((found.name.as_str(), found.vm.as_str()), ("move-1", "web"));
        assert_eq!(found.source_node.as_deref(), Some("node-1"));
        assert_eq!(found.target_node.as_deref(), Some("node-2"));
        assert_eq!(found.error.as_deref(), Some("too slow"));
        let state = json!({"sourceState": {"node": "node-3"}, "targetState": {"node": "node-4"}});
        let found = migration(&object(json!({"phase": "Running", "migrationState": state}))).unwrap();
        assert_eq!(found.source_node.as_deref(), Some("node-3"));
        assert_eq!(found.target_node.as_deref(), Some("node-4"));
        assert_eq!(found.error, None);
        let state = json!({"failed": true, "failureReason": "Authorization: Bearer abcdefghijklmnopqrst"});
        let found = migration(&object(json!({"phase": "Failed", "migrationState": state}))).unwrap();
        assert_eq!(found.error.as_deref(), Some("[REDACTED]"));
    }

    #[test]
    fn a_migration_of_nothing_is_malformed() {
        let mut nothing = object(json!(null));
        nothing.data["spec"] = json!({});
        let found = migration(&nothing);
        assert!(matches!(found, Err(ProviderError::Schema(_))), "{found:?}");
    }
}
