//! Lives of virtual machines, on a clock the test turns.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::ClusterSeed;
use crate::{object, seed};

/// A cluster whose time stands still until [`World::pass`].
struct World {
    store: Store,
    controllers: Controllers,
    now: Instant,
    /// Every printable status the machine has had, in order.
    shown: Vec<String>,
}

impl World {
    fn new() -> Self {
        let seed = ClusterSeed::default();
        let second = Duration::from_secs(1);
        let timing = Timing {
            provision: second,
            start: second * 3,
            stop: second,
            terminate: second,
        };
        let mut store = Store::default();
        seed::fill(&mut store, &seed);
        let controllers = Controllers::new(timing, &Registry::of(&seed));
        Self {
            store,
            controllers,
            now: Instant::now(),
            shown: Vec::new(),
        }
    }

    fn with_machine(spec: Value) -> Self {
        let mut world = Self::new();
        let mut vm = json!({"metadata": {"namespace": "default", "name": "web"}, "spec": spec});
        seed::complete(&VIRTUAL_MACHINES, &mut vm);
        world.store.put(&VIRTUAL_MACHINES, vm);
        world.settle();
        world
    }

    /// Looks until nothing changes any more.
    fn settle(&mut self) {
        loop {
            let before = self.store.revision();
            self.controllers.look(&mut self.store, self.now);
            let shown = self.vm()["status"]["printableStatus"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if !shown.is_empty() && self.shown.last() != Some(&shown) {
                self.shown.push(shown);
            }
            if self.store.revision() == before {
                return;
            }
        }
    }

    /// Lets ten seconds go by, one phase at a time.
    fn pass(&mut self) {
        for _ in 0..20 {
            self.now += Duration::from_millis(500);
            self.settle();
        }
    }

    fn vm(&self) -> Value {
        let vm = self.store.get(&VIRTUAL_MACHINES, "default", "web");
        vm.map(|vm| Value::clone(&vm)).unwrap_or_default()
    }

    fn vmi(&self) -> Value {
        let vmi = self.store.get(&INSTANCES, "default", "web");
        vmi.map(|vmi| Value::clone(&vmi)).unwrap_or_default()
    }

    fn create(&mut self, def: &ResourceDef, mut object: Value) {
        seed::complete(def, &mut object);
        self.store.put(def, object);
        self.settle();
    }

    fn get(&self, def: &ResourceDef, name: &str) -> Value {
        let object = self.store.get(def, "default", name);
        object.map(|object| Value::clone(&object)).unwrap_or_default()
    }

    /// Asks for the end of an object.
    fn delete(&mut self, def: &ResourceDef, name: &str) {
        let mut object = self.get(def, name);
        object["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
        self.store.put(def, object);
        self.settle();
    }

    fn change(&mut self, change: impl FnOnce(&mut Value)) {
        let mut vm = self.vm();
        change(&mut vm);
        self.store.put(&VIRTUAL_MACHINES, vm);
        self.settle();
    }
}

fn template(image: &str) -> Value {
    json!({"spec": {
        "domain": {"cpu": {"cores": 1}, "memory": {"guest": "1Gi"}, "devices": {"disks": [{"name": "root"}]}},
        "volumes": [{"name": "root", "containerDisk": {"image": image}}],
    }})
}

#[test]
fn a_machine_starts_and_stops() {
    let mut world = World::with_machine(json!({"runStrategy": "Always", "template": template("fedora")}));
    world.pass();
    assert_eq!(world.shown, ["Starting", "Running"]);
    let vmi = world.vmi();
    assert_eq!(vmi["status"]["nodeName"], "node-1");
    assert_eq!(vmi["status"]["interfaces"][0]["ipAddress"], "10.244.1.2");
    assert_eq!(world.vm()["status"]["ready"], true);

    world.change(|vm| vm["spec"]["runStrategy"] = json!("Halted"));
    world.pass();
    assert_eq!(world.shown[2..], ["Stopping", "Stopped"]);
    assert!(world.vmi().is_null());
    assert_eq!(world.vm()["status"]["created"], false);
}

#[test]
fn data_volumes_come_first() {
    let volume = json!({"metadata": {"name": "web-root"}, "spec": {"storage": {}, "source": {"blank": {}}}});
    let spec = json!({"running": true, "template": template("fedora"), "dataVolumeTemplates": [volume]});
    let mut world = World::with_machine(spec);
    world.pass();
    assert_eq!(world.shown, ["Provisioning", "Starting", "Running"]);
    let volume = world.store.get(&DATA_VOLUMES, "default", "web-root").unwrap();
    assert_eq!(volume["status"]["phase"], "Succeeded");
    assert!(
        world
            .store
            .get(&crate::resources::CLAIMS, "default", "web-root")
            .is_some()
    );
}

#[test]
fn a_missing_device_is_unschedulable() {
    let mut template = template("fedora");
    template["spec"]["domain"]["devices"]["gpus"] = json!([{"name": "gpu", "deviceName": "nvidia.com/A10"}]);
    let mut world = World::with_machine(json!({"runStrategy": "Always", "template": template}));
    world.pass();
    assert_eq!(world.shown, ["Starting", "ErrorUnschedulable"]);
}

#[test]
fn a_missing_image_backs_off() {
    let mut world = World::with_machine(json!({"runStrategy": "Always", "template": template("x/missing-image")}));
    world.pass();
    assert_eq!(world.shown, ["Starting", "ErrImagePull", "ImagePullBackOff"]);
}

#[test]
fn a_restart_replaces_the_instance() {
    let mut world = World::with_machine(json!({"runStrategy": "Always", "template": template("fedora")}));
    world.pass();
    let first = object::uid(&world.vmi()).to_owned();
    world.change(|vm| {
        vm["status"]["stateChangeRequests"] = json!([{"action": "Stop", "uid": first}, {"action": "Start"}]);
    });
    world.pass();
    assert_eq!(world.shown, ["Starting", "Running", "Stopping", "Starting", "Running"]);
    assert_ne!(object::uid(&world.vmi()), first);
    assert!(world.vm()["status"]["stateChangeRequests"].is_null());
}

#[test]
fn a_deleted_machine_terminates_with_everything_it_owns() {
    let volume = json!({"metadata": {"name": "web-root"}, "spec": {"storage": {}}});
    let spec = json!({"running": true, "template": template("fedora"), "dataVolumeTemplates": [volume]});
    let mut world = World::with_machine(spec);
    world.pass();
    world.change(|vm| {
        vm["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
        object::add_finalizer(vm, object::FOREGROUND);
    });
    assert_eq!(world.vm()["status"]["printableStatus"], "Terminating");
    world.pass();
    assert!(world.vm().is_null() && world.vmi().is_null());
    assert!(world.store.list(&DATA_VOLUMES, "").is_empty());
    assert!(world.store.list(&crate::resources::CLAIMS, "").is_empty());
}

#[test]
fn a_frozen_machine_stays_as_it_is() {
    let mut world = World::new();
    world.store.set_frozen("default", "web", true);
    let mut vm = json!({
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"running": true, "template": template("fedora")},
    });
    seed::complete(&VIRTUAL_MACHINES, &mut vm);
    world.store.put(&VIRTUAL_MACHINES, vm);
    world.pass();
    assert!(world.vm()["status"].is_null());
    world.store.set_frozen("default", "web", false);
    world.pass();
    assert_eq!(world.vm()["status"]["printableStatus"], "Running");
}

#[test]
fn a_migration_moves_the_instance() {
    let mut world = World::with_machine(json!({"runStrategy": "Always", "template": template("fedora")}));
    world.pass();
    let mut migration = json!({"metadata": {"namespace": "default", "name": "move"}, "spec": {"vmiName": "web"}});
    seed::complete(&MIGRATIONS, &mut migration);
    world.store.put(&MIGRATIONS, migration);
    world.pass();
    assert_eq!(world.shown, ["Starting", "Running", "Migrating", "Running"]);
    assert_eq!(world.vmi()["status"]["nodeName"], "node-2");
}

#[test]
fn a_deleted_migration_is_cancelled() {
    let mut world = World::with_machine(json!({"runStrategy": "Always", "template": template("fedora")}));
    world.pass();
    let metadata = json!({"namespace": "default", "name": "move", "finalizers": [migration::FINALIZER]});
    world.create(&MIGRATIONS, json!({"metadata": metadata, "spec": {"vmiName": "web"}}));
    while world.vm()["status"]["printableStatus"] != "Migrating" {
        world.now += Duration::from_millis(500);
        world.settle();
    }
    world.delete(&MIGRATIONS, "move");
    assert!(world.get(&MIGRATIONS, "move").is_null());
    let state = &world.vmi()["status"]["migrationState"];
    assert_eq!(
        (&state["completed"], &state["abortStatus"]),
        (&json!(true), &json!("Succeeded"))
    );
    world.pass();
    assert_eq!(world.vmi()["status"]["nodeName"], "node-1", "it stayed where it was");
    assert_eq!(world.vm()["status"]["printableStatus"], "Running");
}

fn snapshot(source: &str) -> Value {
    json!({
        "metadata": {"namespace": "default", "name": "before"},
        "spec": {"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": source}},
    })
}

fn restore(target: &str) -> Value {
    json!({
        "metadata": {"namespace": "default", "name": "back"},
        "spec": {
            "target": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": target},
            "virtualMachineSnapshotName": "before",
        },
    })
}

/// A machine with one disk of its own.
fn with_disk(strategy: &str) -> Value {
    let mut template = template("fedora");
    template["spec"]["volumes"][0] = json!({"name": "root", "dataVolume": {"name": "web-root"}});
    let volume = json!({"metadata": {"name": "web-root"}, "spec": {"storage": {}, "source": {"blank": {}}}});
    json!({"runStrategy": strategy, "template": template, "dataVolumeTemplates": [volume]})
}

#[test]
fn a_snapshot_locks_the_machine_until_it_is_ready() {
    let mut world = World::with_machine(with_disk("Halted"));
    world.pass();
    world.create(&SNAPSHOTS, snapshot("web"));
    assert_eq!(world.vm()["status"]["snapshotInProgress"], "before");
    assert_eq!(world.get(&SNAPSHOTS, "before")["status"]["readyToUse"], false);
    world.pass();
    let status = &world.get(&SNAPSHOTS, "before")["status"];
    assert_eq!(
        (&status["phase"], &status["readyToUse"]),
        (&json!("Succeeded"), &json!(true))
    );
    assert_eq!(status["snapshotVolumes"]["includedVolumes"], json!(["root"]));
    assert!(world.vm()["status"]["snapshotInProgress"].is_null());

    world.delete(&SNAPSHOTS, "before");
    assert!(world.get(&SNAPSHOTS, "before").is_null());
    assert!(world.store.list(&crate::resources::SNAPSHOT_CONTENTS, "").is_empty());
}

#[test]
fn a_snapshot_can_leave_its_content_behind() {
    let mut world = World::with_machine(with_disk("Halted"));
    let mut kept = snapshot("web");
    kept["spec"]["deletionPolicy"] = json!("Retain");
    world.create(&SNAPSHOTS, kept);
    world.pass();
    world.delete(&SNAPSHOTS, "before");
    assert_eq!(world.store.list(&crate::resources::SNAPSHOT_CONTENTS, "").len(), 1);
}

#[test]
fn a_snapshot_of_nothing_fails_at_its_deadline() {
    let mut world = World::new();
    let mut object = snapshot("nobody");
    object["spec"]["failureDeadline"] = json!("15s");
    world.create(&SNAPSHOTS, object);
    world.pass();
    let conditions = world.get(&SNAPSHOTS, "before")["status"]["conditions"].clone();
    assert_eq!(conditions[0]["reason"], "Source does not exist");
    world.pass();
    let status = &world.get(&SNAPSHOTS, "before")["status"];
    assert_eq!(
        (&status["phase"], &status["readyToUse"]),
        (&json!("Failed"), &json!(false))
    );
}

#[test]
fn a_restore_waits_for_the_machine_to_stop_and_brings_its_spec_back() {
    let mut world = World::with_machine(with_disk("Always"));
    world.pass();
    world.create(&SNAPSHOTS, snapshot("web"));
    world.pass();
    world.change(|vm| vm["spec"]["template"]["spec"]["domain"]["cpu"]["cores"] = json!(4));
    world.create(&RESTORES, restore("web"));
    world.pass();
    let waiting = world.get(&RESTORES, "back");
    assert_eq!(waiting["status"]["complete"], false);
    let why = waiting["status"]["conditions"][0]["reason"].as_str().unwrap();
    assert!(why.starts_with("Waiting for target VM to be powered off"), "{why}");

    world.change(|vm| vm["spec"]["runStrategy"] = json!("Halted"));
    world.pass();
    world.pass();
    let done = world.get(&RESTORES, "back");
    assert_eq!(done["status"]["complete"], true);
    assert_eq!(done["status"]["deletedDataVolumes"], json!(["web-root"]));
    let vm = world.vm();
    assert_eq!(vm["spec"]["template"]["spec"]["domain"]["cpu"]["cores"], 1);
    assert_eq!(vm["spec"]["runStrategy"], "Halted", "a restored machine is stopped");
    let volume = format!("restore-{}-root", object::uid(&done));
    assert_eq!(
        vm["spec"]["template"]["spec"]["volumes"][0]["dataVolume"]["name"],
        volume
    );
    assert_eq!(vm["status"]["printableStatus"], "Stopped");
    assert!(vm["status"]["restoreInProgress"].is_null());
}

#[test]
fn a_restore_gives_up_on_a_running_machine() {
    for (policy, rounds) in [("FailImmediate", 1), ("WaitGracePeriod", 31)] {
        let mut world = World::with_machine(json!({"runStrategy": "Always", "template": template("fedora")}));
        world.pass();
        world.create(&SNAPSHOTS, snapshot("web"));
        world.pass();
        let mut object = restore("web");
        object["spec"]["targetReadinessPolicy"] = json!(policy);
        world.create(&RESTORES, object);
        for _ in 0..rounds {
            world.pass();
        }
        let failed = world.get(&RESTORES, "back");
        assert!(conditions::is_true(&failed, "Failure"), "{policy}: {failed}");
        assert_eq!(failed["status"]["complete"], false);
        assert_eq!(world.vm()["status"]["printableStatus"], "Running");
    }
}

#[test]
fn a_clone_becomes_a_stopped_machine_of_its_own() {
    let mut world = World::with_machine(with_disk("Always"));
    world.change(|vm| {
        vm["metadata"]["labels"] = json!({"app": "shop", "shop/owner": "ann"});
        vm["metadata"]["annotations"] = json!({"note": "x"});
    });
    world.pass();
    world.create(
        &CLONES,
        json!({
            "metadata": {"namespace": "default", "name": "copy"},
            "spec": {
                "source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web"},
                "target": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web-2"},
                "labelFilters": ["*", "!shop/*"],
            },
        }),
    );
    assert_eq!(world.get(&CLONES, "copy")["status"]["phase"], "SnapshotInProgress");
    world.pass();
    world.pass();
    let status = &world.get(&CLONES, "copy")["status"];
    assert_eq!(
        (&status["phase"], &status["targetName"]),
        (&json!("Succeeded"), &json!("web-2"))
    );
    let copy = world.get(&VIRTUAL_MACHINES, "web-2");
    assert_eq!(copy["metadata"]["labels"], json!({"app": "shop"}));
    assert_eq!(copy["metadata"]["annotations"]["note"], "x");
    assert_eq!(copy["status"]["printableStatus"], "Stopped");
    assert!(world.store.list(&SNAPSHOTS, "").is_empty() && world.store.list(&RESTORES, "").is_empty());
    assert_eq!(
        world.vm()["status"]["printableStatus"],
        "Running",
        "the source is left alone"
    );
}

