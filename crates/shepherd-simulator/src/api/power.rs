//! KubeVirt's actions on machines: start, stop, restart, pause, unpause.
//!
//! As in KubeVirt they only write down what is wanted (the run strategy, `status.stateChangeRequests`, the
//! Paused condition); the controllers do the rest.

use serde_json::{Value, json};

use super::Call;
use super::options::is_dry_run;
use super::reply::Reply;
use super::route::{Action, PowerVerb, Target};
use crate::cluster::Cluster;
use crate::controller::conditions;
use crate::controller::intent::run_strategy;
use crate::object;
use crate::resources::{INSTANCES, VIRTUAL_MACHINES};
use crate::status::ApiError;
use crate::store::Store;

/// Runs an action and answers 202 without a body.
pub(crate) fn run(cluster: &Cluster, call: &Call, action: &Action) -> Result<Reply, ApiError> {
    let dry_run = is_dry_run(call)?;
    let target = &action.target;
    cluster.write(|store| {
        let changed = match action.verb {
            PowerVerb::Start => start(store, target)?,
            PowerVerb::Stop => stop(store, target)?,
            PowerVerb::Restart => restart(store, target)?,
            PowerVerb::Pause => set_paused(store, target, true)?,
            PowerVerb::Unpause => set_paused(store, target, false)?,
        };
        if !dry_run {
            store.put(target.def, changed);
        }
        Ok(Reply::Accepted)
    })
}

/// KubeVirt names the resource in the singular in these refusals.
fn refuse(target: &Target, why: &str) -> ApiError {
    let name = target.name();
    let message = format!(
        "Operation cannot be fulfilled on {}.{} {name:?}: {why}",
        target.def.singular, target.def.group
    );
    let mut error = ApiError::new(409, "Conflict", message);
    error.details = Some(json!({"name": name, "group": target.def.group, "kind": target.def.singular}));
    error
}

fn machine(store: &Store, target: &Target) -> Result<Value, ApiError> {
    store
        .get(&VIRTUAL_MACHINES, target.namespace(), target.name())
        .map(|machine| Value::clone(&machine))
        .ok_or_else(|| ApiError::not_found(&VIRTUAL_MACHINES, target.name()))
}

/// The machine's instance, unless it has ended.
fn live_instance(store: &Store, target: &Target) -> Option<Value> {
    store
        .get(&INSTANCES, target.namespace(), target.name())
        .filter(|instance| !matches!(instance["status"]["phase"].as_str(), Some("Succeeded" | "Failed")))
        .map(|instance| Value::clone(&instance))
}

fn start(store: &Store, target: &Target) -> Result<Value, ApiError> {
    let mut vm = machine(store, target)?;
    if live_instance(store, target).is_some() {
        return Err(refuse(target, "VM is already running"));
    }
    match run_strategy(&vm) {
        "Halted" => set_strategy(&mut vm, "Always"),
        "Manual" => request(&mut vm, json!([{"action": "Start"}])),
        strategy => {
            return Err(refuse(
                target,
                &format!("{strategy} does not support manual start requests"),
            ));
        }
    }
    Ok(vm)
}

fn stop(store: &Store, target: &Target) -> Result<Value, ApiError> {
    let mut vm = machine(store, target)?;
    let instance = live_instance(store, target);
    match (run_strategy(&vm), instance) {
        ("Halted", _) | ("Manual", None) => return Err(refuse(target, "VM is not running")),
        ("Manual", Some(instance)) => {
            request(&mut vm, json!([{"action": "Stop", "uid": object::uid(&instance)}]));
        }
        _ => set_strategy(&mut vm, "Halted"),
    }
    Ok(vm)
}

fn restart(store: &Store, target: &Target) -> Result<Value, ApiError> {
    let mut vm = machine(store, target)?;
    let strategy = run_strategy(&vm);
    if strategy == "Halted" {
        return Err(refuse(target, "Halted does not support manual restart requests"));
    }
    let Some(instance) = live_instance(store, target) else {
        return Err(refuse(target, "VM is not running"));
    };
    request(
        &mut vm,
        json!([{"action": "Stop", "uid": object::uid(&instance)}, {"action": "Start"}]),
    );
    Ok(vm)
}

fn set_paused(store: &Store, target: &Target, pause: bool) -> Result<Value, ApiError> {
    let instance = store
        .get(&INSTANCES, target.namespace(), target.name())
        .ok_or_else(|| ApiError::not_found(&INSTANCES, target.name()))?;
    if instance["status"]["phase"] != "Running" {
        return Err(refuse(target, "VMI is not running"));
    }
    let paused = conditions::is_true(&instance, "Paused");
    let mut instance = Value::clone(&instance);
    match (pause, paused) {
        (true, true) => return Err(refuse(target, "VMI is already paused")),
        (false, false) => return Err(refuse(target, "VMI is not paused")),
        (true, false) => {
            conditions::set(&mut instance, "Paused", true, "PausedByUser", "VMI was paused by user");
            conditions::set(&mut instance, "Ready", false, "GuestNotRunning", "Guest VM is paused");
        }
        (false, true) => {
            conditions::clear(&mut instance, "Paused");
            conditions::set(&mut instance, "Ready", true, "", "");
        }
    }
    Ok(instance)
}

fn request(vm: &mut Value, requests: Value) {
    object::status_mut(vm).insert("stateChangeRequests".to_owned(), requests);
}

/// Switches the machine in the field it uses, `running` or `runStrategy`.
fn set_strategy(vm: &mut Value, strategy: &str) {
    if vm["spec"]["running"].is_boolean() {
        vm["spec"]["running"] = Value::from(strategy != "Halted");
    } else {
        vm["spec"]["runStrategy"] = Value::from(strategy);
    }
    let generation = vm["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
    object::metadata_mut(vm).insert("generation".to_owned(), Value::from(generation));
}
