//! The memory of a watch: the last machine and instance under each name, so that every report tells the whole.
//!
//! Thousands of machines are remembered here, so each is kept as its views and nothing else; what a list has repeated
//! is marked on the views themselves.

use std::collections::HashMap;

use shepherd_domain::vm::ObservedVm;
use shepherd_ports::providers::VmWatchEvent;

use super::feed::Report;
use crate::mapping::{self, InstanceView, MachineView};

/// Namespace and name.
type Key = (Box<str>, Box<str>);

/// Machines and instances as they were last seen.
#[derive(Default)]
pub(super) struct Merger {
    known: HashMap<Key, Known>,
    machines: Listing,
    instances: Listing,
}

/// What is there under one name.
#[derive(Default)]
struct Known {
    machine: Option<Box<Machine>>,
    instance: Option<Box<Instance>>,
}

struct Machine {
    view: MachineView,
    // The version at which its instance went away; without it, "the instance is gone" would look older than the
    // instance did.
    floor: u64,
    // The last list that showed it, or during which it was seen.
    list: u32,
}

struct Instance {
    view: InstanceView,
    list: u32,
}

/// The newest list, by number, and whether it is under way.
#[derive(Default)]
struct Listing {
    number: u32,
    under_way: bool,
}

impl Listing {
    fn begin(&mut self) {
        self.number = self.number.wrapping_add(1);
        self.under_way = true;
    }
}

impl Merger {
    /// What a report of the machine feed means.
    pub(super) fn machine(&mut self, report: Report<MachineView>) -> Option<VmWatchEvent> {
        match report {
            Report::Begins => {
                self.machines.begin();
                Some(VmWatchEvent::ListBegins)
            }
            Report::InList(view) => {
                let key = self.remember(view);
                self.observed(&key).map(VmWatchEvent::InList)
            }
            Report::Complete => {
                self.machines.under_way = false;
                let number = self.machines.number;
                self.known.retain(|_, known| {
                    known.machine = known.machine.take().filter(|machine| machine.list == number);
                    known.is_something()
                });
                Some(VmWatchEvent::Listed)
            }
            Report::Changed(view) => {
                let key = self.remember(view);
                self.changed(&key)
            }
            Report::Gone(view) => Some(self.forget(view)),
            Report::Expired => Some(VmWatchEvent::Expired),
            Report::Resumed => Some(VmWatchEvent::Resumed),
            Report::Failed(_) => None,
        }
    }

    /// What a report of the instance feed means for the machines.
    pub(super) fn instance(&mut self, report: Report<InstanceView>) -> Vec<VmWatchEvent> {
        match report {
            Report::Begins => {
                self.instances.begin();
                Vec::new()
            }
            Report::InList(view) | Report::Changed(view) => {
                let key = key(&view.namespace, &view.name);
                let list = self.instances.number;
                self.known.entry(key.clone()).or_default().instance = Some(Box::new(Instance { view, list }));
                self.changed(&key).into_iter().collect()
            }
            Report::Complete => {
                self.instances.under_way = false;
                let number = self.instances.number;
                let is_old = |known: &Known| known.instance.as_ref().is_some_and(|instance| instance.list != number);
                let gone: Vec<Key> = self
                    .known
                    .iter()
                    .filter(|(_, known)| is_old(known))
                    .map(|(key, _)| key.clone())
                    .collect();
                gone.iter().filter_map(|key| self.without_instance(key, 0)).collect()
            }
            Report::Gone(view) => {
                let key = key(&view.namespace, &view.name);
                // A successor of the same name may have been seen already.
                let known = self.known.get(&key).and_then(|known| known.instance.as_ref());
                if known.is_some_and(|known| known.view.uid != view.uid) {
                    return Vec::new();
                }
                self.without_instance(&key, view.resource_version).into_iter().collect()
            }
            Report::Expired | Report::Resumed | Report::Failed(_) => Vec::new(),
        }
    }

    fn remember(&mut self, view: MachineView) -> Key {
        let key = key(&view.namespace, &view.name);
        let known = self.known.entry(key.clone()).or_default();
        let floor = known
            .machine
            .as_ref()
            .filter(|before| before.view.uid == view.uid)
            .map_or(0, |before| before.floor);
        known.machine = Some(Box::new(Machine {
            view,
            floor,
            list: self.machines.number,
        }));
        key
    }

    fn forget(&mut self, view: MachineView) -> VmWatchEvent {
        let key = key(&view.namespace, &view.name);
        if let Some(known) = self.known.get_mut(&key) {
            known.machine = None;
            if !known.is_something() {
                self.known.remove(&key);
            }
        }
        let MachineView {
            name,
            namespace,
            uid,
            deleting,
            ..
        } = view;
        VmWatchEvent::Deleted {
            name,
            namespace,
            uid,
            deleting,
        }
    }

    fn without_instance(&mut self, key: &Key, version: u64) -> Option<VmWatchEvent> {
        let known = self.known.get_mut(key)?;
        let last_seen = known.instance.take().map_or(0, |gone| gone.view.resource_version);
        if let Some(machine) = &mut known.machine {
            machine.floor = machine.floor.max(version).max(last_seen);
        }
        if !known.is_something() {
            self.known.remove(key);
        }
        self.changed(key)
    }

