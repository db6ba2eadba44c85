//! Disks that grow.
//!
//! A data volume does not follow its template once it is made: its claim is asked for more, and the storage gives it.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use shepherd_domain::labels;
use shepherd_ports::providers::{ApplyMode, ProviderError};

use crate::errors::provider_error;
use crate::machines;
use crate::objects::text;
use crate::quantity::{MEBIBYTE, in_units};

/// `reason` of a disk whose storage class cannot expand.
const NOT_EXPANDABLE: &str = "DiskNotExpandable";
/// `reason` of a machine without a persistent disk.
const NO_DISK: &str = "NoPersistentDisk";
/// Where a claim says how much it asks for.
const REQUEST: &str = "spec.resources.requests.storage";
/// MiB of a GiB.
const MEBIBYTES: i32 = 1024;

/// Asks for at least so many GiB on the claim of the machine's first persistent disk.
///
/// # Errors
/// NotFound when machine or claim are not there; Conflict when the machine is another one; Invalid when it has no
/// persistent disk, or the storage class of that one cannot expand.
pub(crate) async fn grow(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: &str,
    size_gb: i32,
    mode: ApplyMode,
) -> Result<(), ProviderError> {
    let found = machines::machines(client, namespace).get(name).await;
    let vm = found.map_err(|error| provider_error(&error))?;
    if vm.metadata.uid.as_deref() != Some(uid) {
        return Err(ProviderError::Conflict(format!(
            "{name} is not the machine that was meant"
        )));
    }
    let claim = main_claim(&vm.data["spec"]["template"]["spec"]).ok_or_else(|| invalid(NO_DISK, "no disk can grow"))?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let found = claims.get(&claim).await.map_err(|error| provider_error(&error))?;
    if is_enough(&requested(&found), size_gb) {
        return Ok(());
    }
    let wanted = json!({
        // A uid in a patch is a precondition: it cannot be changed.
        "metadata": {"uid": found.metadata.uid},
        "spec": {"resources": {"requests": {"storage": format!("{size_gb}Gi")}}},
    });
    claims
        .patch(&claim, &params(mode), &Patch::Merge(&wanted))
        .await
        .map_err(|error| explained(provider_error(&error)))?;
    Ok(())
}

/// The claim of the first disk that keeps what is written to it. A data volume and its claim have one name.
fn main_claim(machine: &Value) -> Option<String> {
    let disks = machine["domain"]["devices"]["disks"].as_array()?;
    let volumes = machine["volumes"].as_array()?;
    disks.iter().find_map(|disk| {
        let volume = volumes.iter().find(|volume| volume["name"] == disk["name"])?;
        text(&volume["dataVolume"]["name"]).or_else(|| text(&volume["persistentVolumeClaim"]["claimName"]))
    })
}

fn requested(claim: &PersistentVolumeClaim) -> Value {
    let requests = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let storage = requests.and_then(|requests| requests.get("storage"));
    storage.map_or(Value::Null, |quantity| Value::from(quantity.0.as_str()))
}

/// Whether a claim asks for as much already. One that was made larger than its data volume, for the overhead of a file
/// system, is never asked for less.
fn is_enough(requested: &Value, size_gb: i32) -> bool {
    in_units(requested, MEBIBYTE).is_some_and(|mebibytes| mebibytes >= size_gb.saturating_mul(MEBIBYTES))
}

fn params(mode: ApplyMode) -> PatchParams {
    let params = PatchParams {
        field_manager: Some(labels::MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match mode {
        ApplyMode::Persist | ApplyMode::Create => params,
        ApplyMode::DryRun => params.dry_run(),
    }
}

/// The API server forbids what no right would permit: growing on a class that does not expand.
fn explained(error: ProviderError) -> ProviderError {
    if let ProviderError::Forbidden(message) = &error
        && message.contains("must support resize")
    {
        return invalid(NOT_EXPANDABLE, message);
    }
    error
}

fn invalid(reason: &str, message: &str) -> ProviderError {
    ProviderError::Invalid {
        message: message.to_owned(),
        reason: reason.to_owned(),
        causes: vec![(REQUEST.to_owned(), message.to_owned())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_disk_that_keeps_its_data_is_the_one() {
        let disks = |names: &[&str]| -> Value { names.iter().map(|name| json!({"name": name})).collect() };
        let machine = json!({
            "domain": {"devices": {"disks": disks(&["root", "scratch", "data", "logs"])}},
            "volumes": [
                {"name": "logs", "dataVolume": {"name": "web-logs"}},
                {"name": "data", "dataVolume": {"name": "web-data"}},
                {"name": "scratch", "emptyDisk": {}},
                {"name": "root", "containerDisk": {"image": "x"}},
            ],
        });
        assert_eq!(main_claim(&machine).as_deref(), Some("web-data"));
        let restored = json!({
            "domain": {"devices": {"disks": disks(&["root"])}},
            "volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": "restore-1-root"}}],
        });
        assert_eq!(main_claim(&restored).as_deref(), Some("restore-1-root"));
        assert_eq!(main_claim(&json!({"domain": {}})), None);
    }

    #[test]
    fn nothing_is_asked_for_that_is_there() {
        for (requested, size_gb, enough) in [
            ("20Gi", 20, true),
            ("20Gi", 21, false),
            ("21.1Gi", 21, true),
            ("21474836480", 20, true),
            ("2Ti", 40, true),
            ("nonsense", 1, false),
        ] {
            assert_eq!(
                is_enough(&Value::from(requested), size_gb),
                enough,
                "{requested} {size_gb}"
            );
        }
        assert!(!is_enough(&Value::Null, 1));
        assert!(!is_enough(&Value::from("1Gi"), i32::MAX));
    }

    #[test]
    fn a_class_that_cannot_expand_is_no_missing_right() {
        let said = "persistentvolumeclaims \"web-root\" is forbidden: only dynamically provisioned pvc can be resized \
                    and the storageclass that provisions the pvc must support resize";
        let explained_as = explained(ProviderError::Forbidden(said.to_owned()));
        assert!(matches!(explained_as, ProviderError::Invalid { reason, .. } if reason == NOT_EXPANDABLE));
        let right = ProviderError::Forbidden("User \"u\" cannot patch resource".to_owned());
        assert_eq!(explained(right.clone()), right);
    }
}