#[test]
fn a_clone_onto_another_machine_fails() {
    let mut world = World::with_machine(json!({"runStrategy": "Halted", "template": template("fedora")}));
    let reference = json!({"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web"});
    let metadata = json!({"namespace": "default", "name": "copy"});
    world.create(
        &CLONES,
        json!({"metadata": metadata, "spec": {"source": reference, "target": reference}}),
    );
    assert_eq!(world.get(&CLONES, "copy")["status"]["phase"], "Failed");
}

#[test]
fn an_instance_type_sets_processors_and_memory() {
    let mut world = World::new();
    let kind = json!({"metadata": {"name": "large"}, "spec": {"cpu": {"guest": 4}, "memory": {"guest": "8Gi"}}});
    world.create(&crate::resources::CLUSTER_INSTANCE_TYPES, kind);
    let mut template = template("fedora");
    template["spec"]["domain"] = json!({"devices": {"disks": [{"name": "root"}]}});
    let spec = json!({"runStrategy": "Always", "instancetype": {"name": "large"}, "template": template});
    let metadata = json!({"namespace": "default", "name": "web"});
    world.create(&VIRTUAL_MACHINES, json!({"metadata": metadata, "spec": spec}));
    world.pass();
    let domain = &world.vmi()["spec"]["domain"];
    assert_eq!(
        (&domain["cpu"]["sockets"], &domain["memory"]["guest"]),
        (&json!(4), &json!("8Gi"))
    );
    assert!(!conditions::is_true(&world.vm(), "RestartRequired"));
}

#[test]
fn a_deleted_namespace_takes_its_content_along() {
    let mut world = World::with_machine(json!({"runStrategy": "Always", "template": template("fedora")}));
    world.pass();
    let mut namespace = Value::clone(&world.store.get(&crate::resources::NAMESPACES, "", "default").unwrap());
    namespace["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
    world.store.put(&crate::resources::NAMESPACES, namespace);
    world.pass();
    assert!(world.vm().is_null());
    assert!(world.store.get(&crate::resources::NAMESPACES, "", "default").is_none());
}
