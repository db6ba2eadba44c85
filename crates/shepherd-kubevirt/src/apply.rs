//! Writing machines: server-side apply of a document, and deletion.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use shepherd_domain::labels;
use shepherd_domain::rendering::VmDocument;
use shepherd_domain::vm::ObservedVm;
use shepherd_ports::providers::{ApplyMode, ProviderError};

use crate::errors::{is_absent, lacks, provider_error};
use crate::{machines, mapping};

/// Applies the document, then its cloud-init Secret, which the machine owns and which therefore comes second.
///
/// The machine does not boot before its Secret is there, because its pod waits for the volume. A second call with
/// the same document finishes what the first one left.
pub(crate) async fn apply_vm(
    client: &Client,
    document: &VmDocument,
    mode: ApplyMode,
) -> Result<ObservedVm, ProviderError> {
    let (namespace, name) = address(&document.object)?;
    let api = machines::machines(client, namespace);
    let applied = api
        .patch(name, &params(mode), &Patch::Apply(&document.object))
        .await
        .map_err(|error| provider_error(&error))?;
    match mode {
        ApplyMode::DryRun => mapping::observe_dry_run(applied),
        ApplyMode::Persist | ApplyMode::Create => {
            let observed = mapping::observe(&applied, None)?;
            if let Some(secret) = &document.cloud_init {
                apply_secret(client, secret, &applied).await?;
            }
            Ok(observed)
        }
    }
}

/// Deletes the machine after everything it owns, if it is still the object with this uid. Absence is success.
pub(crate) async fn delete_vm(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: Option<&str>,
) -> Result<(), ProviderError> {
    let mut params = DeleteParams::foreground();
    if let Some(uid) = uid {
        params = params.preconditions(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        });
    }
    match machines::machines(client, namespace).delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(provider_error(&error)),
    }
}

/// Unknown fields are refused rather than dropped: what is stored must be what was approved.
pub(crate) fn params(mode: ApplyMode) -> PatchParams {
    let params = PatchParams::apply(labels::MANAGER).validation_strict();
    match mode {
        ApplyMode::Create => params,
        ApplyMode::Persist => params.force(),
        ApplyMode::DryRun => params.force().dry_run(),
    }
}

async fn apply_secret(client: &Client, secret: &Value, owner: &DynamicObject) -> Result<(), ProviderError> {
    let owned = owned_by(secret, owner)?;
    let (namespace, name) = address(&owned)?;
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    // Only metadata is asked back: an answer that fails to parse is logged by the client, and user data must not be.
    api.patch_metadata(name, &params(ApplyMode::Persist), &Patch::Apply(&owned))
        .await
        .map_err(|error| provider_error(&error))?;
    Ok(())
}

fn owned_by(secret: &Value, owner: &DynamicObject) -> Result<Value, ProviderError> {
    let name = owner.metadata.name.as_deref().ok_or_else(|| lacks("metadata.name"))?;
    let uid = owner.metadata.uid.as_deref().ok_or_else(|| lacks("metadata.uid"))?;
    let mut owned = secret.clone();
    let metadata = owned
        .get_mut("metadata")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| lacks("metadata of the Secret"))?;
    let reference = json!({
        "apiVersion": machines::API_VERSION,
        "kind": machines::KIND,
        "name": name,
        "uid": uid,
        "controller": true,
        "blockOwnerDeletion": true,
    });
    metadata.insert("ownerReferences".to_owned(), json!([reference]));
    Ok(owned)
}

/// Namespace and name of a document.
pub(crate) fn address(object: &Value) -> Result<(&str, &str), ProviderError> {
    let part = |field: &str| object["metadata"][field].as_str().filter(|text| !text.is_empty());
    match (part("namespace"), part("name")) {
        (Some(namespace), Some(name)) => Ok((namespace, name)),
        (None, _) => Err(lacks("metadata.namespace of the document")),
        (_, None) => Err(lacks("metadata.name of the document")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_belongs_to_the_machine() {
        let owner: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"},
        }))
        .unwrap();
        let secret = json!({"kind": "Secret", "metadata": {"name": "web-cloudinit", "namespace": "shop"}, "data": {"userdata": "eA=="}});
        let owned = owned_by(&secret, &owner).unwrap();
        assert_eq!(owned["metadata"]["ownerReferences"][0]["uid"], "u-1");
        assert_eq!(owned["metadata"]["ownerReferences"][0]["blockOwnerDeletion"], true);
        assert_eq!(owned["data"], secret["data"]);
    }

    #[test]
    fn a_document_without_address_goes_nowhere() {
        assert!(matches!(
            address(&json!({"metadata": {"name": "web"}})),
            Err(ProviderError::Schema(_))
        ));
        assert!(matches!(
            address(&json!({"metadata": {"namespace": "shop", "name": ""}})),
            Err(ProviderError::Schema(_))
        ));
    }
}
