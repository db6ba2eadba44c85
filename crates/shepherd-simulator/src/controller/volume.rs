//! Data volumes: made from a machine's templates, filled, and bound to a claim.

use serde_json::{Value, json};

use super::Context;
use crate::resources::{CLAIMS, DATA_VOLUMES, STORAGE_CLASSES};
use crate::store::Store;
use crate::{host, object};

/// How the data volumes of a machine are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Volumes {
    /// All are there and filled; or none is needed.
    Ready,
    /// At least one is on its way.
    Pending,
    /// At least one cannot be had.
    Failed,
}

/// Creates missing data volumes of a machine and says how all of them are.
pub(crate) fn ensure(context: &mut Context<'_>, vm: &Value) -> Volumes {
    let templates = vm["spec"]["dataVolumeTemplates"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if templates.is_empty() {
        return Volumes::Ready;
    }
    if !context.has_volumes {
        return Volumes::Failed;
    }
    let mut overall = Volumes::Ready;
    for template in templates {
        let found = context
            .store
            .get(&DATA_VOLUMES, object::namespace(vm), object::name(template));
        match found.as_ref().and_then(|volume| volume["status"]["phase"].as_str()) {
            Some("Succeeded") => {}
            Some("Failed") => return Volumes::Failed,
            _ => overall = Volumes::Pending,
        }
        if found.is_none() {
            create(context.store, vm, template);
        }
    }
    overall
}

fn create(store: &mut Store, vm: &Value, template: &Value) {
    let mut volume = json!({
        "apiVersion": DATA_VOLUMES.api_version(),
        "kind": DATA_VOLUMES.kind,
        "metadata": template["metadata"],
        "spec": template["spec"],
    });
    let metadata = object::metadata_mut(&mut volume);
    metadata.insert("namespace".to_owned(), Value::from(object::namespace(vm)));
    metadata.insert("uid".to_owned(), Value::from(host::new_uid()));
    metadata.insert("creationTimestamp".to_owned(), Value::from(host::timestamp()));
    metadata.insert("generation".to_owned(), Value::from(1));
    metadata.insert("ownerReferences".to_owned(), json!([object::controller_reference(vm)]));
    store.put(&DATA_VOLUMES, volume);
}

/// Moves a data volume on by one phase. One whose storage class does not exist stays Pending.
pub(crate) fn advance(context: &mut Context<'_>, volume: &Value) {
    if object::is_deleting(volume) || is_owner_frozen(context.store, volume) {
        return;
    }
    let uid = object::uid(volume);
    let half = context.timing.provision / 2;
    let phase = volume["status"]["phase"].as_str().unwrap_or_default();
    let (next, progress) = match phase {
        "" => ("Pending", "N/A"),
        "Pending" if has_storage(context.store, volume) => ("ImportInProgress", "50.00%"),
        "ImportInProgress" => ("Succeeded", "100.0%"),
        _ => return,
    };
    if !phase.is_empty() && !context.timers.passed(format!("{phase}/{uid}"), half) {
        return;
    }
    let mut filled = volume.clone();
    let claim = Value::from(object::name(volume));
    let status = object::status_mut(&mut filled);
    status.insert("phase".to_owned(), Value::from(next));
    status.insert("progress".to_owned(), Value::from(progress));
    status.insert("claimName".to_owned(), claim);
    context.store.put(&DATA_VOLUMES, filled);
    if next == "Succeeded" {
        bind(context.store, volume);
    }
}

/// Gives a bound claim what it asks for by now; a claim that grew while it was not bound waits for that.
pub(crate) fn expand(store: &mut Store, claim: &Value) {
    let asked = &claim["spec"]["resources"]["requests"]["storage"];
    if claim["status"]["phase"] != "Bound" || asked.is_null() || claim["status"]["capacity"]["storage"] == *asked {
        return;
    }
    let mut expanded = claim.clone();
    object::status_mut(&mut expanded).insert("capacity".to_owned(), json!({"storage": asked}));
    store.put(&CLAIMS, expanded);
}

fn is_owner_frozen(store: &Store, volume: &Value) -> bool {
    let owners = volume["metadata"]["ownerReferences"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    owners.iter().any(|owner| {
        let name = owner["name"].as_str().unwrap_or_default();
        store
            .frozen()
            .contains(&(object::namespace(volume).to_owned(), name.to_owned()))
    })
}

/// The part of a data volume that describes its claim; `storage` is the newer name.
fn claim_spec(volume: &Value) -> &Value {
    let spec = &volume["spec"];
    if spec["storage"].is_object() {
        &spec["storage"]
    } else {
        &spec["pvc"]
    }
}

fn has_storage(store: &Store, volume: &Value) -> bool {
    match claim_spec(volume)["storageClassName"].as_str() {
        Some(name) => store.get(&STORAGE_CLASSES, "", name).is_some(),
        None => store.list(&STORAGE_CLASSES, "").iter().any(|class| is_default(class)),
    }
}

fn is_default(class: &Value) -> bool {
    class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
}

fn bind(store: &mut Store, volume: &Value) {
    let (namespace, name) = (object::namespace(volume), object::name(volume));
    if store.get(&CLAIMS, namespace, name).is_some() {
        return;
    }
    let wanted = claim_spec(volume);
    let default_class = || {
        let classes = store.list(&STORAGE_CLASSES, "");
        classes
            .iter()
            .find(|class| is_default(class))
            .map(|class| object::name(class).to_owned())
    };
    let class = wanted["storageClassName"]
        .as_str()
        .map(str::to_owned)
        .or_else(default_class);
    let access_modes = match wanted["accessModes"].as_array() {
        Some(modes) => json!(modes),
        None => json!(["ReadWriteOnce"]),
    };
    let capacity = &wanted["resources"]["requests"]["storage"];
    let claim = json!({
        "apiVersion": "v1",
        "kind": CLAIMS.kind,
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": host::new_uid(),
            "creationTimestamp": host::timestamp(),
            "ownerReferences": [object::controller_reference(volume)],
        },
        "spec": {
            "accessModes": access_modes,
            "resources": wanted["resources"],
            "storageClassName": class,
            "volumeName": format!("pvc-{}", object::uid(volume)),
        },
        "status": {"phase": "Bound", "accessModes": access_modes, "capacity": {"storage": capacity}},
    });
    store.put(&CLAIMS, claim);
}
