//! Snapshots: lock the machine, keep its definition and what its volumes are made of, let it go again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Context, conditions};
use crate::resources::{CLAIMS, SNAPSHOT_CONTENTS, SNAPSHOTS, VIRTUAL_MACHINES};
use crate::store::Store;
use crate::{host, object};

/// KubeVirt's finalizer on snapshots, which takes the content along.
const FINALIZER: &str = "snapshot.kubevirt.io/vmsnapshot-protection";
/// The field of a machine's status that names the snapshot being made.
const LOCK: &str = "snapshotInProgress";
/// How long a snapshot may take that names no `failureDeadline`.
const DEADLINE: Duration = Duration::from_secs(5 * 60);

/// Moves a snapshot on.
pub(crate) fn advance(context: &mut Context<'_>, snapshot: &Value) {
    let (namespace, source) = (object::namespace(snapshot), source_of(snapshot));
    if context.is_frozen(namespace, source) {
        return;
    }
    let vm = context.store.get(&VIRTUAL_MACHINES, namespace, source);
    if object::is_deleting(snapshot) {
        return delete(context, snapshot, vm.as_deref());
    }
    let phase = snapshot["status"]["phase"].as_str().unwrap_or_default();
    match phase {
        "Succeeded" | "Failed" => return,
        "" => return begin(context, snapshot),
        _ => {}
    }
    let uid = object::uid(snapshot);
    let deadline = duration_of(&snapshot["spec"]["failureDeadline"]).unwrap_or(DEADLINE);
    if !deadline.is_zero() && context.timers.passed(format!("snapshot-deadline/{uid}"), deadline) {
        return fail(context, snapshot, vm.as_deref());
    }
    let Some(vm) = vm.filter(|vm| !object::is_deleting(vm)) else {
        return wait(context, snapshot, "Source does not exist");
    };
    match vm["status"][LOCK].as_str() {
        Some(holder) if holder == object::name(snapshot) => work(context, snapshot, &vm),
        Some(_) => wait(context, snapshot, "Source not locked"),
        None if vm["status"]["restoreInProgress"].is_string() => wait(context, snapshot, "Source not locked"),
        None => lock(context, snapshot, &vm),
    }
}

fn source_of(snapshot: &Value) -> &str {
    snapshot["spec"]["source"]["name"].as_str().unwrap_or_default()
}

fn begin(context: &mut Context<'_>, snapshot: &Value) {
    let mut next = snapshot.clone();
    object::add_finalizer(&mut next, FINALIZER);
    let status = object::status_mut(&mut next);
    status.insert("phase".to_owned(), Value::from("InProgress"));
    status.insert("readyToUse".to_owned(), Value::from(false));
    context.store.put(&SNAPSHOTS, next);
}

fn wait(context: &mut Context<'_>, snapshot: &Value, why: &str) {
    let mut next = snapshot.clone();
    conditions::set(&mut next, "Progressing", false, why, "");
    conditions::set(&mut next, "Ready", false, "Not ready", "");
    context.store.put(&SNAPSHOTS, next);
}

fn lock(context: &mut Context<'_>, snapshot: &Value, vm: &Arc<Value>) {
    let mut locked = Value::clone(vm);
    object::status_mut(&mut locked).insert(LOCK.to_owned(), Value::from(object::name(snapshot)));
    context.store.put(&VIRTUAL_MACHINES, locked);
    let mut next = snapshot.clone();
    let indications: &[&str] = if vm["status"]["created"] == true {
        &["Online", "NoGuestAgent"]
    } else {
        &[]
    };
    let status = object::status_mut(&mut next);
    status.insert("sourceUID".to_owned(), Value::from(object::uid(vm)));
    status.insert("indications".to_owned(), json!(indications));
    conditions::set(
        &mut next,
        "Progressing",
        true,
        "Source locked and operation in progress",
        "",
    );
    conditions::set(&mut next, "Ready", false, "Not ready", "");
    context.store.put(&SNAPSHOTS, next);
}

/// Takes a lock off a machine that this object put there.
pub(super) fn unlock(store: &mut Store, vm: Option<&Value>, lock: &str, holder: &str) {
    let Some(vm) = vm.filter(|vm| vm["status"][lock] == holder) else {
        return;
    };
    let mut unlocked = vm.clone();
    object::status_mut(&mut unlocked).remove(lock);
    store.put(&VIRTUAL_MACHINES, unlocked);
}

/// First makes the content, then says that it can be used; each takes half of the time.
fn work(context: &mut Context<'_>, snapshot: &Value, vm: &Value) {
    let uid = object::uid(snapshot);
    let half = context.timing.provision / 2;
    let (namespace, name) = (object::namespace(snapshot), format!("vmsnapshot-content-{uid}"));
    let Some(content) = context.store.get(&SNAPSHOT_CONTENTS, namespace, &name) else {
        if context.timers.passed(format!("snapshot-content/{uid}"), half) {
            let content = content(context.store, snapshot, vm, &name);
            context.store.put(&SNAPSHOT_CONTENTS, content);
            let mut next = snapshot.clone();
            object::status_mut(&mut next).insert("virtualMachineSnapshotContentName".to_owned(), Value::from(name));
            context.store.put(&SNAPSHOTS, next);
        }
        return;
    };
    if !context.timers.passed(format!("snapshot-ready/{uid}"), half) {
        return;
    }
    let now = host::timestamp();
    let mut ready = Value::clone(&content);
    ready["status"] = json!({"creationTime": now, "readyToUse": true});
    context.store.put(&SNAPSHOT_CONTENTS, ready);
    let mut next = snapshot.clone();
    let status = object::status_mut(&mut next);
    status.insert("creationTime".to_owned(), Value::from(now));
    status.insert("readyToUse".to_owned(), Value::from(true));
    status.insert("phase".to_owned(), Value::from("Succeeded"));
    status.insert("snapshotVolumes".to_owned(), volumes(&content));
    conditions::set(&mut next, "Progressing", false, "Operation complete", "");
    conditions::set(&mut next, "Ready", true, "Operation complete", "");
    context.store.put(&SNAPSHOTS, next);
    unlock(context.store, Some(vm), LOCK, object::name(snapshot));
}

