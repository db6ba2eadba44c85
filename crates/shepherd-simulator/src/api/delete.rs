//! DELETE of one object and of a selected collection.

use serde_json::{Value, json};

use super::Call;
use super::options::{DeleteOptions, Propagation};
use super::read::{list_item, selector_of};
use super::reply::Reply;
use super::route::Target;
use crate::cluster::Cluster;
use crate::host;
use crate::object::{self, FOREGROUND, ORPHAN};
use crate::resources::{NAMESPACES, ResourceDef};
use crate::status::{self, ApiError};
use crate::store::Store;

/// Deletes one object: at once, or as soon as its finalizers are gone.
pub(crate) fn one(cluster: &Cluster, call: &Call, target: &Target) -> Result<Reply, ApiError> {
    let options = DeleteOptions::of(call)?;
    let body = cluster.write(|store| {
        let live = store
            .get(target.def, target.namespace(), target.name())
            .ok_or_else(|| ApiError::not_found(target.def, target.name()))?;
        check_preconditions(target.def, &live, &options)?;
        Ok::<_, ApiError>(delete(store, target.def, &live, &options))
    })?;
    Ok(Reply::ok(body))
}

/// Deletes everything the selectors match and answers with the list of it.
pub(crate) fn collection(cluster: &Cluster, call: &Call, target: &Target) -> Result<Reply, ApiError> {
    let options = DeleteOptions::of(call)?;
    let selector = selector_of(call)?;
    let (revision, items) = cluster.write(|store| {
        let mut objects = store.list(target.def, target.namespace());
        objects.retain(|object| selector.matches(object));
        for object in &objects {
            delete(store, target.def, object, &options);
        }
        (store.revision(), objects)
    });
    let items: Vec<Value> = items.iter().map(|object| list_item(target.def, object)).collect();
    Ok(Reply::ok(json!({
        "kind": target.def.list_kind(),
        "apiVersion": target.def.api_version(),
        "metadata": {"resourceVersion": revision.to_string()},
        "items": items,
    })))
}

fn check_preconditions(def: &ResourceDef, live: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    let checks = [
        ("UID", &options.uid, object::uid(live)),
        (
            "ResourceVersion",
            &options.resource_version,
            object::resource_version(live),
        ),
    ];
    for (what, wanted, found) in checks {
        if let Some(wanted) = wanted
            && wanted != found
        {
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
            return Err(ApiError::conflict(def, object::name(live), &why));
        }
    }
    Ok(())
}

/// Marks or removes the object and returns the answer's body.
fn delete(store: &mut Store, def: &ResourceDef, live: &Value, options: &DeleteOptions) -> Value {
    let mut object = live.clone();
    match options.propagation {
        Propagation::Foreground => object::add_finalizer(&mut object, FOREGROUND),
        Propagation::Orphan => object::add_finalizer(&mut object, ORPHAN),
        Propagation::Background => {}
    }
    // The content of a namespace goes first; the controller that sees to it is the namespace's finalizer.
    let goes_later = !object::finalizers(&object).is_empty() || *def == NAMESPACES;
    if !goes_later {
        if !options.dry_run {
            store.remove(def, object::namespace(live), object::name(live));
        }
        return status::deleted(def, object::name(live), object::uid(live));
    }
    if !object::is_deleting(&object) {
        let generation = object["metadata"]["generation"].as_u64();
        let metadata = object::metadata_mut(&mut object);
        metadata.insert("deletionTimestamp".to_owned(), Value::from(host::timestamp()));
        metadata.insert("deletionGracePeriodSeconds".to_owned(), Value::from(0));
        if let Some(generation) = generation {
            metadata.insert("generation".to_owned(), Value::from(generation + 1));
        }
        if *def == NAMESPACES {
            object::status_mut(&mut object).insert("phase".to_owned(), Value::from("Terminating"));
        }
    }
    if options.dry_run {
        object
    } else {
        Value::clone(&store.put(def, object))
    }
}
