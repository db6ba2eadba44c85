//! The cluster's memory: objects, the one revision counter, and the bounded history watches read from.
//!
//! Nothing here knows HTTP, validation or controllers. Every change gets a revision and leaves an event;
//! past states are rebuilt by undoing events, which is what makes paged lists consistent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use crate::object;
use crate::resources::{ResourceDef, ResourceKey};

/// Namespace and name; the namespace of cluster-scoped objects is empty.
pub(crate) type ObjectKey = (String, String);

/// The objects of one resource.
pub(crate) type Table = BTreeMap<ObjectKey, Arc<Value>>;

/// How many events are kept unless told otherwise.
const DEFAULT_WINDOW: usize = 20_000;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It came into being.
    Added,
    /// It changed.
    Modified,
    /// It went away.
    Deleted,
}

/// One change.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Revision of the change.
    pub revision: u64,
    /// Resource of the object.
    pub resource: ResourceKey,
    /// What happened.
    pub change: Change,
    /// The object after the change, or its last state with the deletion's revision.
    pub object: Arc<Value>,
    /// The object before the change.
    pub previous: Option<Arc<Value>>,
}

/// A revision that the history no longer reaches back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooOld {
    /// The oldest revision that can still be read.
    pub oldest: u64,
}

/// Objects and their history.
#[derive(Debug)]
pub(crate) struct Store {
    revision: u64,
    tables: BTreeMap<ResourceKey, Table>,
    history: VecDeque<Event>,
    window: usize,
    /// The state at this revision and later ones can be rebuilt.
    floor: u64,
    frozen: BTreeSet<ObjectKey>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            // Revision 0 means "any" to clients, so the first state is 1.
            revision: 1,
            tables: BTreeMap::new(),
            history: VecDeque::new(),
            window: DEFAULT_WINDOW,
            floor: 1,
            frozen: BTreeSet::new(),
        }
    }
}

