//! Clones: a machine is saved, the snapshot is restored under another name, and both are tidied away. As in
//! KubeVirt the copy is stopped.

use serde_json::{Value, json};

use super::{Context, conditions};
use crate::resources::{CLONES, RESTORES, ResourceDef, SNAPSHOT_CONTENTS, SNAPSHOTS, VIRTUAL_MACHINES};
use crate::{host, object};

/// Moves a clone on by one phase.
pub(crate) fn advance(context: &mut Context<'_>, clone: &Value) {
    let source = &clone["spec"]["source"];
    let (namespace, name) = (object::namespace(clone), source["name"].as_str().unwrap_or_default());
    if object::is_deleting(clone) || context.is_frozen(namespace, name) {
        return;
    }
    let from_snapshot = source["kind"] == "VirtualMachineSnapshot";
    match clone["status"]["phase"].as_str() {
        None => begin(context, clone, from_snapshot),
        Some("SnapshotInProgress") => copy(context, clone, from_snapshot),
        Some("RestoreInProgress") => await_restore(context, clone),
        Some("CreatingTargetVM") => finish(context, clone),
        Some(_) => {}
    }
}

fn text<'a>(clone: &'a Value, section: &str, field: &str) -> &'a str {
    clone[section][field].as_str().unwrap_or_default()
}

fn target_of(clone: &Value) -> &str {
    text(&clone["spec"], "target", "name")
}

fn write(context: &mut Context<'_>, clone: &Value, phase: &str, fields: &[(&str, &str)]) {
    let mut next = clone.clone();
    let status = object::status_mut(&mut next);
    status.insert("phase".to_owned(), Value::from(phase));
    for (field, value) in fields {
        status.insert((*field).to_owned(), Value::from(*value));
    }
    let (progressing, ready, why) = match phase {
        "Succeeded" => (false, true, "Operation complete"),
        "Failed" => (false, false, "Operation failed"),
        _ => (true, false, "Still processing"),
    };
    conditions::set(&mut next, "Progressing", progressing, why, "");
    conditions::set(&mut next, "Ready", ready, why, "");
    context.store.put(&CLONES, next);
}

fn fail(context: &mut Context<'_>, clone: &Value, why: &str) {
    let mut failed = clone.clone();
    conditions::set(&mut failed, "Failure", true, "Operation failed", why);
    write(context, &failed, "Failed", &[]);
}

/// Starts with a snapshot of the machine, or with the one that is the source. A source that does not exist yet
/// is waited for.
fn begin(context: &mut Context<'_>, clone: &Value, from_snapshot: bool) {
    let namespace = object::namespace(clone);
    if context
        .store
        .get(&VIRTUAL_MACHINES, namespace, target_of(clone))
        .is_some()
    {
        return fail(context, clone, "target VirtualMachine already exists");
    }
    let source = text(&clone["spec"], "source", "name");
    let def = if from_snapshot { &SNAPSHOTS } else { &VIRTUAL_MACHINES };
    if context.store.get(def, namespace, source).is_none() {
        let mut waiting = clone.clone();
        conditions::set(
            &mut waiting,
            "Progressing",
            false,
            "Pending",
            "the source does not exist",
        );
        conditions::set(&mut waiting, "Ready", false, "Pending", "");
        context.store.put(&CLONES, waiting);
        return;
    }
    if from_snapshot {
        return write(context, clone, "SnapshotInProgress", &[("snapshotName", source)]);
    }
    let name = format!("tmp-snapshot-{}", object::uid(clone));
    let spec = json!({"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": source}});
    create(context, &SNAPSHOTS, clone, &name, spec);
    write(context, clone, "SnapshotInProgress", &[("snapshotName", name.as_str())]);
}

fn create(context: &mut Context<'_>, def: &ResourceDef, clone: &Value, name: &str, spec: Value) {
    let mut object = json!({
        "metadata": {
            "namespace": object::namespace(clone),
            "name": name,
            "ownerReferences": [object::controller_reference(clone)],
        },
        "spec": spec,
    });
    crate::seed::complete(def, &mut object);
    context.store.put(def, object);
}

/// Restores the snapshot as the target once it is ready.
fn copy(context: &mut Context<'_>, clone: &Value, from_snapshot: bool) {
    let (namespace, name) = (object::namespace(clone), text(clone, "status", "snapshotName"));
    let Some(snapshot) = context.store.get(&SNAPSHOTS, namespace, name) else {
        return fail(context, clone, "the snapshot has gone");
    };
    if snapshot["status"]["phase"] == "Failed" {
        return fail(context, clone, "the snapshot has failed");
    }
    if snapshot["status"]["readyToUse"] != true {
        return;
    }
    let content = snapshot["status"]["virtualMachineSnapshotContentName"]
        .as_str()
        .unwrap_or_default();
    let Some(content) = context.store.get(&SNAPSHOT_CONTENTS, namespace, content) else {
        return fail(context, clone, "the snapshot's content has gone");
    };
    let mut patches = patches(clone, &content["spec"]["source"]["virtualMachine"]);
    patches.extend(clone["spec"]["patches"].as_array().into_iter().flatten().cloned());
    let restore = format!("tmp-restore-{}", object::uid(clone));
    let spec = json!({
        "target": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": target_of(clone)},
        "virtualMachineSnapshotName": name,
        "patches": patches,
    });
    create(context, &RESTORES, clone, &restore, spec);
    let snapshot = if from_snapshot { "" } else { name };
    let fields = [("restoreName", restore.as_str()), ("snapshotName", snapshot)];
    write(context, clone, "RestoreInProgress", &fields);
}

