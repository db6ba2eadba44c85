//! Restores: put a machine back as a snapshot has it, or make a new one from it. The machine has to be stopped.

use std::time::Duration;

use serde_json::{Value, json};

use super::snapshot::{claims, unlock};
use super::{Context, conditions};
use crate::patch::json as json_patch;
use crate::resources::{CLAIMS, DATA_VOLUMES, INSTANCES, RESTORES, SNAPSHOT_CONTENTS, SNAPSHOTS, VIRTUAL_MACHINES};
use crate::{host, object};

/// KubeVirt's finalizer on restores, which unlocks the machine.
const FINALIZER: &str = "snapshot.kubevirt.io/vmrestore-protection";
/// The annotation that tells a machine's last restore.
const LAST_RESTORE: &str = "restore.kubevirt.io/lastRestoreUID";
/// The field of a machine's status that names the restore under way.
const LOCK: &str = "restoreInProgress";
/// How long a restore waits for a running machine unless told otherwise.
const GRACE: Duration = Duration::from_secs(5 * 60);

/// Moves a restore on.
pub(crate) fn advance(context: &mut Context<'_>, restore: &Value) {
    let namespace = object::namespace(restore);
    let target = restore["spec"]["target"]["name"].as_str().unwrap_or_default();
    if context.is_frozen(namespace, target) {
        return;
    }
    let vm = context.store.get(&VIRTUAL_MACHINES, namespace, target);
    let vm = vm.as_deref();
    if object::is_deleting(restore) {
        if object::has_finalizer(restore, FINALIZER) {
            unlock(context.store, vm, LOCK, object::name(restore));
            context.let_go(&RESTORES, restore, FINALIZER);
        }
        return;
    }
    if restore["status"]["complete"] == true || conditions::is_true(restore, "Failure") {
        return;
    }
    if !restore["status"].is_object() {
        return begin(context, restore, vm);
    }
    let content = match content_of(context, restore) {
        Ok(Some(content)) => content,
        Ok(None) => return,
        Err(why) => return fail(context, restore, vm, &why),
    };
    if let Some(vm) = vm {
        if context.store.get(&INSTANCES, namespace, target).is_some() {
            return wait_for_stop(context, restore, vm);
        }
        match vm["status"][LOCK].as_str() {
            Some(holder) if holder == object::name(restore) => {}
            Some(_) => return progress(context, restore, false, "Waiting for target to be ready"),
            None if vm["status"]["snapshotInProgress"].is_string() => {
                return progress(context, restore, false, "Waiting for target to be ready");
            }
            None => {
                let mut locked = vm.clone();
                object::status_mut(&mut locked).insert(LOCK.to_owned(), Value::from(object::name(restore)));
                context.store.put(&VIRTUAL_MACHINES, locked);
                return progress(context, restore, true, "Creating new PVCs");
            }
        }
    }
    let key = format!("restore/{}", object::uid(restore));
    if context.timers.passed(key, context.timing.provision)
        && let Err(why) = finish(context, restore, vm, &content)
    {
        fail(context, restore, vm, &why);
    }
}

fn begin(context: &mut Context<'_>, restore: &Value, vm: Option<&Value>) {
    let mut next = restore.clone();
    object::add_finalizer(&mut next, FINALIZER);
    if let Some(vm) = vm.filter(|_| object::owner_uids(restore).is_empty()) {
        let owners = json!([object::controller_reference(vm)]);
        object::metadata_mut(&mut next).insert("ownerReferences".to_owned(), owners);
    }
    object::status_mut(&mut next).insert("complete".to_owned(), Value::from(false));
    let why = "Initializing VirtualMachineRestore";
    conditions::set(&mut next, "Progressing", true, why, "");
    conditions::set(&mut next, "Ready", false, why, "");
    context.store.put(&RESTORES, next);
}

fn progress(context: &mut Context<'_>, restore: &Value, progressing: bool, why: &str) {
    let mut next = restore.clone();
    conditions::set(&mut next, "Progressing", progressing, why, "");
    conditions::set(&mut next, "Ready", false, why, "");
    context.store.put(&RESTORES, next);
}

