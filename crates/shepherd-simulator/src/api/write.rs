//! Create and update, and the two ways every other write ends: [`insert`] and [`replace`].

use serde_json::{Map, Value};

use super::options::{FieldValidation, WriteOptions};
use super::reply::Reply;
use super::route::Target;
use super::{ApiState, Call, json_object};
use crate::patch::ownership;
use crate::resources::{NAMESPACES, ResourceDef};
use crate::status::{ApiError, Cause};
use crate::store::Store;
use crate::{host, object, validation};

/// Metadata the API server alone writes.
const SYSTEM_METADATA: [&str; 7] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
];

/// POST
pub(crate) fn create(state: &ApiState, call: &Call, target: &Target) -> Result<Reply, ApiError> {
    let options = WriteOptions::of(call)?;
    let mut object = json_object(&call.body)?;
    let warnings = prepare(state, target, &mut object, &options)?;
    if !object::resource_version(&object).is_empty() {
        return Err(ApiError::new(
            500,
            "InternalError",
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default();
    if object::name(&object).is_empty() && !prefix.is_empty() {
        let name = format!("{prefix}{}", host::name_suffix());
        object::metadata_mut(&mut object).insert("name".to_owned(), Value::from(name));
    }
    let managed = ownership::track_update(
        None,
        &object,
        (options.manager.as_str(), ""),
        target.def,
        state.cluster.schemas.shapes(target.def),
        &host::timestamp(),
    );
    object::metadata_mut(&mut object).insert("managedFields".to_owned(), managed);
    let body = state
        .cluster
        .write(|store| insert(store, state, target.def, object, options.dry_run))?;
    Ok(Reply::Json {
        code: 201,
        body,
        warnings,
        content_type: None,
    })
}

/// PUT
pub(crate) fn update(state: &ApiState, call: &Call, target: &Target) -> Result<Reply, ApiError> {
    let options = WriteOptions::of(call)?;
    let mut object = json_object(&call.body)?;
    let warnings = prepare(state, target, &mut object, &options)?;
    let body = state.cluster.write(|store| {
        let live = store
            .get(target.def, target.namespace(), target.name())
            .ok_or_else(|| ApiError::not_found(target.def, target.name()))?;
        check_identity(target.def, &live, &object)?;
        if object::resource_version(&object).is_empty() && target.def.is_custom() {
            let cause = Cause {
                reason: "FieldValueInvalid",
                message: "Invalid value: 0: must be specified for an update".to_owned(),
                field: "metadata.resourceVersion".to_owned(),
            };
            return Err(ApiError::invalid(target.def, target.name(), &[cause]));
        }
        replace(
            store,
            state,
            target,
            &live,
            object,
            Ownership::Track(&options.manager),
            options.dry_run,
        )
    })?;
    Ok(Reply::Json {
        code: 200,
        body,
        warnings,
        content_type: None,
    })
}

/// Makes a sent document fit the path, and prunes or refuses unknown fields. Returns the warnings.
pub(super) fn prepare(
    state: &ApiState,
    target: &Target,
    object: &mut Value,
    options: &WriteOptions,
) -> Result<Vec<String>, ApiError> {
    let def = target.def;
    for (field, wanted) in [("apiVersion", def.api_version()), ("kind", def.kind.to_owned())] {
        match object[field].as_str() {
            None | Some("") => object[field] = Value::from(wanted),
            Some(found) if found != wanted => {
                return Err(ApiError::bad_request(format!(
                    "the {field} in the data ({found}) does not match the expected {field} ({wanted})"
                )));
            }
            Some(_) => {}
        }
    }
    if !object["metadata"].is_null() && !object["metadata"].is_object() {
        return Err(ApiError::bad_request("metadata is not an object"));
    }
    if !def.namespaced {
        object::metadata_mut(object).remove("namespace");
    } else if object::namespace(object).is_empty() {
        object::metadata_mut(object).insert("namespace".to_owned(), Value::from(target.namespace()));
    } else if object::namespace(object) != target.namespace() {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if let Some(name) = &target.name {
        let found = object::name(object);
        if !found.is_empty() && found != name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({found}) does not match the name on the URL ({name})"
            )));
        }
        object::metadata_mut(object).insert("name".to_owned(), Value::from(name.as_str()));
    }
    prune(state, def, object, options)
}

/// Takes unknown fields out; says so, or refuses, as the options demand.
fn prune(
    state: &ApiState,
    def: &ResourceDef,
    object: &mut Value,
    options: &WriteOptions,
) -> Result<Vec<String>, ApiError> {
    let unknown: Vec<String> = validation::prune(&state.cluster.schemas, def, object)
        .iter()
        .map(|field| format!("unknown field {field:?}"))
        .collect();
    match options.validation {
        FieldValidation::Strict if !unknown.is_empty() => Err(ApiError::bad_request(format!(
            "strict decoding error: {}",
            unknown.join(", ")
        ))),
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Strict | FieldValidation::Warn => Ok(unknown),
    }
}

/// Refuses a document that was read from another version or incarnation of the object.
pub(super) fn check_identity(def: &ResourceDef, live: &Value, sent: &Value) -> Result<(), ApiError> {
    let (sent_uid, uid) = (object::uid(sent), object::uid(live));
    if !sent_uid.is_empty() && sent_uid != uid {
        let why = format!("Precondition failed: UID in precondition: {sent_uid}, UID in object meta: {uid}");
        return Err(ApiError::conflict(def, object::name(live), &why));
    }
    let version = object::resource_version(sent);
    if !version.is_empty() && version != object::resource_version(live) {
        return Err(ApiError::modified(def, object::name(live)));
    }
    Ok(())
}

