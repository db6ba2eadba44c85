//! Garbage: dependents whose owners are gone, owners that wait for their dependents, and the content of
//! namespaces that are being deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::host;
use crate::object::{self, FOREGROUND, ORPHAN};
use crate::resources::{self, NAMESPACES, ResourceDef};
use crate::store::Store;

type Found = (&'static ResourceDef, Arc<Value>);

/// Collects garbage once; what this uncovers is collected by the next look.
pub(crate) fn collect(store: &mut Store) {
    let objects: Vec<Found> = store
        .everything()
        .filter_map(|((group, plural), object)| Some((resources::by_key(group, plural)?, Arc::clone(object))))
        .collect();
    collect_abandoned(store, &objects);
    for (def, owner) in objects.iter().filter(|(_, object)| object::is_deleting(object)) {
        if object::has_finalizer(owner, FOREGROUND) {
            delete_before(store, def, owner, &objects);
        }
        if object::has_finalizer(owner, ORPHAN) {
            orphan(store, def, owner, &objects);
        }
    }
    for (_, namespace) in objects
        .iter()
        .filter(|(def, object)| **def == NAMESPACES && object::is_deleting(object))
    {
        empty(store, object::name(namespace), &objects);
    }
}

fn collect_abandoned(store: &mut Store, objects: &[Found]) {
    let uids: BTreeSet<&str> = objects.iter().map(|(_, object)| object::uid(object)).collect();
    for (def, object) in objects {
        let owners = object::owner_uids(object);
        if !owners.is_empty() && owners.iter().all(|owner| !uids.contains(owner)) {
            delete(store, def, object);
        }
    }
}

/// Deletes in the background: at once without finalizers, else as soon as they are gone.
fn delete(store: &mut Store, def: &ResourceDef, object: &Value) {
    let (namespace, name) = (object::namespace(object), object::name(object));
    let Some(current) = store.get(def, namespace, name) else {
        return;
    };
    if object::finalizers(&current).is_empty() {
        store.remove(def, namespace, name);
    } else if !object::is_deleting(&current) {
        let mut marked = Value::clone(&current);
        object::metadata_mut(&mut marked).insert("deletionTimestamp".to_owned(), Value::from(host::timestamp()));
        store.put(def, marked);
    }
}

fn dependents<'a>(owner: &'a Value, objects: &'a [Found]) -> impl Iterator<Item = &'a Found> {
    objects
        .iter()
        .filter(move |(_, object)| object::owner_uids(object).contains(&object::uid(owner)))
}

fn delete_before(store: &mut Store, def: &ResourceDef, owner: &Value, objects: &[Found]) {
    let mut is_waiting = false;
    for (dependent_def, dependent) in dependents(owner, objects) {
        is_waiting = true;
        delete(store, dependent_def, dependent);
    }
    if !is_waiting {
        let_go(store, def, owner, FOREGROUND);
    }
}

fn orphan(store: &mut Store, def: &ResourceDef, owner: &Value, objects: &[Found]) {
    for (dependent_def, dependent) in dependents(owner, objects) {
        let mut freed = Value::clone(dependent);
        if let Some(Value::Array(owners)) = object::metadata_mut(&mut freed).get_mut("ownerReferences") {
            owners.retain(|reference| reference["uid"] != object::uid(owner));
        }
        store.put(dependent_def, freed);
    }
    let_go(store, def, owner, ORPHAN);
}

/// Removes a finalizer, and the object when it was the last one.
fn let_go(store: &mut Store, def: &ResourceDef, owner: &Value, finalizer: &str) {
    let (namespace, name) = (object::namespace(owner), object::name(owner));
    let Some(current) = store.get(def, namespace, name) else {
        return;
    };
    let mut freed = Value::clone(&current);
    object::remove_finalizer(&mut freed, finalizer);
    let freed = store.put(def, freed);
    if object::finalizers(&freed).is_empty() && *def != NAMESPACES {
        store.remove(def, namespace, name);
    }
}

fn empty(store: &mut Store, namespace: &str, objects: &[Found]) {
    let mut is_empty = true;
    for (def, object) in objects
        .iter()
        .filter(|(_, object)| object::namespace(object) == namespace)
    {
        is_empty = false;
        delete(store, def, object);
    }
    if is_empty {
        store.remove(&NAMESPACES, "", namespace);
    }
}