/// The machine as it is, and a backup of every volume that is a claim.
fn content(store: &Store, snapshot: &Value, vm: &Value, name: &str) -> Value {
    let namespace = object::namespace(snapshot);
    let mut backups = Vec::new();
    for (volume, claim) in claims(&vm["spec"]) {
        let found = store.get(&CLAIMS, namespace, claim);
        let spec = found.map(|found| found["spec"].clone()).unwrap_or_default();
        backups.push(json!({
            "volumeName": volume,
            "persistentVolumeClaim": {"metadata": {"name": claim, "namespace": namespace}, "spec": spec},
            "volumeSnapshotName": format!("vmsnapshot-{}-volume-{volume}", object::uid(snapshot)),
        }));
    }
    let mut content = json!({
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "virtualMachineSnapshotName": object::name(snapshot),
            "source": {"virtualMachine": {"metadata": vm["metadata"], "spec": vm["spec"]}},
            "volumeBackups": backups,
        },
        "status": {"readyToUse": false},
    });
    object::as_map(&mut content["spec"]["source"]["virtualMachine"]["metadata"]).remove("managedFields");
    crate::seed::complete(&SNAPSHOT_CONTENTS, &mut content);
    content
}

/// The volumes of a machine that are claims, with the claims' names; a data volume's claim has its name.
pub(super) fn claims(spec: &Value) -> Vec<(&str, &str)> {
    let volumes = spec["template"]["spec"]["volumes"].as_array().into_iter().flatten();
    volumes
        .filter_map(|volume| {
            let claim = volume["dataVolume"]["name"]
                .as_str()
                .or(volume["persistentVolumeClaim"]["claimName"].as_str())?;
            Some((volume["name"].as_str()?, claim))
        })
        .collect()
}

fn volumes(content: &Value) -> Value {
    let backups = content["spec"]["volumeBackups"].as_array().into_iter().flatten();
    let included: Vec<&Value> = backups.map(|backup| &backup["volumeName"]).collect();
    let volumes = &content["spec"]["source"]["virtualMachine"]["spec"]["template"]["spec"]["volumes"];
    let all = volumes.as_array().into_iter().flatten().map(|volume| &volume["name"]);
    let excluded: Vec<&Value> = all.filter(|name| !included.contains(name)).collect();
    json!({"includedVolumes": included, "excludedVolumes": excluded})
}

fn fail(context: &mut Context<'_>, snapshot: &Value, vm: Option<&Value>) {
    let why = "snapshot deadline exceeded";
    let mut next = snapshot.clone();
    let status = object::status_mut(&mut next);
    status.insert("phase".to_owned(), Value::from("Failed"));
    status.insert("error".to_owned(), json!({"message": why, "time": host::timestamp()}));
    conditions::set(&mut next, "Progressing", false, why, "");
    conditions::set(&mut next, "Ready", false, "Not ready", "");
    conditions::set(&mut next, "Failure", true, why, "");
    context.store.put(&SNAPSHOTS, next);
    unlock(context.store, vm, LOCK, object::name(snapshot));
}

/// Unlocks the machine, removes the content unless it is to be kept, and lets go of the snapshot.
fn delete(context: &mut Context<'_>, snapshot: &Value, vm: Option<&Value>) {
    if !object::has_finalizer(snapshot, FINALIZER) {
        return;
    }
    unlock(context.store, vm, LOCK, object::name(snapshot));
    if snapshot["spec"]["deletionPolicy"] != "Retain"
        && let Some(content) = snapshot["status"]["virtualMachineSnapshotContentName"].as_str()
    {
        context
            .store
            .remove(&SNAPSHOT_CONTENTS, object::namespace(snapshot), content);
    }
    context.let_go(&SNAPSHOTS, snapshot, FINALIZER);
}

/// A duration as Go writes it: `1h2m3.5s`, `250ms`.
fn duration_of(value: &Value) -> Option<Duration> {
    let mut rest = value.as_str()?;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let length = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..length] {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number * seconds).ok()?;
        rest = &rest[length..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(duration_of(&json!("5m0s")), Some(Duration::from_secs(300)));
        assert_eq!(duration_of(&json!("1h0.5s")), Some(Duration::from_millis(3_600_500)));
        assert_eq!(duration_of(&json!("250ms")), Some(Duration::from_millis(250)));
        for nonsense in [json!("5"), json!("m"), json!("5 m"), json!(5)] {
            assert_eq!(duration_of(&nonsense), None, "{nonsense}");
        }
    }
}