/// Admits and stores a new object whose `managedFields` are set.
pub(super) fn insert(
    store: &mut Store,
    state: &ApiState,
    def: &ResourceDef,
    mut object: Value,
    dry_run: bool,
) -> Result<Value, ApiError> {
    let (namespace, name) = (object::namespace(&object).to_owned(), object::name(&object).to_owned());
    if def.namespaced {
        check_namespace(store, def, &namespace, &name)?;
    }
    let metadata = object::metadata_mut(&mut object);
    for field in SYSTEM_METADATA {
        metadata.remove(field);
    }
    metadata.insert("uid".to_owned(), Value::from(host::new_uid()));
    metadata.insert("creationTimestamp".to_owned(), Value::from(host::timestamp()));
    if def.is_custom() {
        metadata.insert("generation".to_owned(), Value::from(1));
    }
    if def.status {
        object::as_map(&mut object).remove("status");
    }
    let schemas = &state.cluster.schemas;
    if let Some(schema) = schemas.get(def) {
        schema.fill_in(&mut object);
    }
    validation::admission::mutate(def, &mut object);
    validation::validate(schemas, def, &object)?;
    validation::admit(store, def, None, &object)?;
    crate::seed::default_fields(def, &mut object);
    if store.get(def, &namespace, &name).is_some() {
        return Err(ApiError::already_exists(def, &name));
    }
    if state.faults.is_quota_exceeded(&namespace) {
        let why = format!(
            "exceeded quota: simulated, requested: count/{}=1, used: 0, limited: 0",
            def.qualified()
        );
        return Err(ApiError::denied(def, &name, &why, &[]));
    }
    if dry_run {
        Ok(object)
    } else {
        Ok(Value::clone(&store.put(def, object)))
    }
}

fn check_namespace(store: &Store, def: &ResourceDef, namespace: &str, name: &str) -> Result<(), ApiError> {
    let Some(found) = store.get(&NAMESPACES, "", namespace) else {
        return Err(ApiError::not_found(&NAMESPACES, namespace));
    };
    if object::is_deleting(&found) {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = Cause {
            reason: "NamespaceTerminating",
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        };
        return Err(ApiError::denied(def, name, &why, &[cause]));
    }
    Ok(())
}

/// Who owns the fields of a replaced object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ownership<'a> {
    /// Whatever changed belongs to this manager from now on.
    Track(&'a str),
    /// The candidate's `managedFields` say so already.
    Given,
}

/// Admits a new state of an object and stores it, or removes the object when its last finalizer went.
pub(super) fn replace(
    store: &mut Store,
    state: &ApiState,
    target: &Target,
    live: &Value,
    candidate: Value,
    owner: Ownership<'_>,
    dry_run: bool,
) -> Result<Value, ApiError> {
    let def = target.def;
    let managed = candidate["metadata"]["managedFields"].clone();
    let mut object = merge_with_live(target, live, candidate);
    let schemas = &state.cluster.schemas;
    if let Some(schema) = schemas.get(def) {
        schema.fill_in(&mut object);
    }
    validation::validate(schemas, def, &object)?;
    if !target.status {
        validation::admit(store, def, Some(live), &object)?;
    }
    if def.is_custom() && !target.status && content(live) != content(&object) {
        let generation = live["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
        object::metadata_mut(&mut object).insert("generation".to_owned(), Value::from(generation));
    }
    let managed = match owner {
        Ownership::Given => managed,
        Ownership::Track(manager)
            if ownership::leaves(live, schemas.shapes(def)) != ownership::leaves(&object, schemas.shapes(def)) =>
        {
            let writer = (manager, if target.status { "status" } else { "" });
            let shapes = schemas.shapes(def);
            ownership::track_update(Some(live), &object, writer, def, shapes, &host::timestamp())
        }
        Ownership::Track(_) => live["metadata"]["managedFields"].clone(),
    };
    let metadata = object::metadata_mut(&mut object);
    if managed.is_null() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), managed);
    }
    if dry_run {
        return Ok(object);
    }
    let stored = store.put(def, object);
    if object::is_deleting(&stored) && object::finalizers(&stored).is_empty() {
        store.remove(def, object::namespace(&stored), object::name(&stored));
    }
    Ok(Value::clone(&stored))
}

/// The candidate with everything it may not change taken from the live object.
fn merge_with_live(target: &Target, live: &Value, mut candidate: Value) -> Value {
    if target.status {
        let mut object = live.clone();
        match candidate.get_mut("status").map(Value::take) {
            Some(status) if !status.is_null() => object["status"] = status,
            _ => {
                object::as_map(&mut object).remove("status");
            }
        }
        return object;
    }
    let metadata = object::metadata_mut(&mut candidate);
    for field in SYSTEM_METADATA.into_iter().chain(["name", "namespace"]) {
        carry_over(&live["metadata"], metadata, field);
    }
    if target.def.status {
        carry_over(live, object::as_map(&mut candidate), "status");
    }
    candidate
}

fn carry_over(from: &Value, to: &mut Map<String, Value>, field: &str) {
    match from.get(field) {
        Some(value) => to.insert(field.to_owned(), value.clone()),
        None => to.remove(field),
    };
}

/// What `generation` counts changes of: everything but metadata and status.
fn content(object: &Value) -> Map<String, Value> {
    let mut content = object.as_object().cloned().unwrap_or_default();
    content.remove("metadata");
    content.remove("status");
    content
}