/// What the copy has otherwise than its source, as JSON patches.
fn patches(clone: &Value, source: &Value) -> Vec<Value> {
    let spec = &clone["spec"];
    let mut operations = Vec::new();
    for (path, found, filters) in [
        ("/metadata", &source["metadata"], spec),
        (
            "/spec/template/metadata",
            &source["spec"]["template"]["metadata"],
            &spec["template"],
        ),
    ] {
        for (section, filter) in [("labels", "labelFilters"), ("annotations", "annotationFilters")] {
            if let Some(entries) = found[section].as_object() {
                let mut kept = entries.clone();
                kept.retain(|key, _| passes(key, &filters[filter]));
                operations.push(json!({"op": "add", "path": format!("{path}/{section}"), "value": kept}));
            }
        }
    }
    let domain = &source["spec"]["template"]["spec"]["domain"];
    let interfaces = domain["devices"]["interfaces"].as_array().into_iter().flatten();
    for (index, interface) in interfaces.enumerate() {
        let name = interface["name"].as_str().unwrap_or_default();
        let path = format!("/spec/template/spec/domain/devices/interfaces/{index}/macAddress");
        let address = &spec["newMacAddresses"][name];
        if address.is_string() {
            operations.push(json!({"op": "add", "path": path, "value": address}));
        } else if interface["macAddress"].is_string() {
            operations.push(json!({"op": "remove", "path": path}));
        }
    }
    // Two machines must not have the same identity.
    if domain["firmware"].is_object() {
        let mut firmware = domain["firmware"].clone();
        let map = object::as_map(&mut firmware);
        map.remove("uuid");
        map.remove("serial");
        operations.push(json!({"op": "add", "path": "/spec/template/spec/domain/firmware", "value": firmware}));
    }
    if let Some(serial) = spec["newSMBiosSerial"].as_str() {
        if !domain["firmware"].is_object() {
            operations.push(json!({"op": "add", "path": "/spec/template/spec/domain/firmware", "value": {}}));
        }
        let path = "/spec/template/spec/domain/firmware/serial";
        operations.push(json!({"op": "add", "path": path, "value": serial}));
    }
    operations
        .into_iter()
        .map(|operation| Value::from(operation.to_string()))
        .collect()
}

/// Whether a key stays: without filters always, else when one matches and none that is negated does.
fn passes(key: &str, filters: &Value) -> bool {
    let Some(filters) = filters.as_array() else { return true };
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == pattern,
    };
    let texts = || filters.iter().filter_map(Value::as_str);
    let is_excluded = texts().filter_map(|filter| filter.strip_prefix('!')).any(matches);
    let is_included = texts().filter(|filter| !filter.starts_with('!')).any(matches);
    is_included && !is_excluded
}

fn await_restore(context: &mut Context<'_>, clone: &Value) {
    let name = text(clone, "status", "restoreName");
    let Some(restore) = context.store.get(&RESTORES, object::namespace(clone), name) else {
        return fail(context, clone, "the restore has gone");
    };
    if let Some(failure) = conditions::get(&restore, "Failure").filter(|failure| failure["status"] == "True") {
        return fail(context, clone, failure["reason"].as_str().unwrap_or_default());
    }
    if restore["status"]["complete"] == true {
        write(context, clone, "CreatingTargetVM", &[]);
    }
}

/// Tidies up once the target is there.
fn finish(context: &mut Context<'_>, clone: &Value) {
    let (namespace, target) = (object::namespace(clone), target_of(clone));
    if context.store.get(&VIRTUAL_MACHINES, namespace, target).is_none() {
        return;
    }
    for (def, field) in [(&RESTORES, "restoreName"), (&SNAPSHOTS, "snapshotName")] {
        if let Some(object) = context.store.get(def, namespace, text(clone, "status", field)) {
            let mut leaving = Value::clone(&object);
            let now = Value::from(host::timestamp());
            object::metadata_mut(&mut leaving).insert("deletionTimestamp".to_owned(), now);
            context.store.put(def, leaving);
        }
    }
    let mut done = clone.clone();
    let status = object::status_mut(&mut done);
    status.remove("restoreName");
    status.remove("snapshotName");
    let created = host::timestamp();
    let fields = [("targetName", target), ("creationTime", created.as_str())];
    write(context, &done, "Succeeded", &fields);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_keep_what_they_name_and_drop_what_they_negate() {
        for (filters, kept) in [
            (json!(null), true),
            (json!(["*"]), true),
            (json!(["shop/*"]), true),
            (json!(["shop/tier"]), true),
            (json!(["*", "!shop/*"]), false),
            (json!(["!shop/tier", "*"]), false),
            (json!(["bank/*"]), false),
        ] {
            assert_eq!(passes("shop/tier", &filters), kept, "{filters}");
        }
    }
}