/// The content to restore; none yet while the snapshot is missing or being made.
fn content_of(context: &mut Context<'_>, restore: &Value) -> Result<Option<Value>, String> {
    let namespace = object::namespace(restore);
    let name = restore["spec"]["virtualMachineSnapshotName"]
        .as_str()
        .unwrap_or_default();
    let Some(snapshot) = context.store.get(&SNAPSHOTS, namespace, name) else {
        progress(
            context,
            restore,
            false,
            &format!("VirtualMachineSnapshot {name:?} does not exist"),
        );
        return Ok(None);
    };
    if snapshot["status"]["phase"] == "Failed" {
        return Err(format!("VirtualMachineSnapshot {name:?} failed and is invalid to use"));
    }
    if snapshot["status"]["readyToUse"] != true {
        progress(
            context,
            restore,
            false,
            &format!("VirtualMachineSnapshot {name:?} is not ready to use"),
        );
        return Ok(None);
    }
    let content = snapshot["status"]["virtualMachineSnapshotContentName"]
        .as_str()
        .unwrap_or_default();
    match context.store.get(&SNAPSHOT_CONTENTS, namespace, content) {
        Some(content) => Ok(Some(Value::clone(&content))),
        None => Err(format!("VirtualMachineSnapshotContent {content:?} does not exist")),
    }
}

/// What becomes of a restore whose machine runs is up to its readiness policy.
fn wait_for_stop(context: &mut Context<'_>, restore: &Value, vm: &Value) {
    let waiting = "Waiting for target VM to be powered off. Please stop the restore target to proceed with restore";
    match restore["spec"]["targetReadinessPolicy"].as_str() {
        Some("FailImmediate") => {
            let why = "Restore target VMI must be powered off before restore operation";
            fail(context, restore, Some(vm), why);
        }
        Some("WaitEventually") => progress(context, restore, false, waiting),
        Some("StopTarget") => {
            let mut stopping = vm.clone();
            halt(&mut stopping);
            context.store.put(&VIRTUAL_MACHINES, stopping);
            let why = "Automatically stopping restore target for restore operation";
            progress(context, restore, false, why);
        }
        _ => {
            let key = format!("restore-grace/{}", object::uid(restore));
            if context.timers.passed(key, GRACE) {
                let why = "Restore target failed to be ready within 5m0s. Please power off the target VM before \
                           attempting restore";
                fail(context, restore, Some(vm), why);
            } else {
                progress(
                    context,
                    restore,
                    false,
                    &format!("{waiting}, or the operation will fail after 5m0s"),
                );
            }
        }
    }
}

/// Switches a machine off in the field it uses.
fn halt(vm: &mut Value) {
    if vm["spec"]["running"].is_boolean() {
        vm["spec"]["running"] = Value::from(false);
    } else {
        vm["spec"]["runStrategy"] = Value::from("Halted");
    }
}

fn fail(context: &mut Context<'_>, restore: &Value, vm: Option<&Value>, why: &str) {
    let mut next = restore.clone();
    conditions::set(&mut next, "Progressing", false, "Operation failed", "");
    conditions::set(&mut next, "Ready", false, "Operation failed", "");
    conditions::set(&mut next, "Failure", true, why, "");
    context.store.put(&RESTORES, next);
    unlock(context.store, vm, LOCK, object::name(restore));
}

