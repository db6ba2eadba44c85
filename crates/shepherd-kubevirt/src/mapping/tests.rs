//! Every row of the mapping table of kubernetes.md §2.

use serde_json::{Value, json};
use shepherd_domain::vm::VmStatus::{self, Deleting, Failed, Migrating, Paused, Running, Stopped, Stopping, Unknown};

use super::*;

fn machine(status: Value) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "vm-uid", "resourceVersion": "10", "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {labels::MANAGED_BY: labels::MANAGER}, "annotations": {labels::EVENT: "e-1", labels::VM: "v-1"},
        },
        "spec": {"runStrategy": "Always"},
        "status": status,
    })
}

fn instance(status: Value) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": "web", "namespace": "shop", "uid": "vmi-uid", "resourceVersion": "12"},
        "status": status,
    })
}

fn see(vm: Value, vmi: Option<Value>) -> Result<ObservedVm, ProviderError> {
    let vm: DynamicObject = serde_json::from_value(vm).unwrap();
    let vmi: Option<DynamicObject> = vmi.map(|vmi| serde_json::from_value(vmi).unwrap());
    observe(&vm, vmi.as_ref())
}

fn printed(printable: &str) -> ObservedVm {
    see(machine(json!({"printableStatus": printable})), None).unwrap()
}

fn is(status: VmStatus) -> ObservedCondition {
    ObservedCondition::Is(status)
}

#[test]
fn plain_statuses_stand_for_themselves_without_a_reason() {
    let rows = [
        ("Running", Running),
        ("Stopped", Stopped),
        ("Stopping", Stopping),
        ("Paused", Paused),
        ("Migrating", Migrating),
        ("Terminating", Deleting),
        ("Unknown", Unknown),
    ];
    for (printable, status) in rows {
        let observed = printed(printable);
        assert_eq!((observed.condition, observed.reason), (is(status), None), "{printable}");
    }
}

#[test]
fn waiting_statuses_wait_and_say_why() {
    for printable in [
        "Provisioning",
        "Starting",
        "WaitingForVolumeBinding",
        "WaitingForReceiver",
    ] {
        let observed = printed(printable);
        assert_eq!(observed.condition, ObservedCondition::Waiting, "{printable}");
        assert_eq!(observed.reason.as_deref(), Some(printable));
    }
}

#[test]
fn failures_keep_the_clusters_word() {
    for printable in [
        "CrashLoopBackOff",
        "ErrorUnschedulable",
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrorPvcNotFound",
        "DataVolumeError",
    ] {
        let observed = printed(printable);
        assert_eq!(observed.condition, is(Failed), "{printable}");
        assert_eq!(observed.reason.as_deref(), Some(printable));
    }
}

#[test]
fn a_word_nobody_knows_is_unknown_and_kept() {
    let observed = printed("Levitating");
    assert_eq!(observed.condition, is(Unknown));
    assert_eq!(observed.reason.as_deref(), Some("Levitating"));
}

#[test]
fn without_a_status_the_phase_of_the_instance_decides() {
    let rows = [
        ("Running", is(Running), None),
        ("Pending", ObservedCondition::Waiting, Some("Pending")),
        ("Scheduling", ObservedCondition::Waiting, Some("Scheduling")),
        ("Scheduled", ObservedCondition::Waiting, Some("Scheduled")),
        ("WaitingForSync", ObservedCondition::Waiting, Some("WaitingForSync")),
        ("Failed", is(Failed), None),
        ("Succeeded", is(Stopped), Some("Succeeded")),
        ("Unknown", is(Unknown), None),
        ("Levitating", is(Unknown), Some("Levitating")),
    ];
    for empty in [json!(null), json!({}), json!({"printableStatus": ""})] {
        for (phase, condition, reason) in rows {
            let observed = see(machine(empty.clone()), Some(instance(json!({"phase": phase})))).unwrap();
            assert_eq!(
                (observed.condition, observed.reason.as_deref()),
                (condition, reason),
                "{phase}"
            );
        }
    }
}

