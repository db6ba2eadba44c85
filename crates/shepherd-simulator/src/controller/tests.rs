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
