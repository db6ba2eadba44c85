//! The memory of a watch: the last machine and instance under each name, so that every event tells the whole.

use std::collections::{HashMap, HashSet};

use kube::core::DynamicObject;
use kube::runtime::watcher::Event;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::vm::ObservedVm;
use shepherd_ports::providers::VmWatchEvent;

use crate::mapping::{self, InstanceView, MachineView};

/// Namespace and name.
type Key = (String, String);

/// Machines and instances as they were last seen.
pub(super) struct Merger {
    cluster: ClusterId,
    machines: HashMap<Key, Machine>,
    instances: HashMap<Key, InstanceView>,
    // What the current list has repeated so far, while there is one.
    listed_machines: Option<HashSet<Key>>,
    listed_instances: Option<HashSet<Key>>,
}

struct Machine {
    view: MachineView,
    // The version at which its instance went away; without it, "the instance is gone" would look older than the
    // instance did.
    floor: u64,
}

impl Merger {
    pub(super) fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            machines: HashMap::new(),
            instances: HashMap::new(),
            listed_machines: None,
            listed_instances: None,
        }
    }

    /// What an event of the machine watch means.
    pub(super) fn machine(&mut self, event: Event<DynamicObject>) -> Vec<VmWatchEvent> {
        match event {
            Event::Init => {
                self.listed_machines = Some(HashSet::new());
                vec![VmWatchEvent::ListBegins]
            }
            Event::InitApply(object) => {
                let Some(key) = self.remember(&object) else {
                    return Vec::new();
                };
                let seen = self.observed(&key).map(VmWatchEvent::InList);
                if let Some(listed) = &mut self.listed_machines {
                    listed.insert(key);
                }
                seen.into_iter().collect()
            }
            Event::InitDone => {
                if let Some(listed) = self.listed_machines.take() {
                    self.machines.retain(|key, _| listed.contains(key));
                }
                vec![VmWatchEvent::Listed]
            }
            Event::Apply(object) => self
                .remember(&object)
                .and_then(|key| self.changed(&key))
                .into_iter()
                .collect(),
            Event::Delete(object) => self.forget(&object).into_iter().collect(),
        }
    }

    /// What an event of the instance watch means for the machines.
    pub(super) fn instance(&mut self, event: Event<DynamicObject>) -> Vec<VmWatchEvent> {
        match event {
            Event::Init => {
                self.listed_instances = Some(HashSet::new());
                Vec::new()
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let Some(instance) = InstanceView::read(&object) else {
                    return Vec::new();
                };
                let key = (instance.namespace.clone(), instance.name.clone());
                self.instances.insert(key.clone(), instance);
                let changed = self.changed(&key);
                if let Some(listed) = &mut self.listed_instances {
                    listed.insert(key);
                }
                changed.into_iter().collect()
            }
            Event::InitDone => {
                let Some(listed) = self.listed_instances.take() else {
                    return Vec::new();
                };
                let gone: Vec<Key> = self
                    .instances
                    .keys()
                    .filter(|key| !listed.contains(*key))
                    .cloned()
                    .collect();
                gone.iter().filter_map(|key| self.without_instance(key, 0)).collect()
            }
            Event::Delete(object) => {
                let Some(instance) = InstanceView::read(&object) else {
                    return Vec::new();
                };
                let key = (instance.namespace, instance.name);
                // A successor of the same name may have been seen already.
                if self.instances.get(&key).is_some_and(|known| known.uid != instance.uid) {
                    return Vec::new();
                }
                self.without_instance(&key, instance.resource_version)
                    .into_iter()
                    .collect()
            }
        }
    }

    fn remember(&mut self, object: &DynamicObject) -> Option<Key> {
        match MachineView::read(object) {
            Ok(view) => {
                let key = (view.namespace.clone(), view.name.clone());
                let floor = self
                    .machines
                    .get(&key)
                    .filter(|known| known.view.uid == view.uid)
                    .map_or(0, |known| known.floor);
                self.machines.insert(key.clone(), Machine { view, floor });
                Some(key)
            }
            Err(error) => {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
                tracing::warn!(cluster = %self.cluster, namespace, name, %error, "a machine was skipped");
                None
            }
        }
    }

    fn forget(&mut self, object: &DynamicObject) -> Option<VmWatchEvent> {
        let name = object.metadata.name.clone()?;
        let namespace = object.metadata.namespace.clone()?;
        let uid = object.metadata.uid.clone()?;
        self.machines.remove(&(namespace.clone(), name.clone()));
        Some(VmWatchEvent::Deleted { name, namespace, uid })
    }

    fn without_instance(&mut self, key: &Key, version: u64) -> Option<VmWatchEvent> {
        let gone = self.instances.remove(key);
        if let Some(machine) = self.machines.get_mut(key) {
            let last_seen = gone.map_or(0, |instance| instance.resource_version);
            machine.floor = machine.floor.max(version).max(last_seen);
        }
        self.changed(key)
    }

    /// The machine as it is now. While a list runs, machines it has not repeated yet may be gone and stay silent.
    fn changed(&self, key: &Key) -> Option<VmWatchEvent> {
        if self
            .listed_machines
            .as_ref()
            .is_some_and(|listed| !listed.contains(key))
        {
            return None;
        }
        self.observed(key).map(VmWatchEvent::Changed)
    }

    fn observed(&self, key: &Key) -> Option<ObservedVm> {
        let machine = self.machines.get(key)?;
        let mut observed = mapping::merge(&machine.view, self.instances.get(key));
        observed.resource_version = observed.resource_version.max(machine.floor);
        Some(observed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shepherd_domain::vm::{ObservedCondition, VmStatus};

    use super::*;

    fn machine(name: &str, version: u64) -> DynamicObject {
        object(name, "vm", version, json!({"printableStatus": "Running"}))
    }

    fn instance(name: &str, version: u64, node: &str) -> DynamicObject {
        object(name, "vmi", version, json!({"phase": "Running", "nodeName": node}))
    }

    fn object(name: &str, uid: &str, version: u64, status: serde_json::Value) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop", "uid": format!("{uid}-{name}"), "resourceVersion": version.to_string()},
            "status": status,
        }))
        .unwrap()
    }

    fn merger() -> Merger {
        Merger::new(ClusterId::from_bits(1))
    }

    fn nodes(events: &[VmWatchEvent]) -> Vec<(Option<&str>, u64)> {
        events
            .iter()
            .filter_map(|event| match event {
                VmWatchEvent::Changed(vm) | VmWatchEvent::InList(vm) => Some((vm.node.as_deref(), vm.resource_version)),
                VmWatchEvent::ListBegins | VmWatchEvent::Listed | VmWatchEvent::Deleted { .. } => None,
            })
            .collect()
    }

    #[test]
    fn a_list_begins_repeats_and_ends() {
        let mut merger = merger();
        assert_eq!(merger.machine(Event::Init), [VmWatchEvent::ListBegins]);
        let listed = merger.machine(Event::InitApply(machine("a", 5)));
        assert!(
            matches!(listed.as_slice(), [VmWatchEvent::InList(vm)] if vm.condition == ObservedCondition::Is(VmStatus::Running))
        );
        assert_eq!(merger.machine(Event::InitDone), [VmWatchEvent::Listed]);
    }

    #[test]
    fn instances_change_the_machines_they_run() {
        let mut merger = merger();
        assert!(
            merger.instance(Event::Apply(instance("a", 4, "node-1"))).is_empty(),
            "the machine is not known yet"
        );
        assert_eq!(
            nodes(&merger.machine(Event::Apply(machine("a", 5)))),
            [(Some("node-1"), 5)]
        );
        assert_eq!(
            nodes(&merger.instance(Event::Apply(instance("a", 6, "node-2")))),
            [(Some("node-2"), 6)]
        );
        assert_eq!(
            nodes(&merger.instance(Event::Delete(instance("a", 9, "node-2")))),
            [(None, 9)],
            "never older than the instance was"
        );
        assert_eq!(nodes(&merger.machine(Event::Apply(machine("a", 7)))), [(None, 9)]);
    }

    #[test]
    fn a_list_forgets_what_it_does_not_repeat() {
        let mut merger = merger();
        merger.machine(Event::Apply(machine("a", 5)));
        merger.machine(Event::Init);
        assert!(
            merger.instance(Event::Apply(instance("a", 6, "node-1"))).is_empty(),
            "nobody knows yet whether it is still there"
        );
        merger.machine(Event::InitDone);
        assert!(merger.instance(Event::Apply(instance("a", 7, "node-1"))).is_empty());
    }

    #[test]
    fn a_list_of_instances_forgets_too() {
        let mut merger = merger();
        merger.machine(Event::Apply(machine("a", 5)));
        merger.instance(Event::Apply(instance("a", 6, "node-1")));
        merger.instance(Event::Init);
        assert_eq!(nodes(&merger.instance(Event::InitDone)), [(None, 6)]);
    }

    #[test]
    fn a_late_farewell_of_a_predecessor_changes_nothing() {
        let mut merger = merger();
        merger.machine(Event::Apply(machine("a", 5)));
        merger.instance(Event::Apply(instance("a", 8, "node-2")));
        let mut predecessor = instance("a", 7, "node-1");
        predecessor.metadata.uid = Some("earlier".to_owned());
        assert!(merger.instance(Event::Delete(predecessor)).is_empty());
    }

    #[test]
    fn malformed_objects_are_skipped() {
        let mut merger = merger();
        let mut broken = machine("a", 5);
        broken.metadata.resource_version = Some("x".to_owned());
        assert!(merger.machine(Event::Apply(broken)).is_empty());
        let deleted = merger.machine(Event::Delete(machine("a", 6)));
        assert!(matches!(deleted.as_slice(), [VmWatchEvent::Deleted { uid, .. }] if uid == "vm-a"));
    }
}