impl Store {
    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One object.
    pub fn get(&self, def: &ResourceDef, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.tables
            .get(&def.key())?
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    /// All objects of a resource; an empty namespace means all namespaces.
    pub fn list(&self, def: &ResourceDef, namespace: &str) -> Vec<Arc<Value>> {
        let Some(table) = self.tables.get(&def.key()) else {
            return Vec::new();
        };
        table
            .iter()
            .filter(|((at, _), _)| namespace.is_empty() || at == namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// Every object with its resource.
    pub fn everything(&self) -> impl Iterator<Item = (ResourceKey, &Arc<Value>)> {
        self.tables
            .iter()
            .flat_map(|(key, table)| table.values().map(move |object| (*key, object)))
    }

    /// Adds or replaces an object under its own name; an unchanged one keeps its `resourceVersion`.
    pub fn put(&mut self, def: &ResourceDef, mut object: Value) -> Arc<Value> {
        let key = key_of(&object);
        let previous = self.get(def, &key.0, &key.1);
        if let Some(previous) = &previous {
            let version = previous["metadata"]["resourceVersion"].clone();
            object::metadata_mut(&mut object).insert("resourceVersion".to_owned(), version);
            if **previous == object {
                return Arc::clone(previous);
            }
        }
        let change = if previous.is_some() {
            Change::Modified
        } else {
            Change::Added
        };
        let object = self.stamp(object);
        self.tables
            .entry(def.key())
            .or_default()
            .insert(key, Arc::clone(&object));
        self.remember(def, change, Arc::clone(&object), previous);
        object
    }

    /// Takes an object away at once, whatever its finalizers say, and returns its last state.
    pub fn remove(&mut self, def: &ResourceDef, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = (namespace.to_owned(), name.to_owned());
        let previous = self.tables.get_mut(&def.key())?.remove(&key)?;
        let last = self.stamp(Value::clone(&previous));
        self.remember(def, Change::Deleted, Arc::clone(&last), Some(previous));
        Some(last)
    }

    fn stamp(&mut self, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object::metadata_mut(&mut object).insert("resourceVersion".to_owned(), Value::from(self.revision.to_string()));
        Arc::new(object)
    }

    fn remember(&mut self, def: &ResourceDef, change: Change, object: Arc<Value>, previous: Option<Arc<Value>>) {
        self.history.push_back(Event {
            revision: self.revision,
            resource: def.key(),
            change,
            object,
            previous,
        });
        self.trim();
    }

    fn trim(&mut self) {
        while self.history.len() > self.window {
            if let Some(event) = self.history.pop_front() {
                self.floor = event.revision;
            }
        }
    }

    /// Changes how many events are kept.
    pub fn set_window(&mut self, events: usize) {
        self.window = events;
        self.trim();
    }

    /// Makes every revision handed out so far too old.
    pub fn expire(&mut self) {
        self.revision += 1;
        self.history.clear();
        self.floor = self.revision;
    }

    /// The changes of a resource after a revision.
    pub fn events_after(&self, def: &ResourceDef, revision: u64) -> Result<Vec<Event>, TooOld> {
        if revision < self.floor {
            return Err(TooOld { oldest: self.floor });
        }
        let first = self.history.partition_point(|event| event.revision <= revision);
        Ok(self
            .history
            .range(first..)
            .filter(|event| event.resource == def.key())
            .cloned()
            .collect())
    }

    /// The objects of a resource as they were at a revision.
    pub fn table_at(&self, def: &ResourceDef, revision: u64) -> Result<Table, TooOld> {
        if revision < self.floor {
            return Err(TooOld { oldest: self.floor });
        }
        let mut table = self.tables.get(&def.key()).cloned().unwrap_or_default();
        let later = self.history.iter().rev().take_while(|event| event.revision > revision);
        for event in later.filter(|event| event.resource == def.key()) {
            let key = key_of(&event.object);
            match &event.previous {
                Some(previous) => table.insert(key, Arc::clone(previous)),
                None => table.remove(&key),
            };
        }
        Ok(table)
    }

    /// Stops or resumes the controllers' work on a virtual machine and its instance.
    pub fn set_frozen(&mut self, namespace: &str, name: &str, frozen: bool) {
        let key = (namespace.to_owned(), name.to_owned());
        if frozen {
            self.frozen.insert(key);
        } else {
            self.frozen.remove(&key);
        }
    }

    /// Replaces the set of frozen virtual machines.
    pub fn freeze_only(&mut self, frozen: BTreeSet<ObjectKey>) {
        self.frozen = frozen;
    }

    /// The frozen virtual machines.
    pub fn frozen(&self) -> &BTreeSet<ObjectKey> {
        &self.frozen
    }

    /// Whether the controllers must leave an object alone.
    pub fn is_frozen(&self, object: &Value) -> bool {
        self.frozen.contains(&key_of(object))
    }

    /// Brings back what [`Store::everything`] gave out, with its revision; history starts anew.
    pub fn restore(&mut self, revision: u64, objects: impl IntoIterator<Item = (ResourceKey, Value)>) {
        self.revision = revision.max(1);
        self.floor = self.revision;
        for (resource, object) in objects {
            self.tables
                .entry(resource)
                .or_default()
                .insert(key_of(&object), Arc::new(object));
        }
    }
}

/// The key an object is stored under.
pub(crate) fn key_of(object: &Value) -> ObjectKey {
    (object::namespace(object).to_owned(), object::name(object).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::CONFIG_MAPS;

    fn config_map(name: &str, value: u32) -> Value {
        json!({"metadata": {"namespace": "a", "name": name}, "data": {"value": value}})
    }

    #[test]
    fn an_unchanged_object_keeps_its_version() {
        let mut store = Store::default();
        let first = store.put(&CONFIG_MAPS, config_map("one", 1));
        let second = store.put(&CONFIG_MAPS, config_map("one", 1));
        assert_eq!(object::resource_version(&first), object::resource_version(&second));
        assert_eq!(store.events_after(&CONFIG_MAPS, 1).unwrap().len(), 1);
    }

    #[test]
    fn the_past_can_be_rebuilt() {
        let mut store = Store::default();
        store.put(&CONFIG_MAPS, config_map("one", 1));
        store.put(&CONFIG_MAPS, config_map("two", 1));
        let then = store.revision();
        store.put(&CONFIG_MAPS, config_map("one", 2));
        store.remove(&CONFIG_MAPS, "a", "two");
        store.put(&CONFIG_MAPS, config_map("three", 1));

        let past = store.table_at(&CONFIG_MAPS, then).unwrap();
        let names: Vec<&str> = past.keys().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(past[&("a".to_owned(), "one".to_owned())]["data"]["value"], 1);
    }

    #[test]
    fn versions_outside_the_window_are_too_old() {
        let mut store = Store::default();
        store.set_window(2);
        for value in 0..5 {
            store.put(&CONFIG_MAPS, config_map("one", value));
        }
        let TooOld { oldest } = store.events_after(&CONFIG_MAPS, 1).unwrap_err();
        assert!(store.events_after(&CONFIG_MAPS, oldest - 1).is_err());
        assert_eq!(store.events_after(&CONFIG_MAPS, oldest).unwrap().len(), 2);
    }

    #[test]
    fn expiring_makes_the_current_version_too_old() {
        let mut store = Store::default();
        store.put(&CONFIG_MAPS, config_map("one", 1));
        let known = store.revision();
        store.expire();
        assert!(store.events_after(&CONFIG_MAPS, known).is_err());
        assert!(store.events_after(&CONFIG_MAPS, store.revision()).unwrap().is_empty());
    }
}