/// Writes the machine and its volumes, and ends the restore.
fn finish(context: &mut Context<'_>, restore: &Value, vm: Option<&Value>, content: &Value) -> Result<(), String> {
    let saved = &content["spec"]["source"]["virtualMachine"];
    let (spec, restores) = restored_spec(&saved["spec"], content, object::uid(restore));
    let mut next = match vm {
        Some(vm) => {
            let mut next = vm.clone();
            next["spec"] = spec;
            let generation = vm["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
            object::metadata_mut(&mut next).insert("generation".to_owned(), Value::from(generation));
            object::status_mut(&mut next).remove(LOCK);
            next
        }
        None => json!({
            "metadata": {
                "namespace": object::namespace(restore),
                "name": restore["spec"]["target"]["name"],
                "labels": saved["metadata"]["labels"],
                "annotations": saved["metadata"]["annotations"],
            },
            "spec": spec,
        }),
    };
    let metadata = object::metadata_mut(&mut next);
    let stamp = format!("{}-{}", object::name(restore), object::uid(restore));
    object::as_map(metadata.entry("annotations").or_insert(Value::Null))
        .insert(LAST_RESTORE.to_owned(), Value::from(stamp));
    metadata.retain(|_, value| !value.is_null());
    halt(&mut next);
    for patch in restore["spec"]["patches"].as_array().into_iter().flatten() {
        let patch: Value =
            serde_json::from_str(patch.as_str().unwrap_or_default()).map_err(|error| error.to_string())?;
        let operations = if patch.is_array() { patch } else { json!([patch]) };
        next = json_patch::apply(&next, &operations).map_err(|error| error.to_string())?;
    }
    crate::seed::complete(&VIRTUAL_MACHINES, &mut next);
    let removed = vm.map(|vm| outdated(vm, &next)).unwrap_or_default();
    let stored = context.store.put(&VIRTUAL_MACHINES, next);
    for name in &removed {
        context.store.remove(&DATA_VOLUMES, object::namespace(restore), name);
    }
    bind_claims(context, &stored, content, &restores);
    let mut done = restore.clone();
    let status = object::status_mut(&mut done);
    status.insert("complete".to_owned(), Value::from(true));
    status.insert("restoreTime".to_owned(), Value::from(host::timestamp()));
    status.insert("restores".to_owned(), Value::Array(restores));
    status.insert("deletedDataVolumes".to_owned(), json!(removed));
    conditions::set(&mut done, "Progressing", false, "Operation complete", "");
    conditions::set(&mut done, "Ready", true, "Operation complete", "");
    context.store.put(&RESTORES, done);
    Ok(())
}

/// The saved spec with every backed up volume under a new name, and the list of these volumes.
fn restored_spec(saved: &Value, content: &Value, uid: &str) -> (Value, Vec<Value>) {
    let mut spec = saved.clone();
    let mut restores = Vec::new();
    for (volume, claim) in claims(saved) {
        let name = format!("restore-{uid}-{volume}");
        let mut backups = content["spec"]["volumeBackups"].as_array().into_iter().flatten();
        let Some(backup) = backups.find(|backup| backup["volumeName"] == volume) else {
            continue;
        };
        restores.push(json!({
            "volumeName": volume,
            "persistentVolumeClaim": name,
            "volumeSnapshotName": backup["volumeSnapshotName"],
        }));
        let templates = spec.get_mut("dataVolumeTemplates").and_then(Value::as_array_mut);
        for template in templates.into_iter().flatten() {
            if object::name(template) == claim {
                object::metadata_mut(template).insert("name".to_owned(), Value::from(name.as_str()));
            }
        }
        let volumes = spec.pointer_mut("/template/spec/volumes").and_then(Value::as_array_mut);
        for found in volumes.into_iter().flatten() {
            if found["name"] != volume {
                continue;
            }
            if found["dataVolume"].is_object() {
                found["dataVolume"]["name"] = Value::from(name.as_str());
            } else {
                found["persistentVolumeClaim"]["claimName"] = Value::from(name.as_str());
            }
        }
    }
    (spec, restores)
}

/// The data volumes the machine made and no longer names.
fn outdated(before: &Value, after: &Value) -> Vec<String> {
    let names = |vm: &Value| -> Vec<String> {
        let templates = vm["spec"]["dataVolumeTemplates"].as_array().into_iter().flatten();
        templates.map(|template| object::name(template).to_owned()).collect()
    };
    let kept = names(after);
    names(before).into_iter().filter(|name| !kept.contains(name)).collect()
}

/// Makes the claims of restored volumes that no data volume makes.
fn bind_claims(context: &mut Context<'_>, vm: &Value, content: &Value, restores: &[Value]) {
    let templates = vm["spec"]["dataVolumeTemplates"].as_array().into_iter().flatten();
    let made: Vec<&str> = templates.map(object::name).collect();
    for restored in restores {
        let name = restored["persistentVolumeClaim"].as_str().unwrap_or_default();
        if made.contains(&name) {
            continue;
        }
        let mut backups = content["spec"]["volumeBackups"].as_array().into_iter().flatten();
        let backup = backups.find(|backup| backup["volumeName"] == restored["volumeName"]);
        let spec = backup.map(|backup| backup["persistentVolumeClaim"]["spec"].clone());
        let mut claim = json!({
            "metadata": {
                "namespace": object::namespace(vm),
                "name": name,
                "ownerReferences": [object::controller_reference(vm)],
            },
            "spec": spec,
            "status": {"phase": "Bound"},
        });
        crate::seed::complete(&CLAIMS, &mut claim);
        context.store.put(&CLAIMS, claim);
    }
}
