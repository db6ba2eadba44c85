//! Virtual machines: create, stop and replace their instance, and say how they are.

use serde_json::{Value, json};

use super::intent::{Intent, intent_of, run_strategy, settle_requests};
use super::volume::{self, Volumes};
use super::{Context, conditions, instancetype};
use crate::resources::{INSTANCES, VIRTUAL_MACHINES};
use crate::{host, object};

/// KubeVirt's finalizer on machines.
const FINALIZER: &str = "kubevirt.io/virtualMachineControllerFinalize";
/// KubeVirt's finalizer on instances.
const INSTANCE_FINALIZER: &str = "foregroundDeleteVirtualMachine";
/// Conditions of the instance that the machine shows too.
const MIRRORED: [&str; 5] = ["Ready", "Paused", "LiveMigratable", "PodScheduled", "Synchronized"];

/// Moves a machine on.
pub(crate) fn advance(context: &mut Context<'_>, vm: &Value) {
    if context.store.is_frozen(vm) {
        return;
    }
    if object::is_deleting(vm) {
        return terminate(context, vm);
    }
    let mut next = vm.clone();
    if !object::has_finalizer(vm, FINALIZER) {
        object::add_finalizer(&mut next, FINALIZER);
        context.store.put(&VIRTUAL_MACHINES, next);
        return;
    }
    let instance = context.store.get(&INSTANCES, object::namespace(vm), object::name(vm));
    let instance = instance.as_deref();
    settle_requests(&mut next, instance);
    let volumes = volume::ensure(context, vm);
    let shown = match (intent_of(&next, instance), instance) {
        (_, Some(instance)) if object::is_deleting(instance) => "Stopping",
        (Intent::Run, Some(instance)) => shown_status(instance),
        (Intent::Stop, Some(instance)) => {
            stop(context, instance);
            "Stopping"
        }
        (_, None) if volumes == Volumes::Pending => "Provisioning",
        (_, None) if volumes == Volumes::Failed => "DataVolumeError",
        (Intent::Run, None) => {
            create_instance(context, vm);
            "Starting"
        }
        (Intent::Stop, None) => "Stopped",
    };
    write_status(&mut next, instance, shown, volumes);
    let wanted = instancetype::instance_spec(context.store, vm);
    mark_restart(&mut next, instance, &wanted);
    context.store.put(&VIRTUAL_MACHINES, next);
}

/// The printable status of a machine whose instance is there to stay.
fn shown_status(instance: &Value) -> &'static str {
    let phase = instance["status"]["phase"].as_str().unwrap_or_default();
    let is_migrating =
        instance["status"]["migrationState"].is_object() && instance["status"]["migrationState"]["completed"] != true;
    if conditions::is_false_because(instance, "PodScheduled", "Unschedulable") {
        "ErrorUnschedulable"
    } else if conditions::is_false_because(instance, "Synchronized", "ErrImagePull") {
        "ErrImagePull"
    } else if conditions::is_false_because(instance, "Synchronized", "ImagePullBackOff") {
        "ImagePullBackOff"
    } else if conditions::is_true(instance, "Paused") {
        "Paused"
    } else {
        match phase {
            "Running" if is_migrating => "Migrating",
            "Running" => "Running",
            "Failed" => "CrashLoopBackOff",
            "Succeeded" => "Stopped",
            _ => "Starting",
        }
    }
}

fn write_status(vm: &mut Value, instance: Option<&Value>, shown: &str, volumes: Volumes) {
    let generation = vm["metadata"]["generation"].clone();
    let strategy = run_strategy(vm);
    let ready = instance.is_some_and(|instance| conditions::is_true(instance, "Ready"));
    let status = object::status_mut(vm);
    status.insert("printableStatus".to_owned(), Value::from(shown));
    status.insert("created".to_owned(), Value::from(instance.is_some()));
    status.insert("ready".to_owned(), Value::from(ready));
    status.insert("runStrategy".to_owned(), Value::from(strategy));
    status.insert("observedGeneration".to_owned(), generation.clone());
    status.insert("desiredGeneration".to_owned(), generation);
    match instance {
        Some(instance) => {
            for kind in MIRRORED {
                match conditions::get(instance, kind) {
                    Some(condition) => conditions::replace(vm, condition.clone()),
                    None => conditions::clear(vm, kind),
                }
            }
        }
        None => {
            for kind in MIRRORED.into_iter().filter(|kind| *kind != "Ready") {
                conditions::clear(vm, kind);
            }
            conditions::set(vm, "Ready", false, "VMINotExists", "VMI does not exist");
        }
    }
    if volumes == Volumes::Failed {
        conditions::set(
            vm,
            "Failure",
            true,
            "FailedCreate",
            "DataVolumes cannot be created: CDI is not installed",
        );
    } else {
        conditions::clear(vm, "Failure");
    }
}

/// Says so when the instance is not what the machine describes by now.
fn mark_restart(vm: &mut Value, instance: Option<&Value>, wanted: &Value) {
    let changed_under_way = instance.is_some_and(|instance| instance["spec"]["domain"] != wanted["domain"]);
    if changed_under_way {
        let message = "a non-live-updatable field was changed in the template spec";
        conditions::set(vm, "RestartRequired", true, "RestartRequired", message);
    } else {
        conditions::clear(vm, "RestartRequired");
    }
}

fn create_instance(context: &mut Context<'_>, vm: &Value) {
    let template = &vm["spec"]["template"];
    let mut metadata = json!({
        "namespace": object::namespace(vm),
        "name": object::name(vm),
        "uid": host::new_uid(),
        "creationTimestamp": host::timestamp(),
        "generation": 1,
        "finalizers": [INSTANCE_FINALIZER],
        "ownerReferences": [object::controller_reference(vm)],
    });
    for section in ["labels", "annotations"] {
        if template["metadata"][section].is_object() {
            metadata[section] = template["metadata"][section].clone();
        }
    }
    let instance = json!({
        "apiVersion": INSTANCES.api_version(),
        "kind": INSTANCES.kind,
        "metadata": metadata,
        "spec": instancetype::instance_spec(context.store, vm),
    });
    context.store.put(&INSTANCES, instance);
}

/// Asks for the instance's end; the instance's own controller carries it out.
fn stop(context: &mut Context<'_>, instance: &Value) {
    let mut stopping = instance.clone();
    object::metadata_mut(&mut stopping).insert("deletionTimestamp".to_owned(), Value::from(host::timestamp()));
    context.store.put(&INSTANCES, stopping);
}

/// Shows that the machine is going; when its time has come, takes the instance and lets go of the machine.
fn terminate(context: &mut Context<'_>, vm: &Value) {
    if !object::has_finalizer(vm, FINALIZER) {
        return;
    }
    let mut next = vm.clone();
    let is_over = context
        .timers
        .passed(format!("terminate/{}", object::uid(vm)), context.timing.terminate);
    if is_over {
        context
            .store
            .remove(&INSTANCES, object::namespace(vm), object::name(vm));
        object::remove_finalizer(&mut next, FINALIZER);
    }
    object::status_mut(&mut next).insert("printableStatus".to_owned(), Value::from("Terminating"));
    let stored = context.store.put(&VIRTUAL_MACHINES, next);
    if object::finalizers(&stored).is_empty() {
        context
            .store
            .remove(&VIRTUAL_MACHINES, object::namespace(vm), object::name(vm));
    }
}