#[test]
fn without_status_and_instance_the_run_strategy_decides() {
    let looked_at = json!({"conditions": [{"type": "Ready", "status": "False"}]});
    assert_eq!(see(machine(looked_at), None).unwrap().condition, is(Unknown));
    assert_eq!(
        see(machine(json!({})), None).unwrap().condition,
        ObservedCondition::Waiting,
        "nobody has looked at a machine without a status"
    );
    let mut halted = machine(json!({}));
    halted["spec"] = json!({"runStrategy": "Halted"});
    assert_eq!(see(halted.clone(), None).unwrap().condition, is(Stopped));
    assert_eq!(
        see(halted.clone(), Some(instance(json!({})))).unwrap().condition,
        ObservedCondition::Waiting,
        "an instance without a phase is on its way"
    );
    halted["spec"] = json!({"running": false});
    let observed = see(halted, None).unwrap();
    assert_eq!(
        (observed.condition, observed.run_strategy.as_deref()),
        (is(Stopped), Some("Halted"))
    );
}

#[test]
fn a_running_machine_that_is_paused_is_paused() {
    let paused = json!([{"type": "Paused", "status": "True"}]);
    let on_the_machine = see(
        machine(json!({"printableStatus": "Running", "conditions": paused})),
        None,
    )
    .unwrap();
    assert_eq!(on_the_machine.condition, is(Paused));
    let on_the_instance = see(
        machine(json!({"printableStatus": "Running"})),
        Some(instance(json!({"phase": "Running", "conditions": paused}))),
    )
    .unwrap();
    assert_eq!(on_the_instance.condition, is(Paused));
    let not_running = see(
        machine(json!({"printableStatus": "Stopping", "conditions": paused})),
        None,
    )
    .unwrap();
    assert_eq!(not_running.condition, is(Stopping));
    let not_paused = json!([{"type": "Paused", "status": "False"}]);
    assert_eq!(
        see(
            machine(json!({"printableStatus": "Running", "conditions": not_paused})),
            None
        )
        .unwrap()
        .condition,
        is(Running)
    );
}

