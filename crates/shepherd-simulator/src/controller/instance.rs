//! Instances: from Pending through Scheduling and Scheduled to Running, and away.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::capacity::find_node;
use super::{Context, conditions};
use crate::resources::INSTANCES;
use crate::{host, object};

/// The word in an image's name that makes pulling it fail.
const MISSING_IMAGE: &str = "missing-image";

/// Moves an instance on by one phase.
pub(crate) fn advance(context: &mut Context<'_>, instance: &Value) {
    if context.store.is_frozen(instance) {
        return;
    }
    let uid = object::uid(instance);
    if object::is_deleting(instance) {
        if context.timers.passed(format!("stop/{uid}"), context.timing.stop) {
            context
                .store
                .remove(&INSTANCES, object::namespace(instance), object::name(instance));
        }
        return;
    }
    let third = context.timing.start / 3;
    let phase = instance["status"]["phase"].as_str().unwrap_or_default();
    let is_over = match phase {
        "" => true,
        "Pending" | "Scheduling" | "Scheduled" => context.timers.passed(format!("{phase}/{uid}"), third),
        _ => false,
    };
    if !is_over {
        return;
    }
    let next = match phase {
        "" => pending(instance),
        "Pending" => with_phase(instance, "Scheduling"),
        "Scheduling" => schedule(context, instance),
        _ => run(context, instance),
    };
    context.store.put(&INSTANCES, next);
}

fn with_phase(instance: &Value, phase: &str) -> Value {
    let mut next = instance.clone();
    let status = object::status_mut(&mut next);
    status.insert("phase".to_owned(), Value::from(phase));
    let transition = json!({"phase": phase, "phaseTransitionTimestamp": host::timestamp()});
    match status
        .get_mut("phaseTransitionTimestamps")
        .and_then(Value::as_array_mut)
    {
        Some(transitions) => transitions.push(transition),
        None => {
            status.insert("phaseTransitionTimestamps".to_owned(), json!([transition]));
        }
    }
    next
}

fn pending(instance: &Value) -> Value {
    let mut next = with_phase(instance, "Pending");
    conditions::set(
        &mut next,
        "Ready",
        false,
        "GuestNotRunning",
        "Guest VM is not reported as running",
    );
    next
}

/// Finds a node and pulls the images; either can fail, and is then tried again whenever something changes.
fn schedule(context: &mut Context<'_>, instance: &Value) -> Value {
    let node = match find_node(context.store, instance, "") {
        Ok(node) => node,
        Err(why) => {
            let mut next = instance.clone();
            conditions::set(&mut next, "PodScheduled", false, "Unschedulable", &why);
            return next;
        }
    };
    if let Some(image) = missing_image(instance) {
        return fail_to_pull(context, instance, image);
    }
    let mut next = with_phase(instance, "Scheduled");
    conditions::clear(&mut next, "PodScheduled");
    conditions::clear(&mut next, "Synchronized");
    object::status_mut(&mut next).insert("nodeName".to_owned(), Value::from(node));
    next
}

fn missing_image(instance: &Value) -> Option<&str> {
    let volumes = instance["spec"]["volumes"].as_array()?;
    volumes
        .iter()
        .filter_map(|volume| volume["containerDisk"]["image"].as_str())
        .find(|image| image.contains(MISSING_IMAGE))
}

fn fail_to_pull(context: &mut Context<'_>, instance: &Value, image: &str) -> Value {
    let mut next = instance.clone();
    conditions::clear(&mut next, "PodScheduled");
    let has_failed = conditions::is_false_because(instance, "Synchronized", "ErrImagePull");
    let backs_off = conditions::is_false_because(instance, "Synchronized", "ImagePullBackOff");
    let key = format!("pull/{}", object::uid(instance));
    if backs_off || (has_failed && context.timers.passed(key, context.timing.start)) {
        let message = format!("Back-off pulling image {image:?}");
        conditions::set(&mut next, "Synchronized", false, "ImagePullBackOff", &message);
    } else {
        let message = format!("failed to pull image {image:?}: manifest unknown");
        conditions::set(&mut next, "Synchronized", false, "ErrImagePull", &message);
    }
    next
}

fn run(context: &mut Context<'_>, instance: &Value) -> Value {
    let mut next = with_phase(instance, "Running");
    let address = free_address(context);
    let network = instance["spec"]["networks"][0]["name"].as_str().unwrap_or("default");
    let interface = json!({
        "name": network,
        "ipAddress": address,
        "ipAddresses": [address],
        "mac": mac_of(&address),
        "infoSource": "domain, guest-agent",
        "queueCount": 1,
    });
    let status = object::status_mut(&mut next);
    status.insert("interfaces".to_owned(), json!([interface]));
    status.insert(
        "guestOSInfo".to_owned(),
        json!({"name": "Simulated Linux", "id": "simulated"}),
    );
    status.insert("migrationMethod".to_owned(), Value::from("BlockMigration"));
    conditions::set(&mut next, "Ready", true, "", "");
    if has_host_device(instance) {
        let message = "VMI uses a PCI host devices";
        conditions::set(
            &mut next,
            "LiveMigratable",
            false,
            "HostDeviceNotLiveMigratable",
            message,
        );
    } else {
        conditions::set(&mut next, "LiveMigratable", true, "", "");
    }
    next
}

fn has_host_device(instance: &Value) -> bool {
    let devices = &instance["spec"]["domain"]["devices"];
    ["gpus", "hostDevices"]
        .iter()
        .any(|list| devices[*list].as_array().is_some_and(|list| !list.is_empty()))
}

/// The first address of the pod network nobody has.
fn free_address(context: &Context<'_>) -> String {
    let instances = context.store.list(&INSTANCES, "");
    let taken: BTreeSet<&str> = instances
        .iter()
        .filter_map(|instance| instance["status"]["interfaces"][0]["ipAddress"].as_str())
        .collect();
    (1..=u8::MAX)
        .flat_map(|subnet| (2..=254u8).map(move |host| format!("10.244.{subnet}.{host}")))
        .find(|address| !taken.contains(address.as_str()))
        .unwrap_or_else(|| "10.244.0.2".to_owned())
}

fn mac_of(address: &str) -> String {
    let octets = address.split('.').filter_map(|octet| octet.parse::<u8>().ok());
    let octets: Vec<String> = octets.map(|octet| format!("{octet:02x}")).collect();
    format!("02:00:{}", octets.join(":"))
}