    /// The machine as it is now. While a list runs, machines it has not repeated yet may be gone and stay silent.
    fn changed(&self, key: &Key) -> Option<VmWatchEvent> {
        let machine = self.known.get(key)?.machine.as_ref()?;
        if self.machines.under_way && machine.list != self.machines.number {
            return None;
        }
        self.observed(key).map(VmWatchEvent::Changed)
    }

    fn observed(&self, key: &Key) -> Option<ObservedVm> {
        let known = self.known.get(key)?;
        let machine = known.machine.as_ref()?;
        let instance = known.instance.as_ref().map(|instance| &instance.view);
        let mut observed = mapping::merge(&machine.view, instance);
        observed.resource_version = observed.resource_version.max(machine.floor);
        Some(observed)
    }
}

impl Known {
    fn is_something(&self) -> bool {
        self.machine.is_some() || self.instance.is_some()
    }
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

#[cfg(test)]
mod tests {
    use kube::core::DynamicObject;
    use serde_json::json;
    use shepherd_domain::vm::{ObservedCondition, VmStatus};

    use super::*;

    fn machine(name: &str, version: u64) -> MachineView {
        MachineView::read(&object(name, "vm", version, json!({"printableStatus": "Running"}))).unwrap()
    }

    fn instance(name: &str, version: u64, node: &str) -> InstanceView {
        let status = json!({"phase": "Running", "nodeName": node});
        InstanceView::read(&object(name, "vmi", version, status)).unwrap()
    }

    fn object(name: &str, uid: &str, version: u64, status: serde_json::Value) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop", "uid": format!("{uid}-{name}"), "resourceVersion": version.to_string()},
            "status": status,
        }))
        .unwrap()
    }

    fn nodes(events: impl IntoIterator<Item = VmWatchEvent>) -> Vec<(Option<String>, u64)> {
        events
            .into_iter()
            .filter_map(|event| match event {
                VmWatchEvent::Changed(vm) | VmWatchEvent::InList(vm) => Some((vm.node, vm.resource_version)),
                VmWatchEvent::Expired
                | VmWatchEvent::ListBegins
                | VmWatchEvent::Listed
                | VmWatchEvent::Resumed
                | VmWatchEvent::Deleted { .. } => None,
            })
            .collect()
    }

    fn on(node: &str, version: u64) -> [(Option<String>, u64); 1] {
        [(Some(node.to_owned()), version)]
    }

    #[test]
    fn a_list_begins_repeats_and_ends() {
        let mut merger = Merger::default();
        assert_eq!(merger.machine(Report::Begins), Some(VmWatchEvent::ListBegins));
        let listed = merger.machine(Report::InList(machine("a", 5)));
        assert!(
            matches!(listed, Some(VmWatchEvent::InList(vm)) if vm.condition == ObservedCondition::Is(VmStatus::Running))
        );
        assert_eq!(merger.machine(Report::Complete), Some(VmWatchEvent::Listed));
    }

    #[test]
    fn instances_change_the_machines_they_run() {
        let mut merger = Merger::default();
        assert!(
            merger.instance(Report::Changed(instance("a", 4, "node-1"))).is_empty(),
            "the machine is not known yet"
        );
        assert_eq!(nodes(merger.machine(Report::Changed(machine("a", 5)))), on("node-1", 5));
        assert_eq!(
            nodes(merger.instance(Report::Changed(instance("a", 6, "node-2")))),
            on("node-2", 6)
        );
        assert_eq!(
            nodes(merger.instance(Report::Gone(instance("a", 9, "node-2")))),
            [(None, 9)],
            "never older than the instance was"
        );
        assert_eq!(nodes(merger.machine(Report::Changed(machine("a", 7)))), [(None, 9)]);
    }

    #[test]
    fn a_list_forgets_what_it_does_not_repeat() {
        let mut merger = Merger::default();
        merger.machine(Report::Changed(machine("a", 5)));
        merger.machine(Report::Begins);
        assert!(
            merger.instance(Report::Changed(instance("a", 6, "node-1"))).is_empty(),
            "nobody knows yet whether it is still there"
        );
        merger.machine(Report::Complete);
        assert!(merger.instance(Report::Changed(instance("a", 7, "node-1"))).is_empty());
    }

    #[test]
    fn a_list_of_instances_forgets_too() {
        let mut merger = Merger::default();
        merger.machine(Report::Changed(machine("a", 5)));
        merger.instance(Report::Changed(instance("a", 6, "node-1")));
        merger.instance(Report::Begins);
        assert_eq!(nodes(merger.instance(Report::Complete)), [(None, 6)]);
    }

    #[test]
    fn a_late_farewell_of_a_predecessor_changes_nothing() {
        let mut merger = Merger::default();
        merger.machine(Report::Changed(machine("a", 5)));
        merger.instance(Report::Changed(instance("a", 8, "node-2")));
        let mut predecessor = instance("a", 7, "node-1");
        predecessor.uid = Some("earlier".to_owned());
        assert!(merger.instance(Report::Gone(predecessor)).is_empty());
    }

    #[test]
    fn nothing_is_kept_of_what_is_gone() {
        let mut merger = Merger::default();
        merger.machine(Report::Changed(machine("a", 5)));
        merger.instance(Report::Changed(instance("a", 6, "node-1")));
        let deleted = merger.machine(Report::Gone(machine("a", 7)));
        assert!(matches!(deleted, Some(VmWatchEvent::Deleted { uid, .. }) if uid == "vm-a"));
        assert!(merger.instance(Report::Gone(instance("a", 8, "node-1"))).is_empty());
        assert!(merger.known.is_empty());
    }
}