#[test]
fn a_deletion_that_was_asked_for_wins() {
    let mut vm = machine(json!({"printableStatus": "Running"}));
    vm["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
    let observed = see(vm, None).unwrap();
    assert_eq!(
        (observed.condition, observed.reason.as_deref()),
        (is(Deleting), Some("Running"))
    );
}

#[test]
fn the_most_severe_condition_speaks() {
    let condition =
        |kind: &str, status: &str, message: &str| json!({"type": kind, "status": status, "message": message});
    let mut conditions = vec![
        condition("PodScheduled", "False", "0/3 nodes are available"),
        condition("DataVolumesReady", "False", "importing"),
        condition("Ready", "False", "not ready"),
        condition("Failure", "True", "no such image"),
    ];
    for message in ["no such image", "not ready", "importing", "0/3 nodes are available"] {
        let observed = see(
            machine(json!({"printableStatus": "Starting", "conditions": conditions})),
            None,
        )
        .unwrap();
        assert_eq!(observed.message.as_deref(), Some(message));
        conditions.pop();
    }
    let fine = json!([
        condition("Failure", "False", "no"),
        condition("Ready", "True", "yes"),
        condition("Ready", "Unknown", "who knows")
    ]);
    assert_eq!(see(machine(json!({"conditions": fine})), None).unwrap().message, None);
}

#[test]
fn messages_are_redacted_and_cut() {
    let with = |message: String| {
        see(
            machine(json!({"conditions": [{"type": "Failure", "status": "True", "message": message}]})),
            None,
        )
        .unwrap()
        .message
        .unwrap()
    };
    assert_eq!(with("x".repeat(1_000)).len(), MAX_TEXT);
    assert_eq!(
        with("pull https://robot:hunter2@registry/image".to_owned()),
        "[REDACTED]"
    );
}

#[test]
fn machine_and_instance_are_merged() {
    let vmi = instance(json!({
        "phase": "Running", "nodeName": "node-1",
        "interfaces": [{"name": "late"}, {"name": "default", "ipAddress": "10.0.0.7"}],
    }));
    let vm =
        machine(json!({"printableStatus": "Running", "conditions": [{"type": "RestartRequired", "status": "True"}]}));
    let observed = see(vm, Some(vmi)).unwrap();
    assert_eq!(observed.resource_version, 12, "the newer of 10 and 12");
    assert_eq!(observed.vmi_uid.as_deref(), Some("vmi-uid"));
    assert_eq!(observed.node.as_deref(), Some("node-1"));
    assert_eq!(observed.ip.as_deref(), Some("10.0.0.7"));
    assert!(observed.restart_required && observed.managed);
    assert_eq!(
        (observed.event_id.as_deref(), observed.vm_id.as_deref()),
        (Some("e-1"), Some("v-1"))
    );
    assert_eq!(observed.created_at.unwrap().to_rfc3339(), "2026-01-02T03:04:05+00:00");
}

#[test]
fn only_the_instance_says_whether_it_can_move() {
    let says = |status: &str| json!({"phase": "Running", "conditions": [{"type": "LiveMigratable", "status": status}]});
    let running = || json!({"printableStatus": "Running"});
    for (status, expected) in [("True", Some(true)), ("False", Some(false)), ("Unknown", None)] {
        let observed = see(machine(running()), Some(instance(says(status)))).unwrap();
        assert_eq!(observed.live_migratable, expected, "{status}");
    }
    let observed = see(machine(running()), Some(instance(json!({"phase": "Running"})))).unwrap();
    assert_eq!(observed.live_migratable, None, "the instance says nothing");
    let observed = see(machine(says("True")), None).unwrap();
    assert_eq!(observed.live_migratable, None, "there is no instance");
    let mut earlier = instance(says("True"));
    earlier["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "web", "uid": "earlier"}]);
    let observed = see(machine(running()), Some(earlier)).unwrap();
    assert_eq!(observed.live_migratable, None, "it is not this machine's instance");
}

#[test]
fn the_instance_of_an_earlier_machine_is_not_ours() {
    let mut vmi = instance(json!({"phase": "Running", "nodeName": "node-1"}));
    vmi["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "web", "uid": "earlier"}]);
    let observed = see(machine(json!({"printableStatus": "Starting"})), Some(vmi)).unwrap();
    assert_eq!((observed.node, observed.resource_version), (None, 10));
}

#[test]
fn mandatory_fields_are_mandatory() {
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        let mut vm = machine(json!({"printableStatus": "Running"}));
        vm["metadata"].as_object_mut().unwrap().remove(field);
        assert!(matches!(see(vm, None), Err(ProviderError::Schema(_))), "{field}");
    }
    let mut vm = machine(json!({}));
    vm["metadata"]["resourceVersion"] = json!("not-a-number");
    assert!(matches!(see(vm, None), Err(ProviderError::Schema(_))));
}

#[test]
fn odd_types_are_ignored() {
    let observed = see(
        machine(json!({"printableStatus": 7, "conditions": {"a": 1}})),
        Some(instance(json!({"interfaces": "none", "phase": []}))),
    )
    .unwrap();
    assert_eq!(observed.condition, ObservedCondition::Waiting, "as without a phase");
}

#[test]
fn a_dry_run_has_no_version() {
    let mut vm = machine(json!({}));
    vm["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    vm["metadata"].as_object_mut().unwrap().remove("uid");
    let observed = observe_dry_run(serde_json::from_value(vm).unwrap()).unwrap();
    assert_eq!(observed.resource_version, 0);
}
